"""The rows of the tables that `tools/parity_table.py` prints, by family."""

import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tools import (
    parity_cases,
    parity_compare,
    parity_folders,
    parity_tokenizers,
)
from tools.difficult_lines import difficult_lines
from tools.family_arguments import off_default, pretraining_class

TOLERANCE = 1e-5
# Relative, of weights in a type of half precision.
ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}
# Of unigram, `tokenizers` composes rare characters in another way, and cuts
# runs in another order; docs/text.md counts the lines.
UNIGRAM_LINES = 60

# Cells after the name of the family, and whether both sides are equal.
Row = tuple[list[str], bool]


def outputs(family: str) -> Iterator[Row]:
    """Yields head, config, padding and largest difference of outputs.

    Of our model and of its copy from a folder of Transformers.
    """
    for name, head, case in parity_cases.parameters():
        if name != family:
            continue
        model = parity_cases.create(
            family, head, parity_cases.configs(family)[case]
        )
        sides = parity_cases.sides(model.config, head)
        with tempfile.TemporaryDirectory() as place:
            folder = pathlib.Path(place)
            theirs = parity_compare.to_transformers(model, folder / "ours")
            again = parity_compare.from_transformers(
                model, theirs, folder / "theirs"
            )
            largest = max(
                parity_compare.largest_difference(one, theirs, side)
                for one in (model, again)
                for side in sides
            )
        cells = [head, case, ", ".join(sides), f"{largest:.1e}"]
        yield cells, largest <= TOLERANCE


def tokens(family: str) -> Iterator[Row]:
    """Yields config, and equal sequences of greedy and of beam search."""
    if not set(parity_cases.heads(family)) & set(parity_cases.WRITERS):
        return
    for case, arguments in parity_cases.configs(family).items():
        model = parity_cases.create_writer(family, arguments)
        cells, equal = [case], True
        with tempfile.TemporaryDirectory() as folder:
            theirs = parity_compare.to_transformers(model, folder)
            for beams in (1, 4):
                pairs = parity_compare.written(model, theirs, beams)
                count = sum(ours == reference for ours, reference in pairs)
                cells.append(f"{count} of {len(pairs)}")
                equal = equal and count == len(pairs)
        yield cells, equal


def folders(family: str) -> Iterator[Row]:
    """Yields form, names that do not fit, and difference of weights."""
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        yield from _round_trip(family, folder)
        yield from _forms(family, folder)
        yield from _dialects(family, folder)


def _round_trip(family: str, folder: pathlib.Path) -> Iterator[Row]:
    """Yields a row for saving to Transformers and one for loading from it."""
    arguments = parity_cases.configs(family)["default"]
    model = parity_cases.create(
        family, parity_cases.heads(family)[0], arguments
    )
    # Both raise for a name that is missing or unexpected.
    theirs = parity_compare.to_transformers(
        model, folder / "ours", max_shard_bytes=parity_folders.SHARD_BYTES
    )
    again = parity_compare.from_transformers(
        model, theirs, folder / "theirs", max_shard_size="20KB"
    )
    difference = parity_folders.largest_difference(
        *([v.numpy() for v in one.weights] for one in (model, again))
    )
    form = "to Transformers and back, shards"
    yield [form, "none", f"{difference:.1e}"], difference == 0.0


def _forms(family: str, folder: pathlib.Path) -> Iterator[Row]:
    """Yields a row for each form of `parity_folders`."""
    values, tensors = parity_folders.recorded(family)
    config = FAMILIES[family].from_published(values)
    model = pretraining_class(config)(config)
    model.build()
    expected: Any = None
    for form, stored in parity_folders.forms_of(values, tensors).items():
        parity_folders.write(folder / form, form, values, stored)
        try:
            weights = parity_folders.load(model, folder / form)
        except ValueError as error:
            yield [form, str(error), ""], False
            continue
        expected = expected or weights
        difference = parity_folders.largest_difference(weights, expected)
        equal = difference <= ROUNDING.get(form, 0.0)
        yield [form, "none", f"{difference:.1e}"], equal


