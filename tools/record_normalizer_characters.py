"""Records what normalizers of the `tokenizers` package do to each character.

Writes `tfllm/tokenizers/character_tables.py`. The package carries Unicode
tables of several ages, so every code point is put through it once. Run it
again (about a minute) when the package changes its tables.

    python -m tools.record_normalizer_characters --output=TABLES.py
"""

from __future__ import annotations

import io
import textwrap
import unicodedata
from collections.abc import Callable

from absl import flags as absl_flags

from tfllm.runs import flags
from tfllm.tokenizers import sentence_piece_model
from tools.code_ranges import code_ranges

_OUTPUT = absl_flags.DEFINE_string(
    "output", "tfllm/tokenizers/character_tables.py", "Python file to write."
)
_HEADER = '''"""Characters that `tokenizers` joins, drops or decomposes.

Written by tools/record_normalizer_characters.py; do not edit. Code points are
hexadecimal. A range is `first` or `first-last`.
"""

from __future__ import annotations
'''
_FOOTER = '''

def ranges(table: str) -> list[tuple[int, int]]:
    """Returns the first and last code points of the ranges of a table."""
    borders = [part.split("-") for part in table.split()]
    return [(int(part[0], 16), int(part[-1], 16)) for part in borders]
'''
_COMMENTS = {
    "JOINS": "Belong to the grapheme cluster of the character before them.",
    "PREPENDS": "Belong to the grapheme cluster of the character behind them.",
    "CONTROLS": "Are grapheme clusters of their own.",
    "MARKS": "Dropped by `StripAccents`.",
    "DECOMPOSED": "Decomposed by `NFKD`.",
}


def record() -> dict[str, list[int]]:
    """Returns the code points of each table."""
    from tokenizers import normalizers

    folds = normalizers.Precompiled(_charsmap()).normalize_str
    strips = normalizers.StripAccents().normalize_str
    decomposes = normalizers.NFKD().normalize_str
    tests: dict[str, Callable[[str], bool]] = {
        # "A" has an entry; its cluster becomes "a".
        "JOINS": lambda c: folds(c) != "" and folds(f"A{c}") == "a",
        # Of a cluster with a mark behind "A", "A" alone is not composed.
        "PREPENDS": lambda c: folds(f"{c}A\u0301") == f"{c}a\u0301",
        "CONTROLS": _is_control,
        "MARKS": lambda c: strips(c) == "",
        "DECOMPOSED": lambda c: decomposes(c) != c,
    }
    chars = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    codes = {
        name: [ord(char) for char in chars if test(char)]
        for name, test in tests.items()
    }
    stand_alone = {*codes["JOINS"], *codes["PREPENDS"]}
    codes["CONTROLS"] = [c for c in codes["CONTROLS"] if c not in stand_alone]
    return codes


def _is_control(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Zl", "Zp")


def _charsmap() -> bytes:
    """Returns a map of SentencePiece that folds the case."""
    import sentencepiece

    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a b c d e f g h"]),
        model_writer=content,
        model_type="bpe",
        vocab_size=12,
        normalization_rule_name="nfkc_cf",
        minloglevel=2,
    )
    model = sentence_piece_model.parse(content.getvalue(), "the map's model")
    return bytes(model.normalizer_spec.precompiled_charsmap)


def main() -> None:
    """Writes the tables."""
    parts = [_HEADER]
    for name, codes in record().items():
        lines = textwrap.wrap(code_ranges(codes), 73, break_on_hyphens=False)
        body = "\n".join(f'    "{line} "' for line in lines)
        parts.append(f"\n# {_COMMENTS[name]}\n{name} = (\n{body}\n)\n")
    with open(_OUTPUT.value, "w", encoding="utf-8") as stream:
        stream.write("".join([*parts, _FOOTER]))


if __name__ == "__main__":
    flags.run(main)
