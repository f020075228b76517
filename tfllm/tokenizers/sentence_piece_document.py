"""Converts a tokenizer.json of SentencePiece's kind to a SentencePiece model.

A field that is not supported is refused, with its value. A BPE model becomes
pieces with scores: the op merges the pair of neighbours whose joined
spelling has the highest score, the `tokenizers` package the pair of the lowest
rank. These are the same where the score of a token is the negative rank of
the merge that ends its own encoding: inside the bytes of a token, merges
happen in the order in which they happen in the token alone, so two neighbours
that spell a token are always the two which that merge joins. A token that does
not come out of its own text comes out of none.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, get_args

from tfllm.tokenizers import files, sentence_piece_model
from tfllm.tokenizers.byte_pair_model import Merge
from tfllm.tokenizers.character_steps import (
    ENDS,
    CharacterMap,
    CharacterRule,
    Form,
    JoinWords,
    Precompiled,
    Prepend,
    ReplaceSpaces,
    ReplaceText,
    Step,
    StripSpaces,
    TrimMarks,
    charsmap_table,
)
from tfllm.tokenizers.sentence_piece_model import SPACE, Model, byte_piece
from tfllm.tokenizers.sentence_piece_rules import Prefix, TextRules
from tfllm.tokenizers.sentence_piece_text import DecodingRules, Strip

Json = dict[str, Any]

# Field of a BPE model -> the values that are built.
_BPE_FIELDS: dict[str, tuple[Any, ...]] = {
    "dropout": (None, 0.0),
    "continuing_subword_prefix": (None, ""),
    "end_of_word_suffix": (None, ""),
    "ignore_merges": (None, False),
}
_FORMS = get_args(Form)
_CHARACTER_RULES = get_args(CharacterRule)
_PREPEND = {"type": "Prepend", "prepend": SPACE}
_TO_MARK = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
_SCHEMES: dict[str, Prefix] = {
    "always": "each",
    "first": "first",
    "never": "model",
}


@dataclasses.dataclass(frozen=True)
class Document:
    """The content of a tokenizer.json.

    Attributes:
        model: The ModelProto.
        text_rules: What the model does not say about texts.
        decoding: How pieces become text.
    """

    model: Model
    text_rules: TextRules
    decoding: DecodingRules


def is_sentence_piece(content: Json) -> bool:
    """Returns whether a tokenizer.json is one of SentencePiece's kind."""
    model = content.get("model") or {}
    if model.get("type") == "Unigram":
        return True
    parts = [content.get("pre_tokenizer"), content.get("decoder")]
    byte_level = any('"ByteLevel"' in files.to_json(part) for part in parts)
    return model.get("type") == "BPE" and not byte_level


def read(content: Json, file: str, control: Sequence[str]) -> Document:
    """Reads a tokenizer.json, but for its added tokens and its rows.

    Args:
        content: The file's object.
        file: Its path, for messages.
        control: Tokens that no text spells.

    Raises:
        ValueError: The file is damaged, or has a field that is not supported.
    """
    fields = content.get("model") or {}
    if fields.get("type") == "Unigram":
        model = _unigram(fields, file, set(control))
    elif fields.get("type") == "BPE":
        model = _bpe(fields, file, set(control))
    else:
        _refuse(file, "model.type", fields.get("type"), "Unigram or BPE")
    rules = _heed_normalizer(model, content.get("normalizer"), file)
    rules = _heed_splitter(model, content.get("pre_tokenizer"), rules, file)
    decoding = _decoding(content.get("decoder"), file)
    return Document(model, rules, decoding)


# Models.


def _unigram(fields: Json, file: str, control: set[str]) -> Model:
    """Converts a Unigram model of tokenizer.json to a ModelProto."""
    vocab = fields.get("vocab") or []
    unknown: Any = fields.get("unk_id")
    if not isinstance(unknown, int) or not 0 <= unknown < len(vocab):
        _refuse(file, "model.unk_id", unknown, "the id of a token")
    pieces = [(str(piece), float(score)) for piece, score in vocab]
    model = sentence_piece_model.empty("UNIGRAM")
    fallback = bool(fields.get("byte_fallback"))
    _add(model, pieces, file, pieces[unknown][0], control, fallback)
    return model


def _bpe(fields: Json, file: str, control: set[str]) -> Model:
    """Returns a BPE model."""
    for name, allowed in _BPE_FIELDS.items():
        if fields.get(name) not in allowed:
            _refuse(
                file,
                f"model.{name}",
                fields.get(name),
                f"{allowed[-1]!r}: the op in the graph merges characters in "
                "the order of the merges",
            )
    vocab = files.in_order(fields.get("vocab") or {}, file)
    merges = _merges(fields.get("merges") or (), set(vocab), file)
    scores = _scores(merges)
    unknown: Any = fields.get("unk_token")
    if unknown not in set(vocab):
        _refuse(file, "model.unk_token", unknown, "a token of the vocabulary")
    fallback = bool(fields.get("byte_fallback"))
    if not fallback and not fields.get("fuse_unk"):
        _refuse(
            file,
            "model.fuse_unk",
            fields.get("fuse_unk"),
            "true: neighbours that are unknown become one token",
        )
    lowest = -1.0 - len(merges)
    made = {left + right for left, right in merges}
    lost = {token for token in made if token not in scores}
    pieces = [(token, scores.get(token, lowest)) for token in vocab]
    silent = control | lost
    # Neither a character nor made by a merge: never comes out of a text.
    silent |= {t for t in vocab if len(t) > 1 and t not in made}
    model = sentence_piece_model.empty("BPE")
    _add(model, pieces, file, unknown, silent, fallback)
    return model