def _dialects(family: str, folder: pathlib.Path) -> Iterator[Row]:
    """Yields whether a config.json means the same here and there."""
    for dialect, equal in dialects_equal(family, folder).items():
        same = "equal" if equal else "not equal"
        yield [f"config.json of {dialect}", "none", same], equal


def dialects_equal(family: str, folder: pathlib.Path) -> dict[str, bool]:
    """Returns whether each dialect is read, here and by Transformers.

    Args:
        family: Name in `FAMILIES`; all arguments are off their defaults.
        folder: Folder for the files.
    """
    import transformers

    arguments = off_default(FAMILIES[family])
    config = FAMILIES[family].config(**arguments)
    head = parity_cases.heads(family)[0]
    model_folder.save(parity_cases.create(family, head, arguments), folder)
    path = folder / model_folder.CONFIG_FILE
    both = json.loads(path.read_text())
    equal = {}
    for dialect, values in parity_folders.dialects(both).items():
        path.write_text(json.dumps(values))
        ours = model_folder.read_config(folder)[1]
        # What Transformers makes of it is what it makes of both.
        theirs = transformers.AutoConfig.from_pretrained(folder)
        theirs.save_pretrained(folder / dialect)
        again = model_folder.read_config(folder / dialect)[1]
        equal[dialect] = ours == again == config
    return equal


def lines(family: str) -> Iterator[Row]:
    """Yields vocabulary, reference and equal lines."""
    texts = difficult_lines(parity_tokenizers.NUM_LINES)
    allowed = allowed_lines(family)
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        ours, theirs = parity_tokenizers.new_vocabulary(family, folder)
        unlike = parity_tokenizers.different(
            ours, lambda text: theirs(text)["input_ids"], texts
        )
        kind = f"new, {FAMILIES[family].tokenizer.kind}"
        yield _lines_row(kind, "Transformers", unlike, texts, allowed)
        if ours.target is not ours:
            unlike = parity_tokenizers.different(
                ours.target,
                lambda text: theirs(text_target=text)["input_ids"],
                texts,
            )
            yield _lines_row(
                f"{kind}, target", "Transformers", unlike, texts, allowed
            )
        if family in parity_tokenizers.PIECE_FILES:
            yield published_lines(family, folder / "published")


def allowed_lines(family: str) -> int:
    """Returns how many lines may differ from Transformers."""
    training = FAMILIES[family].tokenizer.training
    return UNIGRAM_LINES if training.get("model_type") == "unigram" else 0


def published_lines(family: str, folder: pathlib.Path) -> Row:
    """Returns vocabulary, reference and equal lines of a file as published.

    Args:
        family: Key of `parity_tokenizers.PIECE_FILES`.
        folder: New folder.
    """
    import transformers

    file = parity_tokenizers.PIECE_FILES[family]
    ours, processor = parity_tokenizers.published_pieces(family, folder)
    texts = difficult_lines(parity_tokenizers.NUM_LINES, file.spelled)
    kind = f"published, {file.name}"
    if (expected := file.expected_ids) is not None:
        unlike = parity_tokenizers.different(
            ours, lambda text: expected(processor, text), texts, whole=False
        )
        return _lines_row(kind, "sentencepiece", unlike, texts, 0)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    unlike = parity_tokenizers.different(
        ours, lambda text: theirs(text)["input_ids"], texts
    )
    allowed = allowed_lines(family)
    return _lines_row(kind, "Transformers", unlike, texts, allowed)


def _lines_row(
    kind: str, reference: str, unlike: list[str], texts: list[str], allowed: int
) -> Row:
    """Returns the row of one comparison of lines."""
    equal = f"{len(texts) - len(unlike)} of {len(texts)}"
    return [kind, reference, equal], len(unlike) <= allowed


# Name -> header after the family, and the rows of a family.
TABLES: dict[str, tuple[tuple[str, ...], Callable[[str], Iterator[Row]]]] = {
    "outputs": (("head", "config", "padding", "largest difference"), outputs),
    "folders": (
        ("folder", "missing or unexpected", "difference"),
        folders,
    ),
    "tokens": (("config", "greedy", "beam-4"), tokens),
    "lines": (("vocabulary", "reference", "equal lines"), lines),
}
