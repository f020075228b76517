"""Cleans documents one by one, and counts the effect of each step.

The steps are pure functions on text. `Cleaner` applies them in order:
decoding, mojibake, line ends, control characters, Unicode form, white space,
boilerplate, length and symbol filters, sentences. Steps over the whole corpus
(duplicates, lines repeated in many documents) are in `builder.py` and
`near_duplicates.py`. This module imports no TensorFlow, so that Apache Beam
workers start quickly.
"""

import collections
import dataclasses
import functools
import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterator

from tfllm.data.corpus import sentences

UNICODE_FORMS = ("NFC", "NFKC", "none")


@dataclasses.dataclass(frozen=True)
class CleaningConfig:
    """Settings of the cleaning steps; a limit of 0 is off.

    Attributes:
        unicode_form: NFC, NFKC or none.
        min_characters: Shorter documents are dropped (after cleaning).
        max_characters: Longer documents are dropped.
        min_words: As `min_characters`, in words (a CJK character is a word).
        max_words: As `max_characters`, in words.
        max_symbol_ratio: Documents are dropped if a larger share of their
            characters, without white space, are symbols: neither letters,
            digits nor combining marks. English prose has 0.03 to 0.06, code
            over 0.25.
        max_replacement_ratio: Documents are dropped if a larger share of
            their characters is U+FFFD, which replaces undecodable bytes.
        boilerplate_rules: Whether to remove page numbers, copyright and cookie
            lines, and the licence text of Project Gutenberg.
        boilerplate_fraction: Lines that occur in a larger share of the
            documents are removed.
        boilerplate_min_documents: Least number of documents for that.
            Documents of a single line keep it.
    """

    unicode_form: str = "NFC"
    min_characters: int = 100
    max_characters: int = 0
    min_words: int = 0
    max_words: int = 0
    max_symbol_ratio: float = 0.25
    max_replacement_ratio: float = 0.005
    boilerplate_rules: bool = True
    boilerplate_fraction: float = 0.01
    boilerplate_min_documents: int = 20

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.unicode_form not in UNICODE_FORMS:
            raise ValueError(
                f"`unicode_form` must be one of {', '.join(UNICODE_FORMS)}. "
                f"Received: {self.unicode_form}."
            )
        for name in (
            "max_symbol_ratio",
            "max_replacement_ratio",
            "boilerplate_fraction",
        ):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"`{name}` must be in [0, 1]. "
                    f"Received: {getattr(self, name)}."
                )
        for unit in ("characters", "words"):
            low = getattr(self, f"min_{unit}")
            high = getattr(self, f"max_{unit}")
            if low < 0 or high < 0 or (high and low > high):
                raise ValueError(
                    f"`min_{unit}` and `max_{unit}` must be 0 or more and in "
                    f"order. Received: {low} and {high}."
                )


# --- Encoding ---------------------------------------------------------------

_REPLACEMENT = "\ufffd"
_UTF8_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
# Characters of Windows-1252 to bytes. The five bytes that Windows-1252 leaves
# undefined are C1 control characters.
_TO_CP1252 = {
    ord(bytes([b]).decode("cp1252")): b
    for b in range(0x80, 0xA0)
    if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
}
_FROM_CP1252 = {b: c for c, b in _TO_CP1252.items()}
# A lead byte and a continuation byte of UTF-8, read as Windows-1252.
_MOJIBAKE = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u0192\u02c6\u02dc\u2013-\u2122]"
)


def decode(data: bytes) -> tuple[str, str]:
    """Decodes bytes that should be UTF-8.

    Bytes with more broken than valid multi-byte sequences are read as
    Windows-1252 (which includes printable Latin-1). Otherwise each broken
    byte becomes U+FFFD.

    Returns:
        The text, and the problem: "", "encoding_fallback" or
        "encoding_replaced".
    """
    try:
        return data.decode("utf-8"), ""
    except UnicodeDecodeError:
        pass
    replaced = data.decode("utf-8", errors="replace")
    broken = replaced.count(_REPLACEMENT) - data.count(b"\xef\xbf\xbd")
    if len(_UTF8_SEQUENCE.findall(data)) >= broken:
        return replaced, "encoding_replaced"
    return data.decode("latin-1").translate(_FROM_CP1252), "encoding_fallback"


def repair_mojibake(text: str) -> str:
    """Repairs UTF-8 that was read as Windows-1252 ("cafÃ©" to "café").

    Text is changed only if all of it, as Windows-1252 bytes, is valid UTF-8,
    which undamaged text is not.
    """
    if not _MOJIBAKE.search(text):
        return text
    try:
        return text.translate(_TO_CP1252).encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


# --- Characters -------------------------------------------------------------

