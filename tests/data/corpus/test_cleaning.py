"""Tests of the cleaning steps, of sentences and of near duplicates."""

import subprocess
import sys

import numpy as np
import pytest

from tfllm.data.corpus import cleaning, near_duplicates, sentences
from tfllm.data.corpus.cleaning import Cleaner, CleaningConfig
from tfllm.data.corpus.near_duplicates import MinHasher, NearDuplicateConfig

_LOOSE = CleaningConfig(min_characters=1)
_TEXT = "The whale swam past the ship, and nobody on deck saw it go. " * 3


@pytest.mark.parametrize(
    ("data", "text", "problem"),
    [
        ("café “x”".encode(), "café “x”", ""),
        ("café".encode("latin-1"), "café", "encoding_fallback"),
        ("“café”".encode("cp1252"), "“café”", "encoding_fallback"),
        ("été à".encode() + b"\xff", "été à\ufffd", "encoding_replaced"),
    ],
)
def test_decode(data: bytes, text: str, problem: str) -> None:
    assert cleaning.decode(data) == (text, problem)


@pytest.mark.parametrize("text", ["café", "“quoted” – dash", "naïve 中文 é"])
def test_mojibake_is_undone_and_good_text_is_kept(text: str) -> None:
    damaged = "".join(
        bytes([b]).decode("cp1252")
        if b not in (0x81, 0x8D, 0x8F, 0x90, 0x9D)
        else chr(b)
        for b in text.encode()
    )
    assert damaged != text
    assert cleaning.repair_mojibake(damaged) == text
    assert cleaning.repair_mojibake(text) == text


def test_characters() -> None:
    assert cleaning.normalize_line_ends("a\r\nb\rc\u2028d") == "a\nb\nc\nd"
    dirty = "a\x00b\u200bc\ufeffd\u202ee\tf\n"
    assert cleaning.remove_control_characters(dirty) == "abcde\tf\n"
    joined = "\U0001f469\u200d\U0001f4bb"
    assert cleaning.remove_control_characters(joined) == joined
    assert cleaning.normalize_unicode("e\u0301 ﬁ", "NFC") == "é ﬁ"
    assert cleaning.normalize_unicode("e\u0301 ﬁ", "NFKC") == "é fi"
    assert cleaning.normalize_unicode("e\u0301", "none") == "e\u0301"
    assert (
        cleaning.normalize_spaces(" a \t b\u00a0 \n\n \n\n c\n d ")
        == "a b\n\nc\nd"
    )


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("- 17 -", "page_number"),
        ("Page 3 of 12", "page_number"),
        ("Copyright (c) 2019 Someone Ltd", "copyright"),
        ("Some Ltd. All rights reserved.", "copyright"),
        ("This site uses cookies to improve things.", "cookies"),
        ("In 1984 he read page 3 of 12 books.", ""),
        ("She baked cookies.", ""),
    ],
)
def test_line_rules(line: str, rule: str) -> None:
    assert cleaning.line_rule(line) == rule


def test_gutenberg_keeps_the_book() -> None:
    book = (
        "The Project Gutenberg EBook\n\nlicence\n\n"
        "*** START OF THIS PROJECT GUTENBERG EBOOK X ***\n\nCall me Ishmael."
        "\n\n*** END OF THIS PROJECT GUTENBERG EBOOK X ***\n\nmore licence"
    )
    assert cleaning.strip_gutenberg(book).strip() == "Call me Ishmael."
    assert cleaning.strip_gutenberg("About Gutenberg's press.") == (
        "About Gutenberg's press."
    )


def test_symbol_ratio_counts_letters_of_all_scripts() -> None:
    assert cleaning.symbol_ratio("a1 !?") == 0.5
    assert cleaning.symbol_ratio("हिन्दी में") == 0.0
    assert cleaning.symbol_ratio("") == 0.0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("short", "too_short"),
        ("x " * 300, "too_long"),
        ("supercalifragilistic " * 3, "too_few_words"),
        ("many " * 30, "too_many_words"),
        ("a b c " * 4 + "{}[]<>();" * 4, "symbols"),
        ("bytes that are \ufffd\ufffd lost", "encoding_errors"),
        ("a plain document of some words", ""),
    ],
)
def test_filters(text: str, reason: str) -> None:
    config = CleaningConfig(
        min_characters=10, max_characters=400, min_words=4, max_words=25
    )
    assert Cleaner(config).drop_reason(text) == reason


def test_cleaner_counts_every_step() -> None:
    repeated = frozenset([cleaning.line_hash("Home | About")])
    cleaner = Cleaner(CleaningConfig(min_characters=20), repeated)
    record = "Home | About\r\n17\r\nIt is a café. He\x07 left early today.\r\n"
    text = cleaner.clean(record.encode("latin-1"))
    assert text == "It is a café.\nHe left early today."
    assert cleaner.clean(b"tiny") is None
    assert cleaner.counts == {
        "in/documents": 2,
        "in/characters": len(record) + 4,
        "changed/encoding_fallback/documents": 1,
        "changed/line_ends/documents": 1,
        "changed/control_characters/documents": 1,
        "changed/spaces/documents": 1,
        "changed/boilerplate_lines/documents": 1,
        "removed_lines/repeated": 1,
        "removed_lines/page_number": 1,
        "dropped/too_short/documents": 1,
        "dropped/too_short/characters": 4,
    }


