"""Reads the inputs of pipelines; wrong ones raise ValueError.

Inputs are one, several in memory, or a stream. Only a stream is read lazily,
as its results are asked for.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.records.word_spans import word_spans
from tfllm.tokenizers.text_input import utf8

TEXT_FORMS = "a text, a sequence of texts (list, array, Series) or a stream"


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The inputs of a call.

    Attributes:
        items: (name for errors, value) of each input, in order.
        several: Whether there may be more than one.
        is_stream: Whether they are read lazily: generators, datasets.
    """

    items: Iterable[tuple[str, Any]]
    several: bool
    is_stream: bool = False


def open_inputs(inputs: Any) -> Inputs:
    """Opens inputs in any container.

    A text, a dict, or a scalar tensor is one input. Sequences, NumPy arrays,
    tensors and pandas Series are several in memory. Other iterables are a
    stream: generators, `tf.data` and other datasets.

    Raises:
        ValueError: The container is none of these, or a table of several
            columns.
    """
    inputs = plain(inputs)
    if isinstance(inputs, str | Mapping):
        return Inputs([("input 0", inputs)], several=False)
    if hasattr(inputs, "__array__"):
        return Inputs(_array_items(inputs), several=True)
    if isinstance(inputs, Sequence):
        return Inputs(_numbered(inputs), several=True)
    if hasattr(inputs, "__iter__"):
        return Inputs(_numbered(inputs), several=True, is_stream=True)
    if hasattr(inputs, "__getitem__") and hasattr(inputs, "__len__"):
        values = (inputs[i] for i in range(len(inputs)))
        return Inputs(_numbered(values), several=True, is_stream=True)
    raise ValueError(f"`inputs` must be {TEXT_FORMS}. Received: {inputs!r}")


def plain(value: Any) -> Any:
    """Converts bytes and scalar tensors to Python values.

    Raises:
        ValueError: Bytes are not UTF-8.
    """
    if hasattr(value, "__array__") and getattr(value, "ndim", None) == 0:
        value = value.numpy() if hasattr(value, "numpy") else value.item()
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"`inputs` must be UTF-8 text. Received: {value!r}"
        ) from error


def text_of(value: Any, where: str, name: str = "inputs") -> str:
    """Returns a text; raises ValueError if it is blank or not valid text."""
    value = plain(value)
    if isinstance(value, str) and value.strip():
        utf8(value, where)
        return value
    hint = ""
    if isinstance(value, list | tuple) or hasattr(value, "__array__"):
        hint = (
            ". Give a column of texts, without labels or batches; pairs are "
            "dicts of `text` and `text_pair`"
        )
    raise ValueError(
        f"`{name}` must be texts. Received: {_shown(value)} as {where}{hint}"
    )


def pair_of(value: Any, where: str) -> tuple[str, ...]:
    """Returns a text, or the two texts of a dict, as a tuple."""
    if not isinstance(value, Mapping):
        return (text_of(value, where),)
    _check_keys(value, ("text", "text_pair"), where)
    pair = value.get("text_pair")
    texts = (text_of(value.get("text"), where, "text"),)
    return (
        texts if pair is None else (*texts, text_of(pair, where, "text_pair"))
    )


def sentence_of(value: Any, where: str, with_predicate: bool) -> Record:
    """Returns the record of a text: its words, and its predicate if any."""
    fields = value if isinstance(value, Mapping) else {"text": value}
    _check_keys(fields, ("text", "predicate"), where)
    text = text_of(fields.get("text"), where)
    predicate = fields.get("predicate")
    spans = word_spans(text)
    if not with_predicate and predicate is not None:
        raise ValueError(
            "`inputs` have a `predicate` for models that were trained with "
            f"predicates. Received: {value!r}"
        )
    if with_predicate and not (
        isinstance(predicate, int) and 0 <= predicate < len(spans)
    ):
        raise ValueError(
            "`inputs` must be dicts of `text` and `predicate`, the number of "
            f"one of its words, here 0 to {len(spans) - 1}, for a model that "
            f"was trained with predicates. Received: {value!r}"
        )
    return Record("", where, (text,), None, spans, predicate)


def question_of(value: Any, where: str) -> tuple[str, str]:
    """Returns the question and the context of a dict."""
    if not isinstance(value, Mapping):
        raise ValueError(
            "`inputs` must be dicts of `question` and `context`; or give "
            f"these two by name. Received: {_shown(value)} as {where}"
        )
    _check_keys(value, ("question", "context"), where)
    question, context = (
        text_of(value.get(name), where, name)
        for name in ("question", "context")
    )
    return question, context


def questions_of(question: Any, context: Any) -> Any:
    """Returns a dict of `question` and `context`; a list for several.

    Args:
        question: A question, or several.
        context: One context for all questions, or one per question.
    """
    if question is None or not (asked := open_inputs(question)).several:
        return {"question": question, "context": context}
    opened = open_inputs(context)
    questions = [value for _, value in asked.items]
    contexts = [value for _, value in opened.items]
    if not opened.several:
        contexts *= len(questions)
    if len(contexts) != len(questions):
        raise ValueError(
            "`context` must be one text, or one per question. Received: "
            f"{len(contexts)} for {len(questions)} questions"
        )
    return [
        {"question": question, "context": context}
        for question, context in zip(questions, contexts, strict=True)
    ]


def _array_items(array: Any) -> Iterator[tuple[str, Any]]:
    """Returns the inputs of an array, a tensor or a Series."""
    if hasattr(array, "columns") or getattr(array, "ndim", 1) != 1:
        columns = list(getattr(array, "columns", ()))
        raise ValueError(
            "`inputs` must be one column of texts. Received: "
            + (
                f"a table with the columns {columns}. Give one of them, or "
                "`table.to_dict('records')` for pairs"
                if columns
                else f"an array of shape {tuple(array.shape)}. Flatten it"
            )
        )
    labels = getattr(array, "index", None)
    if labels is None or callable(labels):
        return _numbered(array)
    return (
        (f"input {i} (index {label!r})", value)
        for i, (label, value) in enumerate(zip(labels, array, strict=True))
    )


def _numbered(values: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Yields values, each with its number as name."""
    for i, value in enumerate(values):
        yield f"input {i}", value


def _check_keys(
    value: Mapping[str, Any], known: tuple[str, ...], where: str
) -> None:
    """Raises ValueError for unknown keys, which would be ignored."""
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(
            f"`inputs` as dicts have {' and '.join(f'`{k}`' for k in known)}. "
            f"Received: {unknown} as well in {where}. Leave them out, or give "
            "one column."
        )


def _shown(value: Any) -> str:
    """Returns a value for an error, in one short line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:80]}..."
