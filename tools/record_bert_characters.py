"""Records how the published BERT tokenizer treats each Unicode code point.

    python -m tools.record_bert_characters --output=TABLES.py

Writes `tfllm/tokenizers/bert_character_tables.py`. The `tokenizers` package
mixes tables of several Unicode versions, so the tool passes each code point
through it and through the pre-tokenizer of `tensorflow_text`, which splits a
few more code points. It takes about half a minute. Run it again when either
package changes its tables; a test of the tokenizer compares all code points.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Mapping

from absl import flags as absl_flags
from tokenizers import normalizers, pre_tokenizers

from tfllm.runs import flags
from tools.code_ranges import code_range, code_ranges

_OUTPUT = absl_flags.DEFINE_string(
    "output",
    "tfllm/tokenizers/bert_character_tables.py",
    "Python file to write.",
)

_HEADER = '''"""Character tables of the published BERT tokenizer.

Written by tools/record_bert_characters.py; do not edit. Code points are
hexadecimal. A range is `first` or `first-last`. A lower-case run is
`range/step:offset,offset`: each code point becomes the characters at these
offsets from it.
"""
'''
_CHUNK = 8000
_HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)
# tensorflow_text reserves this character in its vocabulary models.
_RESERVED = 0x11


def code_points() -> list[int]:
    """Returns every code point that valid UTF-8 can encode."""
    return [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def record() -> dict[str, str]:
    """Passes every code point through both packages.

    Returns:
        Constant name in `bert_character_tables` -> table.
    """
    clean = _normalizer(clean_text=True)
    ideographs = _normalizer(handle_chinese_chars=True)
    strip = _normalizer(strip_accents=True)
    lower = _normalizer(lowercase=True)
    split = pre_tokenizers.BertPreTokenizer()
    sets: dict[str, list[int]] = {
        name: []
        for name in (
            "DROPPED",
            "SPACES",
            "IDEOGRAPHS",
            "PUNCTUATION",
            "MARKS",
            "DECOMPOSED",
        )
    }
    lowered: dict[int, str] = {}
    for code in code_points():
        char = chr(code)
        words = split.pre_tokenize_str(f"a{char}b")
        if not clean.normalize_str(char):
            sets["DROPPED"].append(code)
        elif clean.normalize_str(char) != char or len(words) == 2:
            sets["SPACES"].append(code)
        if ideographs.normalize_str(char) != char:
            sets["IDEOGRAPHS"].append(code)
        if len(words) == 3:
            sets["PUNCTUATION"].append(code)
        stripped = strip.normalize_str(char)
        if not stripped:
            sets["MARKS"].append(code)
        elif stripped != char and code not in _HANGUL_SYLLABLES:
            sets["DECOMPOSED"].append(code)
        if lower.normalize_str(char) != char:
            lowered[code] = lower.normalize_str(char)
    tables = {name: code_ranges(codes) for name, codes in sets.items()}
    tables["LOWERCASE"] = _runs(lowered)
    known = set(sets["PUNCTUATION"]) | set(sets["IDEOGRAPHS"])
    isolated = set(_split_by_tf_text())
    tables["SPLIT_BY_TF_TEXT"] = code_ranges(isolated - known)
    tables["JOINED_BY_TF_TEXT"] = code_ranges(known - isolated)
    return tables


def _normalizer(**active: bool) -> normalizers.BertNormalizer:
    steps = {
        "clean_text": False,
        "handle_chinese_chars": False,
        "strip_accents": False,
        "lowercase": False,
    }
    return normalizers.BertNormalizer(**{**steps, **active})


def _split_by_tf_text() -> list[int]:
    """Returns the code points that `FastWordpieceTokenizer` isolates."""
    # Imported here: they take seconds, and --help does not need them.
    import tensorflow as tf
    import tensorflow_text as tf_text

    result = []
    skipped = {0, ord("a"), ord("b"), _RESERVED}
    codes = [code for code in code_points() if code not in skipped]
    for begin in range(0, len(codes), _CHUNK):
        chunk = codes[begin : begin + _CHUNK]
        tokenizer = tf_text.FastWordpieceTokenizer(
            ["[UNK]", "a", "b", "##b", *map(chr, chunk)]
        )
        words = [f"a{chr(code)}b" for code in chunk]
        rows = tokenizer.tokenize(tf.constant(words)).row_lengths().numpy()
        result += [c for c, n in zip(chunk, rows, strict=True) if n == 3]
    return result


def _runs(mapping: Mapping[int, str]) -> str:
    """Writes a character map as runs of equal step and equal offsets."""
    runs: list[tuple[int, int, int, list[int]]] = []
    for code in sorted(mapping):
        offsets = [ord(char) - code for char in mapping[code]]
        if runs:
            first, last, step, previous = runs[-1]
            gap = code - last
            fits = gap == step or (first == last and gap <= 2)
            if previous == offsets and fits:
                runs[-1] = (first, code, gap, offsets)
                continue
        runs.append((code, code, 1, offsets))
    return " ".join(
        f"{code_range(first, last)}/{step}:"
        + ",".join(f"{offset:X}" for offset in offsets)
        for first, last, step, offsets in runs
    )


def source(tables: Mapping[str, str]) -> str:
    """Writes the tables as the source of a Python module."""
    parts = [_HEADER]
    for name, text in tables.items():
        lines = textwrap.wrap(text, 72, break_on_hyphens=False)
        body = "\n".join(f'    "{line} "' for line in lines)
        parts.append(f"{name} = (\n{body}\n)\n")
    return "\n".join(parts)


def main() -> None:
    """Writes the module."""
    print(f"unicodedata {unicodedata.unidata_version}")
    with open(_OUTPUT.value, "w", encoding="ascii") as output:
        output.write(source(record()))


if __name__ == "__main__":
    flags.run(main)
