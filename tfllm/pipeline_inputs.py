"""Reads what pipelines are called with; ValueError says what is wrong."""

from typing import Any

from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.records.word_spans import word_spans


def text_of(value: Any) -> str:
    """Returns a text; ValueError for what is none, or is blank."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"`inputs` must be texts. Received: {value!r}")
    return value


def pair_of(value: Any) -> tuple[str, ...]:
    """Returns one text or two."""
    if not isinstance(value, dict):
        return (text_of(value),)
    pair = value.get("text_pair")
    texts = (text_of(value.get("text")),)
    return texts if pair is None else (*texts, text_of(pair))


def sentence_of(value: Any, number: int, with_predicate: bool) -> Record:
    """Returns a text with its words, and with its predicate if it has one."""
    given = value if isinstance(value, dict) else {"text": value}
    text, predicate = text_of(given.get("text")), given.get("predicate")
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
    return Record(
        str(number), f"input {number}", (text,), None, spans, predicate
    )


def questions_of(
    inputs: Any, question: Any, context: Any
) -> tuple[list[tuple[str, str]], bool]:
    """Returns questions with their contexts, and whether a list was given."""
    if inputs is not None:
        several = isinstance(inputs, list)
        given = inputs if several else [inputs]
        for one in given:
            if not isinstance(one, dict):
                raise ValueError(
                    "`inputs` must be dicts of `question` and `context`; or "
                    f"give these two by name. Received: {one!r}"
                )
        pairs = [(one.get("question"), one.get("context")) for one in given]
    else:
        several = isinstance(question, list)
        asked = question if isinstance(question, list) else [question]
        contexts = (
            context if isinstance(context, list) else [context] * len(asked)
        )
        if len(contexts) != len(asked):
            raise ValueError(
                "`context` must be one text, or one per question. Received: "
                f"{len(contexts)} for {len(asked)} questions"
            )
        pairs = list(zip(asked, contexts, strict=True))
    return [(text_of(q), text_of(c)) for q, c in pairs], several