def _merges(merges: Any, known: set[str], file: str) -> list[Merge]:
    """Returns the pairs of tokens that are merged, by rank."""
    pairs: list[Merge] = []
    for number, merge in enumerate(merges, 1):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if len(parts) != 2 or not {*parts, "".join(parts)} <= known:
            raise ValueError(
                f"`model.merges` of {file!r} must be pairs of tokens that "
                f"make a token. Received: {merge!r}, merge {number}. Copy the "
                "file from the model again."
            )
        pairs.append((parts[0], parts[1]))
    return pairs


def _scores(merges: Sequence[Merge]) -> dict[str, float]:
    """Returns the score of each token that comes out of its own text."""
    ranks: dict[Merge, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault(merge, rank)
    scores = {}
    for token in {left + right for left, right in ranks}:
        last = last_rank(token, ranks)
        if last is not None:
            scores[token] = -float(last)
    return scores


def last_rank(token: str, ranks: Mapping[Merge, int]) -> int | None:
    """Returns the rank of the merge that ends the encoding of a token.

    Args:
        token: The token.
        ranks: Rank of each merge.

    Returns:
        None if the token does not come out of its own text.
    """
    pieces = list(token)
    rank = None
    while len(pieces) > 1:
        pairs = zip(pieces, pieces[1:], strict=False)
        rank, place = min(
            (ranks.get(pair, len(ranks)), place)
            for place, pair in enumerate(pairs)
        )
        if rank == len(ranks):
            return None
        pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
    return rank


def _add(
    model: Model,
    pieces: Sequence[tuple[str, float]],
    file: str,
    unknown: str,
    silent: set[str],
    byte_fallback: bool,
) -> None:
    """Adds pieces and their types to a model."""
    bytes_of = {byte_piece(byte) for byte in range(256)}
    known = {piece for piece, _ in pieces}
    if byte_fallback and bytes_of & known and not bytes_of <= known:
        missing = sorted(bytes_of - known)
        raise ValueError(
            f"{file!r} must have a token for each byte, or for none. Received: "
            f"{len(missing)} are missing, the first {missing[0]}. Copy the "
            "file from the model again."
        )
    has_bytes = byte_fallback and bytes_of <= known
    model.trainer_spec.byte_fallback = has_bytes
    kinds = []
    for piece, _ in pieces:
        if piece == unknown:
            kinds.append("UNKNOWN")
        elif has_bytes and piece in bytes_of:
            kinds.append("BYTE")
        else:
            kinds.append("CONTROL" if piece in silent else "NORMAL")
    sentence_piece_model.add_pieces(model, pieces, kinds)


# Text to pieces.


def _parts(component: Json | None, field: str) -> list[Json]:
    """Returns a component, or those of a sequence."""
    if component is None:
        return []
    if component.get("type") != "Sequence":
        return [component]
    return [p for part in component[field] for p in _parts(part, field)]


def _heed_normalizer(
    model: Model, normalizer: Json | None, file: str
) -> TextRules:
    """Writes a normalizer into a model; returns what it cannot hold."""
    spec = model.normalizer_spec
    parts = _parts(normalizer, "normalizers")
    is_unigram = sentence_piece_model.is_unigram(model)
    rules = TextRules(whole_characters=True, orders_runs=is_unigram)
    plain = (_PREPEND, _TO_MARK)
    if all(part in plain for part in parts):
        # The op of the model does this, which is the fastest.
        for part in parts:
            if part == _TO_MARK:
                spec.escape_whitespaces = True
            else:
                spec.add_dummy_prefix = not spec.escape_whitespaces
        return rules
    form: Form | None = None
    steps: list[Step] = []
    for place, part in enumerate(parts):
        kind: Any = part.get("type")
        follows = parts[place + 1].get("type") if parts[place + 1 :] else None
        is_map = kind != "NFKD" or follows == "StripAccents"
        if kind in _CHARACTER_RULES and is_map:
            earlier: tuple[CharacterRule, ...] = ()
            if steps and isinstance(steps[-1], CharacterMap):
                earlier = steps.pop().rules  # type: ignore[union-attr]
            steps.append(CharacterMap((*earlier, kind)))
        elif kind in _FORMS and not place:
            form = kind
        else:
            steps.append(_step(part, f"normalizer, part {place + 1},", file))
    return dataclasses.replace(rules, form=form, steps=tuple(steps))


def _step(part: Json, field: str, file: str) -> Step:
    """Returns the step that a part of a normalizer takes.

    Raises:
        ValueError: There is none.
    """
    kind, content = part.get("type"), part.get("content", "")
    pattern = part.get("pattern") or {}
    text = pattern.get("String", "")
    if kind == "Precompiled":
        charsmap = base64.b64decode(part["precompiled_charsmap"])
        charsmap_table(charsmap, 1)  # Raises ValueError if it is damaged.
        return Precompiled(charsmap)
    if kind == "Strip":
        return StripSpaces(part["strip_left"], part["strip_right"])
    if kind == "Prepend" and len(part.get("prepend", "")) == 1:
        return Prepend(part["prepend"])
    if kind == "Replace" and text and (len(set(text)) == 1 or _is_apart(text)):
        return ReplaceText(text, content)
    if pattern == {"Regex": " {2,}"} and len(content) == 1:
        return ReplaceSpaces(content)
    if pattern == {"Regex": ENDS} and not content:
        return TrimMarks()
    return _refuse(
        file,
        field,
        {k: v for k, v in part.items() if not k.startswith("pre")},
        f"one of {', '.join(_FORMS)} as the first part; NFKD before "
        "StripAccents; StripAccents, Lowercase, Precompiled, Strip; a Prepend "
        "of one character; a Replace of several spaces, or of a text that "
        "does not overlap itself",
    )


def _is_apart(text: str) -> bool:
    """Whether no two places where a text stands overlap."""
    return all(not text.endswith(text[:n]) for n in range(1, len(text)))


def _heed_splitter(
    model: Model, splitter: Json | None, rules: TextRules, file: str
) -> TextRules:
    """Returns rules with those of a pre-tokenizer."""
    spec = model.normalizer_spec
    parts = _parts(splitter, "pretokenizers")
    to_mark = ReplaceText(" ", SPACE)
    joins_words = bool(parts) and parts[0].get("type") == "WhitespaceSplit"
    for part in parts[joins_words:]:
        at_spaces = part.get("pattern") == {"String": " "}
        if (spec.escape_whitespaces or to_mark in rules.steps) and at_spaces:
            continue  # No space is left.
        prepends = spec.add_dummy_prefix or Prepend(SPACE) in rules.steps
        if part.get("type") != "Metaspace" or prepends:
            _refuse(
                file,
                "pre_tokenizer",
                part,
                "Metaspace, without a normalizer that prepends, alone or "
                "behind WhitespaceSplit; or a Split of spaces behind a "
                "normalizer that replaces them",
            )
        if part.get("replacement") != SPACE:
            field = "pre_tokenizer.replacement"
            _refuse(file, field, part.get("replacement"), repr(SPACE))
        scheme = part.get("prepend_scheme")
        if scheme is None:  # Of versions before 0.15.
            scheme = "always" if part.get("add_prefix_space", True) else "never"
        if scheme not in _SCHEMES:
            field = "pre_tokenizer.prepend_scheme"
            _refuse(file, field, scheme, " or ".join(_SCHEMES))
        splits = part.get("split", True)
        if joins_words and (scheme, splits) != ("always", True):
            rule = "`prepend_scheme` always and `split`, behind WhitespaceSplit"
            _refuse(file, "pre_tokenizer", part, rule)
        if joins_words:
            steps: tuple[Step, ...] = (*rules.steps, JoinWords())
        elif rules.form or rules.steps:
            steps = (*rules.steps, to_mark)
        else:
            steps = ()
            spec.escape_whitespaces = True
        rules = dataclasses.replace(
            rules, prefix=_SCHEMES[scheme], splits_words=splits, steps=steps
        )
    if joins_words and JoinWords() not in rules.steps:
        rule = "followed by Metaspace"
        _refuse(file, "pre_tokenizer", {"type": "WhitespaceSplit"}, rule)
    return rules


# Pieces to text.


def _decoding(decoder: Json | None, file: str) -> DecodingRules:
    """Returns how pieces become text."""
    strip: Strip = "none"
    fallback = replaces = False
    for part in _parts(decoder, "decoders"):
        kind = part.get("type")
        if kind == "Metaspace":
            replaces = True
            scheme = part.get("prepend_scheme")
            never = scheme == "never" or part.get("add_prefix_space") is False
            strip = "none" if never else "in_piece"
        elif kind == "ByteFallback":
            fallback = True
        elif kind == "Replace" and part.get("pattern") == {"String": SPACE}:
            replaces = part.get("content") == " "
        elif kind == "Strip" and part.get("content") == " ":
            if (part.get("start"), part.get("stop")) not in ((1, 0), (0, 0)):
                _refuse(file, "decoder.start", part.get("start"), "1 or 0")
            strip = "space" if part.get("start") else strip
        elif kind != "Fuse":
            _refuse(
                file,
                "decoder",
                part,
                "Metaspace, or Replace, ByteFallback, Fuse and Strip",
            )
    if not replaces:
        _refuse(file, "decoder", decoder, 'one that turns "▁" into spaces')
    return DecodingRules(strip=strip, byte_fallback=fallback)


def _refuse(file: str, field: str, value: Any, rule: str) -> NoReturn:
    raise ValueError(
        f"`{field}` of {file!r} must be {rule}. Received: {value!r}. The "
        "tokenizer in the graph does not do it; name another tokenizer."
    )
