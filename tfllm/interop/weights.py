"""Copies published tensors to variables and back, by the family's table."""

import dataclasses
import logging
import re
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from tfllm.interop.embedding_tensors import projection_name
from tfllm.interop.tensor_files import shortened
from tfllm.layers import initial_values
from tfllm.models import (
    EncoderDecoder,
    Family,
    Transformer,
    TransformerConfig,
    Weight,
)
from tfllm.models.weight_map import TensorSource, dense_weights

logger = logging.getLogger(__name__)

# Path of the body; all other variables belong to heads.
_BODY = "transformer."


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """Published names that did not fit, as three sorted lists.

    Attributes:
        missing: Names in the model, but not in the files.
        unexpected: Names in the files, but not in the model.
        misshaped: Names with different shapes, as "name: (files), not
            (model)".
    """

    missing: list[str]
    unexpected: list[str]
    misshaped: list[str]

    def __bool__(self) -> bool:
        """Returns whether any name did not fit."""
        return bool(self.missing or self.unexpected or self.misshaped)

    def joined(self, other: "LoadReport", prefix: str) -> "LoadReport":
        """Returns a report with the names of another, behind a prefix."""
        lists = dataclasses.asdict(self)
        for kind, names in dataclasses.asdict(other).items():
            lists[kind] = sorted(lists[kind] + [prefix + n for n in names])
        return LoadReport(**lists)

    def __str__(self) -> str:
        """Returns the first names of each list."""
        return "; ".join(
            f"{len(names)} {kind}: {shortened(names)}"
            for kind, names in dataclasses.asdict(self).items()
            if names
        )


def root_of(model: keras.Layer) -> Any:
    """Returns the object where the variable paths of a family start.

    Args:
        model: A task, a model with heads, or a bare Transformer.
    """
    if isinstance(model, (Transformer, EncoderDecoder)):
        return types.SimpleNamespace(transformer=model, config=model.config)
    return model if hasattr(model, "transformer") else model.model


def architecture_of(model: keras.Layer) -> str:
    """Returns the key of `Family.architectures` for a model."""
    bare = "encoder_decoder" if isinstance(model, EncoderDecoder) else "encoder"
    return getattr(root_of(model), "architecture", bare)


def variable_at(root: Any, path: str) -> Any:
    """Returns the variable at a dotted path; None if it does not exist."""
    value = root
    for part in path.split("."):
        value = (
            value[int(part)] if part.isdigit() else getattr(value, part, None)
        )
        if value is None:
            return None
    return value


def weights_of(
    model: keras.Layer, family: Family
) -> list[tuple[Weight, keras.Variable]]:
    """Returns the rows of a family's table with the variables of a model.

    Rows without a variable in this model are left out.
    """
    root = root_of(model)
    table = _weight_table(root, family)
    rows = [(weight, variable_at(root, weight.path)) for weight in table]
    return [(weight, v) for weight, v in rows if v is not None]


def _weight_table(root: Any, family: Family) -> list[Weight]:
    """Returns the table of a family, and rows for projections of vectors."""
    projections = []
    for i in range(len(getattr(root, "projections", ()))):
        projections += dense_weights(
            projection_name(i, "linear"), f"projections.{i}.linear"
        )
    return [*family.weights(root.config), *projections]


def check_covered(
    model: keras.Layer,
    family: Family,
    covered: Iterable[keras.Variable] = (),
) -> None:
    """Raises ValueError if saving would leave out a weight.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        family: Family whose table lists the weights to save.
        covered: Variables that methods of the task save.
    """
    written = {id(variable) for _, variable in weights_of(model, family)}
    written |= {id(variable) for variable in covered}
    paths = sorted(v.path for v in model.weights if id(v) not in written)
    if paths:
        raise ValueError(
            "every weight must be saved: by the table of the family, or by a "
            f"method that `compile` was given. Received: {len(paths)} weights "
            f"of neither: {shortened(paths)}. Compile with the method that "
            "added them."
        )


