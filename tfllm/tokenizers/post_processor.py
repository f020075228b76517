"""Converts between a row template and a tokenizer.json's `post_processor`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfllm.tokenizers.row_template import RowTemplate, Segments

Json = dict[str, Any]
# A special token or text, and its segment id: ("[SEP]", 1), ("$B", 1).
_Part = tuple[str, int]
_TEXTS = ("$A", "$B")


@dataclasses.dataclass(frozen=True)
class StatedRows:
    """Rows as a file states them; tokens as they are spelled.

    Attributes:
        single: A row of one text.
        pair: A row of two texts.
        file: The file, for messages.
    """

    single: tuple[_Part, ...]
    pair: tuple[_Part, ...]
    file: str

    def apply(self, template: RowTemplate[str]) -> RowTemplate[str]:
        """Returns a template with the special tokens of these rows.

        Raises:
            ValueError: A template cannot express the rows, or they have other
                segment ids.
        """
        single, pair = ([t for t, _ in row] for row in (self.single, self.pair))
        if single.count("$A") != 1 or "$B" in single:
            self._refuse("single", "one text, $A")
        if pair.count("$A") != 1 or pair.count("$B") != 1:
            self._refuse("pair", "two texts, $A and $B")
        first, second = pair.index("$A"), pair.index("$B")
        place = single.index("$A")
        opens, closes = tuple(single[:place]), tuple(single[place + 1 :])
        if first > second or (*pair[:first],) != opens:
            self._refuse("pair", f"as in `single`, {' '.join(single)}")
        if (*pair[second + 1 :],) != closes:
            self._refuse("pair", f"as in `single`, {' '.join(single)}")
        stated = dataclasses.replace(
            template,
            opens=opens,
            between=tuple(pair[first + 1 : second]),
            closes=closes,
        )
        if template.segments is not None:
            for name, num_texts in (("single", 1), ("pair", 2)):
                expected = parts(stated, num_texts)
                if getattr(self, name) != expected:
                    self._refuse(name, _shown(expected))
        return stated

    def _refuse(self, name: str, rule: str) -> None:
        raise ValueError(
            f"`post_processor.{name}` of {self.file!r} must be {rule}. "
            f"Received: {_shown(getattr(self, name))}. Give the tokenizer "
            "that belongs to the model."
        )


def parts(template: RowTemplate[str], num_texts: int) -> tuple[_Part, ...]:
    """Returns the parts of a row of one or two texts, with segment ids."""
    segments = template.segments or Segments()
    row = [(token, segments.first) for token in template.opens]
    for number in range(num_texts):
        segment = segments.of_text(number)
        is_last = number == num_texts - 1
        after = template.closes if is_last else template.between
        row += [(token, segment) for token in (_TEXTS[number], *after)]
    if template.closes and segments.last is not None:
        row[-1] = row[-1][0], segments.last
    return tuple(row)


def read(processor: Json | None, file: str) -> StatedRows | None:
    """Returns the rows that a post-processor makes; None if it adds no token.

    NOTE: `trim_offsets` is not read: offsets are those of whole tokens.

    Args:
        processor: The field of tokenizer.json.
        file: Its path, for messages.

    Raises:
        ValueError: The post-processor is of an unknown type, or damaged.
    """
    kind = (processor or {}).get("type")
    if processor is None or kind == "ByteLevel":
        return None
    try:
        if kind == "Sequence":
            stated = [read(part, file) for part in processor["processors"]]
            rows = [row for row in stated if row is not None]
            if len(rows) < 2:
                return rows[0] if rows else None
            kind = "Sequence of several that add tokens"
        if kind == "TemplateProcessing":
            return _of_template(processor, file)
        if kind in ("BertProcessing", "RobertaProcessing"):
            return _of_model(processor, file)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(
            f"`post_processor` of {file!r} must be one of `tokenizers`. "
            f"Received: a damaged {kind}, {error!r}. Correct the file."
        ) from error
    raise ValueError(
        f"`post_processor.type` of {file!r} must be TemplateProcessing, "
        "BertProcessing, RobertaProcessing, ByteLevel or a Sequence of one of "
        f"them and ByteLevel. Received: {kind!r}. The rows of the model must "
        "be known."
    )


def _of_template(processor: Json, file: str) -> StatedRows:
    tokens = {
        name: token["tokens"]
        for name, token in (processor.get("special_tokens") or {}).items()
    }

    def row(items: Sequence[Json]) -> tuple[_Part, ...]:
        row_parts: list[_Part] = []
        for item in items:
            ((kind, value),) = item.items()
            segment = value.get("type_id", 0)
            name = value["id"]
            if kind == "Sequence":
                row_parts.append((f"${name}", segment))
            else:
                spelled = tokens.get(name, [name])
                row_parts += [(token, segment) for token in spelled]
        return tuple(row_parts)

    return StatedRows(
        row(processor.get("single") or ()),
        row(processor.get("pair") or ()),
        file,
    )


def _of_model(processor: Json, file: str) -> StatedRows:
    """Returns the rows of BertProcessing or RobertaProcessing."""
    cls, sep = processor["cls"][0], processor["sep"][0]
    is_bert = processor["type"] == "BertProcessing"
    template = RowTemplate(
        pad="pad",
        opens=(cls,),
        between=(sep,) if is_bert else (sep, sep),
        closes=(sep,),
        segments=Segments(second=1 if is_bert else 0),
    )
    return StatedRows(parts(template, 1), parts(template, 2), file)


def to_json(template: RowTemplate[str], ids: Mapping[str, int]) -> Json:
    """Returns the post-processor that makes the rows of a template.

    Args:
        template: Tokens as they are spelled.
        ids: Token -> id.
    """

    def row(num_texts: int) -> list[Json]:
        return [
            {"Sequence": {"id": token[1:], "type_id": segment}}
            if token in _TEXTS
            else {"SpecialToken": {"id": token, "type_id": segment}}
            for token, segment in parts(template, num_texts)
        ]

    tokens = (*template.opens, *template.between, *template.closes)
    return {
        "type": "TemplateProcessing",
        "single": row(1),
        "pair": row(2),
        "special_tokens": {
            token: {"id": token, "ids": [ids[token]], "tokens": [token]}
            for token in dict.fromkeys(tokens)
        },
    }


def _shown(row: Sequence[_Part]) -> str:
    """Returns a row as `tokenizers` writes it: "[CLS]:0 $A:0 [SEP]:0"."""
    return " ".join(f"{token}:{segment}" for token, segment in row) or "none"
