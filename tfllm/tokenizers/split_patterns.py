r"""How published byte-level BPE tokenizers split text into words.

RE2, which the graph has, cannot look ahead, so the published `\s+(?!\S)|\s+`
is left out: white space that no word takes is split into single characters,
and `byte_words` joins them.

Reference: the patterns of Radford et al., 2019, of SmolLM, of tiktoken's
cl100k_base as LLaMA 3 uses it, of Qwen 2 and of Mistral Nemo ("tekken").
"""

from __future__ import annotations

import dataclasses

from tfllm.tokenizers.token_matcher import SPACES

# Letters and digits of Unicode 15.1 and 16, which RE2 here does not know yet.
_LETTERS = (
    r"\p{L}\x{1c89}\x{1c8a}\x{a7cb}-\x{a7cd}\x{a7da}-\x{a7dc}"
    r"\x{105c0}-\x{105f3}\x{10d4a}-\x{10d65}\x{10d6f}-\x{10d85}"
    r"\x{10ec2}-\x{10ec4}\x{11380}-\x{11389}\x{1138b}\x{1138e}"
    r"\x{11390}-\x{113b5}\x{113b7}\x{113d1}\x{113d3}\x{11bc0}-\x{11be0}"
    r"\x{13460}-\x{143fa}\x{16100}-\x{1611d}\x{16d40}-\x{16d6c}\x{18cff}"
    r"\x{1e5d0}-\x{1e5ed}\x{1e5f0}\x{2ebf0}-\x{2ee5d}"
)
_DIGITS = (
    r"\p{N}\x{10d40}-\x{10d49}\x{116d0}-\x{116e3}\x{11bf0}-\x{11bf9}"
    r"\x{16130}-\x{16139}\x{16d70}-\x{16d79}\x{1ccf0}-\x{1ccf9}"
    r"\x{1e5f1}-\x{1e5fa}"
)
# Letters without case, and marks, which Mistral Nemo has on both sides.
_CASELESS = (
    r"\p{Lm}\p{Lo}\p{M}\x{897}\x{105c0}-\x{105f3}\x{10d4a}-\x{10d4f}"
    r"\x{10d69}-\x{10d6d}\x{10d6f}\x{10ec2}-\x{10ec4}\x{10efc}"
    r"\x{11380}-\x{11389}\x{1138b}\x{1138e}\x{11390}-\x{113b5}"
    r"\x{113b7}-\x{113c0}\x{113c2}\x{113c5}\x{113c7}-\x{113ca}"
    r"\x{113cc}-\x{113d3}\x{113e1}\x{113e2}\x{11bc0}-\x{11be0}\x{11f5a}"
    r"\x{13460}-\x{143fa}\x{16100}-\x{1612f}\x{16d40}-\x{16d6c}\x{18cff}"
    r"\x{1e5d0}-\x{1e5f0}\x{2ebf0}-\x{2ee5d}"
)
_CAPITALS = (
    rf"\p{{Lu}}\p{{Lt}}{_CASELESS}\x{{1c89}}\x{{a7cb}}\x{{a7cc}}\x{{a7da}}"
    r"\x{a7dc}\x{10d50}-\x{10d65}"
)
_SMALL = (
    rf"\p{{Ll}}{_CASELESS}\x{{1c8a}}\x{{a7cd}}\x{{a7db}}\x{{10d70}}-\x{{10d85}}"
)
# White space but for line feeds and carriage returns.
_BLANKS = SPACES.replace(r"\t-\r", r"\t\x{b}\x{c}")
_CLITICS = "'s|'t|'re|'ve|'m|'ll|'d"


@dataclasses.dataclass(frozen=True)
class SplitPattern:
    """A pattern.

    Attributes:
        published: As tokenizer.json has it; "" for that of its `ByteLevel`.
        words: The same for RE2, but that white space which no word takes is
            split into single characters.
        blanks: Class of those characters.
        prefixes: Class of the characters that keep the white space before
            them together, if they begin a word.
        single_digits: Whether the pre-tokenizer `Digits` of tokenizer.json
            makes each digit a word before.
    """

    published: str
    words: str
    blanks: str
    prefixes: str
    single_digits: bool = False


def _newer(max_digits: int) -> str:
    """Returns the pattern of LLaMA 3 and Qwen 2 for RE2."""
    digits = f"[{_DIGITS}]{{1,{max_digits}}}"
    return (
        f"(?i:{_CLITICS})"
        rf"|[^\r\n{_LETTERS}{_DIGITS}]?[{_LETTERS}]+|{digits}"
        rf"| ?[^{SPACES}{_LETTERS}{_DIGITS}]+[\r\n]*|[{SPACES}]*[\r\n]+"
        f"|[{_BLANKS}]"
    )


def _cased() -> str:
    """Returns the pattern of Mistral Nemo for RE2: capitals open a word."""
    prefix = rf"[^\r\n{_LETTERS}{_DIGITS}]?"
    return (
        f"{prefix}[{_CAPITALS}]*[{_SMALL}]+|{prefix}[{_CAPITALS}]+[{_SMALL}]*"
        rf"|[{_DIGITS}]| ?[^{SPACES}{_LETTERS}{_DIGITS}]+[\r\n/]*"
        rf"|[{SPACES}]*[\r\n]+|[{_BLANKS}]"
    )


_PUBLISHED = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_PUBLISHED_CASED = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {
    "gpt2": SplitPattern(
        "",
        f"{_CLITICS}| ?[{_LETTERS}]+| ?[{_DIGITS}]+"
        f"| ?[^{SPACES}{_LETTERS}{_DIGITS}]+|[{SPACES}]",
        f"[{SPACES}]",
        " ",
    ),
    # Of SmolLM.
    "digits": SplitPattern(
        "",
        f"{_CLITICS}| ?[{_LETTERS}]+|[{_DIGITS}]"
        f"| ?[^{SPACES}{_LETTERS}{_DIGITS}]+|[{SPACES}]",
        f"[{SPACES}]",
        f"[ {_DIGITS}]",
        single_digits=True,
    ),
    "llama3": SplitPattern(
        _PUBLISHED % "{1,3}", _newer(3), f"[{_BLANKS}]", f"[{_BLANKS}]"
    ),
    "qwen2": SplitPattern(
        _PUBLISHED % "", _newer(1), f"[{_BLANKS}]", f"[{_BLANKS}]"
    ),
    "tekken": SplitPattern(
        _PUBLISHED_CASED, _cased(), f"[{_BLANKS}]", f"[{_BLANKS}]"
    ),
}