def published_shape(
    weight: Weight, variable: keras.Variable
) -> tuple[int, ...]:
    """Returns the shape of the published tensor."""
    shape = [int(size) for size in variable.shape]
    if weight.columns is not None:
        shape[-1] = weight.columns[1] - weight.columns[0]
    if weight.transform == "row":
        shape = [1, *shape]
    return tuple(shape[::-1] if weight.transform == "transpose" else shape)


def computed_tensors(
    model: keras.Layer, family: Family
) -> Mapping[str, np.ndarray]:
    """Returns `Family.computed` of a model, by published name."""
    if family.computed is None:
        return {}
    return family.computed(root_of(model).config)


def published_tensors(
    model: keras.Layer, family: Family
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (published name, float32 tensor) for each weight of a model.

    What the family computes comes first.
    """
    kind = architecture_of(model)
    for published, tensor in computed_tensors(model, family).items():
        yield family.name_in_files(published, kind), tensor
    for weight, variable in weights_of(model, family):
        tensor = _to_numpy(variable)
        if weight.columns is not None:
            tensor = tensor[..., slice(*weight.columns)]
        if weight.transform == "transpose":
            tensor = tensor.T
        elif weight.transform == "row":
            tensor = tensor[None]
        name = family.name_in_files(weight.published, kind)
        yield name, np.ascontiguousarray(tensor)


def assign(
    model: keras.Layer,
    family: Family,
    source: TensorSource,
    partial: bool = False,
    origin: str = "the files",
) -> LoadReport:
    """Assigns published tensors to the variables of a model.

    Either all variables are assigned or none, unless they have no values yet.
    Heads of the family that the model does not have are skipped with a
    warning.

    Args:
        model: A task, a model with heads, or a bare Transformer.
        family: Family whose table maps tensors to variables.
        source: The tensors.
        partial: Keep the values of heads that the source lacks or has in
            another shape, and skip tensors that the model does not use.
        origin: Description of the source, for messages.

    Returns:
        The names that did not fit; always empty unless `partial`.

    Raises:
        ValueError: No tensor matches; or tensors do not fit and `partial` is
            false; or they do not fit the body of the model; or one holds a
            number that is not finite.
    """
    match = _match_tensors(model, family, source)
    report = match.report
    if not (partial or report.missing or report.misshaped):
        # Published files often have heads that a model does not use.
        unexpected = set(report.unexpected) - set(match.unused)
        report = dataclasses.replace(report, unexpected=sorted(unexpected))
    _check_report(report, len(match.fits), match.body_fits, partial, origin)
    if not initial_values.are_deferred():
        # All before the first is assigned: the model has values to lose.
        for _, _, name in match.fits:
            _read_finite(source, name, origin)
    if match.unused and not partial:
        logger.warning(
            "%s: left out %d tensors that a %s does not read: %s",
            origin,
            len(match.unused),
            type(root_of(model)).__name__,
            shortened(match.unused),
        )
    _assign_rows(match.fits, source, origin)
    for variable in match.zeros:
        zeros = np.zeros(variable.shape, np.float32)
        initial_values.set_value(variable, zeros)
    return report


@dataclasses.dataclass(frozen=True)
class _Match:
    """How the tensors of a source fit the variables of a model.

    Attributes:
        fits: Weights with their variables and names in the source.
        report: All names that do not fit.
        body_fits: Whether all variables of the body have a tensor.
        unused: Published names of heads that the model does not have.
        zeros: Variables without a tensor that are then zero.
    """

    fits: list[tuple[Weight, keras.Variable, str]]
    report: LoadReport
    body_fits: bool
    unused: list[str]
    zeros: list[keras.Variable]


def _match_tensors(
    model: keras.Layer, family: Family, source: TensorSource
) -> _Match:
    """Matches tensors and variables by published name and shape."""
    root = root_of(model)
    rows = weights_of(model, family)
    shapes = source.shapes()
    names = {weight.published for weight, _ in rows}
    table = _weight_table(root, family)
    known = {weight.published for weight in table}
    stored = stored_names(family, root.config, known, source)
    # Some published folders have weights that their own model never reads.
    left_out = {
        weight.published
        for weight in table
        if weight.path.startswith(getattr(root, "leaves_out", ()))
    }
    fits, misshaped = [], []
    zeros: dict[str, keras.Variable] = {}
    body_fits = True
    for weight, variable in rows:
        expected = published_shape(weight, variable)
        name = stored.get(weight.published)
        if name is not None and shapes[name] == expected:
            fits.append((weight, variable, name))
            continue
        if name is None and weight.optional:
            zeros[weight.published] = variable
            continue
        body_fits = body_fits and not weight.path.startswith(_BODY)
        if name is not None:
            misshaped.append(
                f"{weight.published}: {shapes[name]}, not {expected}"
            )
    unexpected = set(stored) - names - left_out
    report = LoadReport(
        missing=sorted(names - set(stored) - set(zeros)),
        unexpected=sorted(unexpected),
        misshaped=sorted(misshaped),
    )
    unused = sorted(unexpected & known)
    return _Match(fits, report, body_fits, unused, [*zeros.values()])


def _read_finite(source: TensorSource, name: str, origin: str) -> np.ndarray:
    """Reads a tensor; ValueError if a number of it is not finite."""
    tensor = source.read(name)
    # A sum is faster, but may overflow where no number does.
    with np.errstate(over="ignore", invalid="ignore"):
        total = tensor.sum()
    if not np.isfinite(total) and not np.isfinite(tensor).all():
        place = np.unravel_index(
            int(np.argmin(np.isfinite(tensor))), tensor.shape
        )
        raise ValueError(
            f"the tensors of {origin} must hold finite numbers. Received: "
            f"{float(tensor[place])} in {name}{[int(i) for i in place]}. "
            "Use a folder that was saved before training diverged, or "
            "fetch it again."
        )
    return tensor


def _check_report(
    report: LoadReport,
    num_fits: int,
    body_fits: bool,
    partial: bool,
    origin: str,
) -> None:
    """Raises ValueError if the tensors must not be loaded."""
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


def stored_names(
    family: Family,
    config: TransformerConfig,
    known: set[str],
    source: TensorSource,
) -> dict[str, str]:
    """Returns the name in the source by current published name.

    Legacy spellings are replaced, the optional prefix is added, and buffers
    and tied copies are left out. A tied copy that differs from its original
    stays under its own name and is reported: the model cannot hold both.
    """
    tied, ignored = family.tied(config), family.ignored(config)
    shapes = source.shapes()
    known = known | set(tied)
    stored: dict[str, str] = {}
    for name in shapes:
        new = family.name_in_table(name)
        if new not in known and not new.startswith(family.prefix):
            prefixed = family.prefix + new
            if prefixed in known or _is_ignored(ignored, prefixed):
                new = prefixed
        if not _is_ignored(ignored, new):
            stored[new] = name
    for copy, original in tied.items():
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


def _is_ignored(ignored: tuple[str, ...], name: str) -> bool:
    """Returns whether a family ignores a published tensor."""
    return any(re.fullmatch(pattern, name) for pattern in ignored)


def _assign_rows(
    rows: list[tuple[Weight, keras.Variable, str]],
    source: TensorSource,
    origin: str,
) -> None:
    """Reads and assigns tensors one by one.

    The columns of a fused variable are joined before it is assigned.
    """
    rows = sorted(rows, key=lambda row: row[0].path)
    for i, (weight, variable, name) in enumerate(rows):
        tensor = _read_finite(source, name, origin)
        if weight.transform == "transpose":
            tensor = tensor.T
        elif weight.transform == "row":
            tensor = tensor[0]
        if weight.columns is None:
            initial_values.set_value(variable, tensor)
            continue
        if i == 0 or rows[i - 1][1] is not variable:
            array = np.array(_to_numpy(variable))
        array[..., slice(*weight.columns)] = tensor
        if i + 1 == len(rows) or rows[i + 1][1] is not variable:
            initial_values.set_value(variable, array)


def _to_numpy(variable: keras.Variable) -> np.ndarray:
    """Returns the value of a Keras variable as float32."""
    # Not keras.ops.convert_to_numpy: on TensorFlow it warns for variables.
    return np.asarray(variable.value).astype(np.float32, copy=False)