_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# C0 and C1 except tab and line feed; soft hyphen, zero-width space, directional
# marks and overrides, word joiner to nominal digit shapes, byte order mark,
# interlinear marks, noncharacters. The joiners U+200C and U+200D stay, as
# Persian, Indic scripts and emoji need them.
_CONTROL = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff]"
)
# Neither matches single spaces or line feeds, which are nearly all.
_SPACES = re.compile(r"[^\S\n ][^\S\n]*| [^\S\n]+")
_LINE_SPACES = re.compile(r" \n ?|\n ")
_BLANK_LINES = re.compile(r"\n{3,}")


def normalize_line_ends(text: str) -> str:
    r"""Replaces all line ends by `\n`."""
    return _LINE_ENDS.sub("\n", text)


def remove_control_characters(text: str) -> str:
    """Removes control and other invisible characters."""
    return _CONTROL.sub("", text)


def normalize_unicode(text: str, form: str) -> str:
    """Applies a Unicode normalisation form (NFC, NFKC, none)."""
    return text if form == "none" else unicodedata.normalize(form, text)  # type: ignore[arg-type]


def normalize_spaces(text: str) -> str:
    """Leaves single spaces, single blank lines, and no space at line ends."""
    text = _LINE_SPACES.sub("\n", _SPACES.sub(" ", text))
    return _BLANK_LINES.sub("\n\n", text).strip()


# --- Boilerplate ------------------------------------------------------------

_GUTENBERG_START = re.compile(
    r"^\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG.*$", re.M
)
_GUTENBERG_END = re.compile(
    r"^(?:\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG"
    r"|End of (?:the |this )?Project Gutenberg)",
    re.M,
)
_LINE_RULES = {
    "page_number": re.compile(
        r"\W*(?:page |p\. ?)?\d{1,4}(?: (?:of|/) \d{1,4})?\W*", re.I
    ),
    "copyright": re.compile(
        r"(?:copyright|©|\(c\)).{0,80}\b(?:1[89]|20)\d\d\b.{0,80}"
        r"|.{0,80}\ball rights reserved\b.{0,40}",
        re.I,
    ),
    "cookies": re.compile(
        r".{0,60}\b(?:(?:uses?|using|accept(?: all)?) cookies"
        r"|cookie (?:policy|settings)|enable javascript)\b.{0,120}",
        re.I,
    ),
}
# A line can match a rule only if it holds a digit or one of these.
_RULE_HINT = re.compile(r"\d|cookie|rights reserved|javascript", re.I)


_NUMBER = re.compile(r"\b\d+\b")


def strip_gutenberg(text: str) -> str:
    """Removes the header, footer and licence of Project Gutenberg."""
    if "gutenberg" not in text.lower():
        return text
    start = _GUTENBERG_START.search(text)
    if start:
        text = text[start.end() :]
    end = _GUTENBERG_END.search(text)
    if end:
        text = text[: end.start()]
    # If documents are paragraphs, the markers may be in other documents.
    kept = [
        paragraph
        for paragraph in text.split("\n\n")
        if "project gutenberg" not in " ".join(paragraph.lower().split())
    ]
    return "\n\n".join(kept)


def line_rule(line: str) -> str:
    """Returns the boilerplate rule that a whole line matches, or ""."""
    if len(line) > 200 or not _RULE_HINT.search(line):
        return ""
    for name, pattern in _LINE_RULES.items():
        if pattern.fullmatch(line):
            return name
    return ""


def line_hash(line: str) -> int:
    """Returns a hash of a line that ignores numbers, as in "Page 3"."""
    return content_hash(_NUMBER.sub("0", line))


def repeatable_lines(text: str) -> Iterator[str]:
    """Yields the lines of a document that may be boilerplate."""
    if "\n" in text:
        yield from filter(None, text.split("\n"))


# --- Filters ----------------------------------------------------------------

_CJK_CHARACTER = re.compile("[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff]")


def count_words(text: str) -> int:
    """Counts the words between white space; a CJK character is a word."""
    if text.isascii():
        return len(text.split())
    return len(_CJK_CHARACTER.sub(" x ", text).split())


@functools.lru_cache(maxsize=1 << 16)
def _is_symbol(character: str) -> bool:
    """Returns whether a character is a symbol, as in `symbol_ratio`."""
    category = unicodedata.category(character)
    return not character.isspace() and category[0] not in "LNM"


def symbol_ratio(text: str) -> float:
    """Returns the share of symbols among non-white-space characters."""
    total = symbols = 0
    for character, count in collections.Counter(text).items():
        if not character.isspace():
            total += count
            symbols += count * _is_symbol(character)
    return symbols / total if total else 0.0