def test_lone_surrogates_become_replacement_characters() -> None:
    text = Cleaner(CleaningConfig(min_characters=1, max_replacement_ratio=1))
    assert text.clean("a\ud800b word") == "a\ufffdb word"


@pytest.mark.parametrize(
    ("setting", "received"),
    [
        ({"unicode_form": "NFX"}, "NFX"),
        ({"max_symbol_ratio": 1.5}, "1.5"),
        ({"min_characters": 9, "max_characters": 3}, "9 and 3"),
    ],
)
def test_bad_settings(setting: dict[str, object], received: str) -> None:
    with pytest.raises(ValueError, match=f"Received: {received}"):
        CleaningConfig(**setting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "expected",
    [
        ["Dr. Smith met J. R. R. Tolkien.", "They spoke."],
        ["It costs 3.14 dollars.", "See Fig. 3 and e.g. Paris."],
        ['"Really?" he said.', '"Yes!"', "She left."],
        ["He waited... and waited.", "Then..."],
        ["It ended (see above).", "So did I.", "We left."],
        ["我爱你。", "你呢？", "“好！”", "他说。"],
        ["no mark at all"],
        ["He sat.", "Then the sun rose."],
        ["Visit example.com/a.html today.", "Version 2.0 is out!"],
    ],
)
def test_sentences(expected: list[str]) -> None:
    chinese = "\u4e00" <= expected[0][0] <= "\u9fff"
    text = ("" if chinese else " ").join(expected)
    assert sentences.split_sentences(text) == expected


def test_wrapped_lines_are_joined_and_long_ones_are_not() -> None:
    assert sentences.document_sentences("One two\nthree. Four\n\nTitle") == [
        "One two three.",
        "Four",
        "Title",
    ]
    assert sentences.document_sentences("我爱\n你。") == ["我爱你。"]
    long = "w" * 130
    assert sentences.document_sentences(f"{long}\nshort") == [long, "short"]
    assert sentences.document_sentences("Buy\n- milk\n- eggs") == [
        "Buy",
        "- milk",
        "- eggs",
    ]


def _words(seed: int, count: int) -> list[str]:
    numbers = np.random.default_rng(seed).integers(0, 5000, count)
    return [f"w{n}" for n in numbers]


def test_minhash_estimates_jaccard() -> None:
    config = NearDuplicateConfig(num_permutations=512, shingle_size=3)
    left = _words(1, 400)
    right = left[:300] + _words(2, 100)
    sets = [
        {tuple(w[i : i + 3]) for i in range(len(w) - 2)} for w in (left, right)
    ]
    jaccard = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    hasher = MinHasher(config)
    a, b = (hasher.signature(" ".join(w)) for w in (left, right))
    assert abs(float((a == b).mean()) - jaccard) < 4 * 0.5 / 512**0.5


def test_near_duplicates_do_not_depend_on_the_order() -> None:
    config = NearDuplicateConfig()
    base = [_words(seed, 200) for seed in range(20)]
    texts = [" ".join(w) for w in base]
    texts += [" ".join(w[:-2] + ["changed"]) for w in base[:7]]
    hasher = MinHasher(config)
    hashes = np.array([cleaning.content_hash(t) for t in texts], np.uint64)
    table = np.stack([hasher.signature(t) for t in texts])
    found = near_duplicates.find_near_duplicates(hashes, table, config)
    expected = [max(hashes[i], hashes[20 + i]) for i in range(7)]
    assert sorted(found.tolist()) == sorted(int(h) for h in expected)
    order = np.random.default_rng(0).permutation(len(texts))
    again = near_duplicates.find_near_duplicates(
        hashes[order], table[order], config
    )
    np.testing.assert_array_equal(found, again)
    off = NearDuplicateConfig(threshold=0)
    assert not len(near_duplicates.find_near_duplicates(hashes, table, off))


def test_hashes_do_not_depend_on_the_process() -> None:
    program = (
        "from tfllm.data.corpus import cleaning, near_duplicates as n;"
        "h = n.MinHasher(n.NearDuplicateConfig());"
        "print(cleaning.content_hash('a b'), h.signature('a b c d e f').sum())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            check=True,
            text=True,
            cwd=__file__.rsplit("/tests/", 1)[0],
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1


def test_documents_with_one_line_keep_a_repeated_line() -> None:
    cleaner = Cleaner(_LOOSE, frozenset([cleaning.line_hash(_TEXT.strip())]))
    assert cleaner.clean(_TEXT) is not None
