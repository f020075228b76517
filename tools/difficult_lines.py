"""Lines on which tokenizers are most likely to differ, the same every time."""

import random
import unicodedata
from collections.abc import Sequence
from typing import Literal

_WORDS = """
the quick brown foxes jumped don't I'LL we've it's café naïve
straße résumé Åström İstanbul ISSUE'S привет Ёлка ΣΊΣΥΦΟΣ שָׁלוֹם
مرحبا สวัสดีชาวโลก नमस्ते 한국어 안녕하세요 日本語のテキスト
中文字符 ﬁnance Ａｂｃ １２３ 3.14159 1,000,000 2024-11-30
http://a.b/c?d=e&f#g user@example.com C++ x+=1; def f(x):
return[None] "quoted" ½ ² № ǆ ẞ Ⅷ ﷺ ㍿ 가각 q̃ z̶̷ ñ ŵ K Ω Å
""".split()  # noqa: SIM905
_EMOJI = ["😀", "👍🏽", "👩‍👩‍👧", "🇩🇪", "❤️", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]
_MARKS = (
    "\u0300\u0301\u0308\u0323\u0327\u0345\u034f\u0591\u064b\u093c\u20dd\ufe0f"
)
_CONTROLS = "\u0000\u0001\u0008\u001b\u007f\u0080\u009f\u00ad\u200b\u200d\u202e"
_CONTROLS += "\ufeff\ufffd\ufffe\uffff\ue000\U000e0001\U0010ffff"
_SPACES = " \t\n\r\u000b\u000c\u0085\u00a0\u1680\u2003\u2028\u2029\u202f\u3000"
_FORMS: tuple[Literal["NFC", "NFD", "NFKC"] | None, ...]
_FORMS = ("NFC", "NFD", "NFKC", None, None)
_BLOCKS = [
    (0x20, 0x250), (0x250, 0x500), (0x500, 0x800), (0x800, 0x1100),
    (0x1100, 0x1200), (0x1E00, 0x2000), (0x2000, 0x2E80), (0x3000, 0x3400),
    (0x4E00, 0x4F00), (0xA000, 0xAC00), (0xAC00, 0xAD00), (0xF900, 0xFFFF),
    (0x10000, 0x12000), (0x1D000, 0x1D800), (0x1F300, 0x1FB00),
    (0x2F800, 0x2FA20),
]  # fmt: skip


def difficult_lines(count: int, tokens: Sequence[str] = ()) -> list[str]:
    """Returns lines of words, scripts, emoji, marks, controls and spaces.

    Args:
        count: Number of lines.
        tokens: Special tokens that some of the lines spell.
    """
    rng = random.Random(count)
    lines = [
        "",
        " ",
        "\n",
        "\r\n",
        "\0",
        "   x",
        "x   ",
        "\t\n \n x",
        "!\n\n a",
    ]
    lines += [f"a{space}{space}b {space}1" for space in _SPACES]
    lines += ["'S 'ſ 'LL'd'D x'ſ", "1234567", " 12 345 6789", "a1b22c333d4444"]
    for token in tokens:
        lines += [token, f"a {token} b", f"a{token}b", f"{token}{token}"]
        lines += [f" \t{token} \n{token[:-1]}", token.upper(), f"x{token}  y"]
    for size in (99, 100, 101, 300, 2000):
        lines += ["x" * size, "é한" * (size // 2), " " * size, "1" * size]
    while len(lines) < count:
        parts = [_part(rng, tokens) for _ in range(rng.randint(1, 8))]
        text = rng.choice(["", " ", " ", "  "]).join(parts)
        form = rng.choice(_FORMS)
        lines.append(unicodedata.normalize(form, text) if form else text)
    return lines[:count]


def _part(rng: random.Random, tokens: Sequence[str]) -> str:
    """Returns a piece of a line."""
    kind = rng.randrange(8)
    if kind < 3:
        word = list(rng.choice(_WORDS))
        for _ in range(rng.randrange(3)):
            extra = rng.choice([*_MARKS, *_CONTROLS, rng.choice(_EMOJI)])
            word.insert(rng.randint(0, len(word)), extra)
        return "".join(word)
    if kind == 3:
        return "".join(_char(rng) for _ in range(rng.randint(1, 12)))
    if kind == 4:
        return "".join(rng.choices(_SPACES, k=rng.randint(1, 5)))
    if kind == 5:
        return rng.choice(_EMOJI) * rng.randint(1, 3)
    if kind == 6 and tokens:
        return rng.choice(tokens)
    return "".join(rng.choices("0123456789.,'\"-_ ", k=rng.randint(1, 9)))


def _char(rng: random.Random) -> str:
    first, last = rng.choice(_BLOCKS)
    return chr(rng.randrange(first, last))