def content_hash(text: str) -> int:
    """Returns a 63-bit hash of a text, which identifies it in deduplication.

    It has one bit less than the digest, as Beam's integers are signed.
    """
    data = text.encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(data, digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def heldout_value(text: str) -> float:
    """Returns a number in [0, 1) that decides whether a document is held out.

    It is independent of `content_hash`: near-duplicate removal keeps the
    smallest hash, so that a split by this hash would be biased.
    """
    digest = hashlib.blake2b(
        text.encode("utf-8"), digest_size=8, person=b"heldout"
    ).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


# --- The steps in order -----------------------------------------------------


class Cleaner:
    """Applies all cleaning steps to documents, and counts their effects.

    Args:
        config: Settings of the steps.
        boilerplate: `line_hash` of repeated lines to remove.

    Attributes:
        counts: Counts by name: `in/documents`,
            `in/characters`, `changed/<step>/documents`,
            `removed_lines/<rule>`, `dropped/<reason>/documents` and
            `dropped/<reason>/characters`.
    """

    def __init__(
        self, config: CleaningConfig, boilerplate: Collection[int] = ()
    ) -> None:
        self.config = config
        self.boilerplate = boilerplate
        self.counts: collections.Counter[str] = collections.Counter()

    def drop(self, reason: str, text: str) -> None:
        """Counts a document as dropped."""
        self.counts[f"dropped/{reason}/documents"] += 1
        self.counts[f"dropped/{reason}/characters"] += len(text)

    def _changed(self, step: str, before: str, after: str) -> str:
        """Returns `after`, and counts the document if a step changed it."""
        if after != before:
            self.counts[f"changed/{step}/documents"] += 1
        return after

    def normalize(self, record: bytes | str) -> str:
        """Decodes a record and normalizes its characters.

        Args:
            record: Undecoded bytes, or text.

        Returns:
            The text, with paragraphs separated by single blank lines.
        """
        if isinstance(record, bytes):
            text, problem = decode(record)
            if problem:
                self.counts[f"changed/{problem}/documents"] += 1
        else:
            # JSON can encode half a surrogate pair, which UTF-8 cannot.
            text = _SURROGATE.sub(_REPLACEMENT, record)
            self._changed("encoding_replaced", record, text)
        self.counts["in/documents"] += 1
        self.counts["in/characters"] += len(text)
        form = self.config.unicode_form
        text = self._changed("mojibake", text, repair_mojibake(text))
        text = self._changed("line_ends", text, normalize_line_ends(text))
        text = self._changed(
            "control_characters", text, remove_control_characters(text)
        )
        text = self._changed(
            "unicode_form", text, normalize_unicode(text, form)
        )
        return self._changed("spaces", text, normalize_spaces(text))

    def remove_boilerplate(self, text: str) -> str:
        """Removes lines that match a rule or are in `boilerplate`."""
        rules = self.config.boilerplate_rules
        if rules:
            text = self._changed("gutenberg", text, strip_gutenberg(text))
        if not rules and not self.boilerplate:
            return text
        repeatable = bool(self.boilerplate) and "\n" in text
        kept = []
        for line in text.split("\n"):
            rule = line_rule(line) if rules else ""
            if (
                not rule
                and repeatable
                and line
                and line_hash(line) in self.boilerplate
            ):
                rule = "repeated"
            if rule:
                self.counts[f"removed_lines/{rule}"] += 1
            else:
                kept.append(line)
        cleaned = normalize_spaces("\n".join(kept))
        return self._changed("boilerplate_lines", text, cleaned)

    def drop_reason(self, text: str) -> str:
        """Returns why a cleaned document is dropped, or ""."""
        config = self.config
        if not text:
            return "empty"
        if text.count(_REPLACEMENT) > config.max_replacement_ratio * len(text):
            return "encoding_errors"
        if len(text) < config.min_characters:
            return "too_short"
        if config.max_characters and len(text) > config.max_characters:
            return "too_long"
        if config.min_words or config.max_words:
            words = count_words(text)
            if words < config.min_words:
                return "too_few_words"
            if config.max_words and words > config.max_words:
                return "too_many_words"
        if symbol_ratio(text) > config.max_symbol_ratio:
            return "symbols"
        return ""

    def clean(self, record: bytes | str) -> str | None:
        """Applies all steps to a record.

        Args:
            record: Undecoded bytes, or text.

        Returns:
            The document, one sentence per line without blank lines; None if
            it is dropped.
        """
        text = self.remove_boilerplate(self.normalize(record))
        reason = self.drop_reason(text)
        if reason:
            self.drop(reason, text)
            return None
        return "\n".join(sentences.document_sentences(text))
