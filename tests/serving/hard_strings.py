"""Texts that break text pipelines, as many as one likes, from a seed."""

import pathlib
import random
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[2]
# First and last code point of what real texts are made of, and rarely.
_BLOCKS = (
    (0x0020, 0x007E),
    (0x00A0, 0x024F),
    (0x0250, 0x02FF),
    (0x0370, 0x052F),
    (0x0590, 0x06FF),
    (0x0900, 0x0DFF),
    (0x0E00, 0x0E7F),
    (0x1100, 0x11FF),
    (0x1E00, 0x1FFF),
    (0x2000, 0x206F),
    (0x2100, 0x22FF),
    (0x3000, 0x30FF),
    (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A3),
    (0xF900, 0xFAFF),
    (0xFB00, 0xFDFF),
    (0xFE00, 0xFFFF),
    (0x10000, 0x1037F),
    (0x1D400, 0x1D7FF),
    (0x1F300, 0x1FAFF),
    (0x20000, 0x2A6DF),
    (0xE0000, 0xE01EF),
)
_EMOJI = (
    "🙂",
    "👩\u200d👩\u200d👧\u200d👦",
    "🇩🇪",
    "👍🏽",
    "❤\ufe0f",
    "🏴\U000e0067\U000e0062",
    "\u200d",
    "\ufe0f",
)
_COMBINING = [chr(point) for point in range(0x0300, 0x0370)]
_CONTROL = [chr(point) for point in (*range(0x20), *range(0x7F, 0xA0))]
_CONTROL += ["\u200b", "\u2028", "\u2029", "\ufeff", "\u00ad", "\u3000"]


def source_lines() -> list[str]:
    """Returns the lines of the package and its documents that say much."""
    paths = sorted([*ROOT.glob("tfllm/**/*.py"), *ROOT.glob("*.md")])
    return [
        line.strip()
        for path in paths
        for line in path.read_text(encoding="utf-8").splitlines()
        if len(line.split()) >= 4
    ]


def hard_strings(count: int, seed: int, lines: list[str]) -> list[bytes]:
    """Returns texts, most of them UTF-8.

    Args:
        count: How many.
        seed: Of all of them.
        lines: Real ones, which are mixed in.
    """
    rng = random.Random(seed)
    kinds: list[Callable[[], str | bytes]] = [
        lambda: rng.choice(lines),
        lambda: rng.choice(lines).upper().title(),
        lambda: _with_noise(rng, rng.choice(lines)),
        lambda: _of_one_block(rng),
        lambda: _mixed(rng),
        lambda: rng.randbytes(rng.randint(0, 60)),
        lambda: _damaged(rng, rng.choice(lines).encode()),
    ]
    found = [kinds[i % len(kinds)]() for i in range(count)]
    return [x.encode() if isinstance(x, str) else x for x in found]


def _character(rng: random.Random, first: int, last: int) -> str:
    point = rng.randint(first, last)
    return chr(point) if not 0xD800 <= point < 0xE000 else " "


def _of_one_block(rng: random.Random) -> str:
    """Letters of one script, with spaces."""
    block = rng.choice(_BLOCKS)
    return "".join(
        _character(rng, *block) if rng.random() < 0.85 else " "
        for _ in range(rng.randint(1, 60))
    )


def _mixed(rng: random.Random) -> str:
    """A few characters of everything."""
    return "".join(
        rng.choice(
            [
                _character(rng, *rng.choice(_BLOCKS)),
                rng.choice("abcdefgh ,.'-"),
                rng.choice(_EMOJI),
                rng.choice("eaou") + rng.choice(_COMBINING),
                rng.choice(_CONTROL),
            ]
        )
        for _ in range(rng.randint(0, 40))
    )


def _with_noise(rng: random.Random, line: str) -> str:
    """A real line with a few strange characters in it."""
    found = list(line)
    for _ in range(rng.randint(1, 5)):
        noise = rng.choice(
            [
                rng.choice(_EMOJI),
                rng.choice(_COMBINING) * rng.randint(1, 3),
                rng.choice(_CONTROL),
                _character(rng, *rng.choice(_BLOCKS)),
            ]
        )
        found.insert(rng.randint(0, len(found)), noise)
    return "".join(found)


def _damaged(rng: random.Random, line: bytes) -> bytes:
    """A real line with bytes that are no UTF-8, cut anywhere."""
    found = bytearray(line)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(found))
        found[place:place] = rng.choice(
            [b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x92"]
        )
    return bytes(found[: rng.randint(0, len(found))])
