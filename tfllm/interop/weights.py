"""Published tensors into our variables and back, by a family's table."""

import dataclasses
import re
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfllm.interop.tensor_files import TensorSource, shortened
from tfllm.models import Family, Transformer, Weight

# Everything else on a model is a head.
_BODY = "transformer."


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """What did not fit, as three sorted lists of published names.

    Attributes:
        missing: In the model and not in the files.
        unexpected: In the files and not in the model.
        misshaped: In both, with another shape; "name: (files), not (model)".
    """

    missing: list[str]
    unexpected: list[str]
    misshaped: list[str]

    def __bool__(self) -> bool:
        """Whether anything did not fit."""
        return bool(self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        """Returns the lists, shortened."""
        return "; ".join(
            f"{len(names)} {kind}: {shortened(names)}"
            for kind, names in dataclasses.asdict(self).items()
            if names
        )


def root_of(model: Any) -> Any:
    """Returns the object that the paths of a family's table start at.

    Args:
        model: A task, a model with heads, or a bare Transformer.
    """
    if isinstance(model, Transformer):
        return types.SimpleNamespace(transformer=model, config=model.config)
    return model if hasattr(model, "transformer") else model.model


def variable_at(root: Any, path: str) -> Any:
    """Returns the variable at a dotted path, None if the model lacks it."""
    value = root
    for part in path.split("."):
        value = (
            value[int(part)] if part.isdigit() else getattr(value, part, None)
        )
        if value is None:
            return None
    return value


def weights_of(model: Any, family: Family) -> list[tuple[Weight, Any]]:
    """Returns the rows of a family's table that a model has a variable for."""
    root = root_of(model)
    rows = [(w, variable_at(root, w.path)) for w in family.weights(root.config)]
    return [(weight, v) for weight, v in rows if v is not None]


def published_shape(weight: Weight, variable: Any) -> tuple[int, ...]:
    """Returns the shape that the published tensor has."""
    shape = [int(size) for size in variable.shape]
    if weight.columns is not None:
        shape[-1] = weight.columns[1] - weight.columns[0]
    return tuple(shape[::-1] if weight.transform == "transpose" else shape)


def published_tensors(
    model: Any, family: Family
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (published name, float32 tensor) for all weights of a model."""
    for weight, variable in weights_of(model, family):
        tensor = _to_numpy(variable)
        if weight.columns is not None:
            tensor = tensor[..., slice(*weight.columns)]
        if weight.transform == "transpose":
            tensor = tensor.T
        yield weight.published, np.ascontiguousarray(tensor)


def assign(
    model: Any,
    family: Family,
    source: TensorSource,
    partial: bool = False,
    origin: str = "the files",
) -> LoadReport:
    """Assigns published tensors to the variables of a model.

    Nothing is assigned unless everything may be.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        family: Whose table says which tensor goes where.
        source: The tensors.
        partial: Let heads keep their values where the source has none of
            this shape, and leave out tensors that the model has no use for.
        origin: Where the tensors come from, for messages.

    Returns:
        What did not fit; always empty unless `partial`.

    Raises:
        ValueError: Nothing matches; or the tensors do not fit and `partial`
            is not set; or they do not fit the body of the model.
    """
    root = root_of(model)
    rows = weights_of(model, family)
    shapes = source.shapes()
    stored = _stored_names(family, root.config, shapes, source)
    names = {weight.published for weight, _ in rows}
    # Folders of some versions have weights that their own model never reads.
    left_out = {
        weight.published
        for weight in family.weights(root.config)
        if weight.path.startswith(getattr(root, "leaves_out", ()))
    }
    fits, misshaped = [], []
    body_fits = True
    for weight, variable in rows:
        expected = published_shape(weight, variable)
        name = stored.get(weight.published)
        if name is not None and shapes[name] == expected:
            fits.append((weight, variable, name))
            continue
        body_fits = body_fits and not weight.path.startswith(_BODY)
        if name is not None:
            misshaped.append(
                f"{weight.published}: {shapes[name]}, not {expected}"
            )
    report = LoadReport(
        missing=sorted(names - set(stored)),
        unexpected=sorted(set(stored) - names - left_out),
        misshaped=sorted(misshaped),
    )
    _check(report, len(fits), body_fits, partial, origin)
    _assign_rows(fits, source)
    return report


def _check(
    report: LoadReport,
    num_fits: int,
    body_fits: bool,
    partial: bool,
    origin: str,
) -> None:
    """Raises ValueError if these tensors may not be loaded."""
    if not num_fits:
        raise ValueError(
            f"no tensor of {origin} matches the model. Received: {report}. "
            "Is this the right folder, and the right `model`?"
        )
    if report and not partial:
        raise ValueError(
            f"the tensors of {origin} must match the model. "
            f"Received: {report}. Use the model the folder was saved from, "
            "or ask for a partial load."
        )
    if not body_fits:
        raise ValueError(
            f"a partial load leaves out heads, but {origin} does not fit "
            f"the body of the model. Received: {report}. Use the size that "
            "the folder was saved from."
        )


def _stored_names(
    family: Family,
    config: Any,
    shapes: dict[str, tuple[int, ...]],
    source: TensorSource,
) -> dict[str, str]:
    """Returns the published name now -> the name in the source.

    Legacy spellings are replaced, the optional prefix is added, and buffers
    and tied copies are left out. A tied copy that differs from its original
    stays, under its own name: the model cannot hold both.
    """
    known = {weight.published for weight in family.weights(config)}
    known |= set(family.tied)
    stored: dict[str, str] = {}
    for name in shapes:
        new = name
        for old_part, new_part in family.legacy_names.items():
            new = new.replace(old_part, new_part)
        if new not in known and not new.startswith(family.prefix):
            prefixed = family.prefix + new
            if prefixed in known or _is_ignored(family, prefixed):
                new = prefixed
        if not _is_ignored(family, new):
            stored[new] = name
    for copy, original in family.tied.items():
        if copy not in stored:
            continue
        if original not in stored:
            stored[original] = stored.pop(copy)
        elif shapes[stored[copy]] == shapes[stored[original]] and (
            np.array_equal(
                source.read(stored[copy]), source.read(stored[original])
            )
        ):
            del stored[copy]
    return stored


def _is_ignored(family: Family, name: str) -> bool:
    """Whether a tensor has no weight of ours by design."""
    return any(re.fullmatch(pattern, name) for pattern in family.ignored)


def _assign_rows(
    rows: list[tuple[Weight, Any, str]], source: TensorSource
) -> None:
    """Reads tensors one by one; a fused variable is assembled first."""
    rows = sorted(rows, key=lambda row: row[0].path)
    for i, (weight, variable, name) in enumerate(rows):
        tensor = source.read(name)
        if weight.transform == "transpose":
            tensor = tensor.T
        if weight.columns is None:
            variable.assign(tensor)
            continue
        if i == 0 or rows[i - 1][1] is not variable:
            array = np.array(_to_numpy(variable))
        array[..., slice(*weight.columns)] = tensor
        if i + 1 == len(rows) or rows[i + 1][1] is not variable:
            variable.assign(array)


def _to_numpy(variable: Any) -> np.ndarray:
    """Returns the value of a Keras variable as float32."""
    # Not keras.ops.convert_to_numpy: on TensorFlow it warns for variables.
    return np.asarray(variable.value).astype(np.float32, copy=False)
