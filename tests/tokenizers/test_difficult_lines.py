"""Every kind against the `tokenizers` package on 2,000 difficult lines."""

import argparse
import bisect
import inspect
import itertools
import pathlib
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
import tensorflow as tf

from tfllm.data.vocabularies.byte_bpe import ByteBPETrainingConfig, train_merges
from tfllm.data.vocabularies.word_bpe import WordBPETrainingConfig, train_model
from tfllm.tokenizers import (
    AddedToken,
    ByteBPETokenizer,
    RowTemplate,
    SpecialTokens,
    Tokenizer,
    WordPairTokenizer,
    WordPieceTokenizer,
    load_tokenizer,
)
from tfllm.tokenizers.byte_pair_model import Merge, byte_symbols
from tfllm.tokenizers.special_tokens import BERT_TOKENS
from tools.difficult_lines import difficult_lines

tokenizers = pytest.importorskip("tokenizers")

COUNT = 2000
SPELLED = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
ROBERTA = {
    "special_tokens": SpecialTokens(
        pad="<pad>",
        unk="<unk>",
        cls="<s>",
        sep="</s>",
        mask="<mask>",
        bos="<s>",
        eos="</s>",
    ),
    "added_tokens": (AddedToken("<mask>", lstrip=True, special=True),),
    "special_tokens_in_text": SPELLED,
    "template": RowTemplate(
        pad="pad", opens=("cls",), between=("sep", "sep"), closes=("sep",)
    ),
}


@pytest.fixture(name="merges", scope="module")
def _merges() -> list[Merge]:
    text = [*difficult_lines(500), *inspect.getsource(argparse).split("\n")]
    return train_merges(text, ByteBPETrainingConfig(vocab_size=1500))


def byte_bpe(
    merges: list[Merge], all_bytes: bool = True, **options: Any
) -> ByteBPETokenizer:
    made = [left + right for left, right in merges]
    symbols = sorted(byte_symbols())
    if not all_bytes:
        # As SmolLM, without those that its texts did not have.
        used = {*"".join(made), *map(chr, range(0x21, 0x7F))}
        symbols = [symbol for symbol in symbols if symbol in used]
        assert len(symbols) < 240
    vocab = [*symbols, *made, *SPELLED]
    return ByteBPETokenizer(vocab, merges, **{**ROBERTA, **options})


def character_places(
    text: str, starts: list[int], ends: list[int]
) -> list[tuple[int, int]]:
    """The characters that hold bytes `start` to `end`."""
    sizes = [len(char.encode()) for char in text]
    places = [0, *itertools.accumulate(sizes)]
    return [
        (bisect.bisect_right(places, a) - 1, bisect.bisect_left(places, b))
        for a, b in zip(starts, ends, strict=True)
    ]


def assert_equal(
    ours: Tokenizer,
    theirs: Any,
    texts: list[str],
    has_places: Callable[[str], bool] = lambda text: True,
) -> None:
    """Ids, decoded text, and the offsets of lines with `has_places`."""
    ids, starts, ends = ours.tokenize_with_offsets(tf.constant(texts))
    assert ours.tokenize(tf.constant(texts)).to_list() == ids.to_list()
    decoded = ours.detokenize(ids, replace_invalid=True).numpy()
    oracle = theirs.encode_batch(texts, add_special_tokens=False)
    compared = 0
    for text, row, begin, end, shown, encoding in zip(
        texts,
        ids.to_list(),
        starts.to_list(),
        ends.to_list(),
        decoded,
        oracle,
        strict=True,
    ):
        assert row == encoding.ids, repr(text)
        whole = theirs.decode(encoding.ids, skip_special_tokens=False)
        assert shown.decode() == whole, repr(text)
        if has_places(text):
            places = character_places(text, begin, end)
            assert places == encoding.offsets, repr(text)
            compared += 1
    assert compared > 0.3 * len(texts)


@pytest.mark.parametrize(
    ("pattern", "normalization", "ignore_merges"),
    [
        ("gpt2", None, False),
        ("digits", None, False),
        ("llama3", None, True),
        ("qwen2", "NFC", False),
        ("tekken", None, True),
    ],
)
def test_byte_bpe(
    pattern: str,
    normalization: str | None,
    ignore_merges: bool,
    merges: list[Merge],
    tmp_path: pathlib.Path,
) -> None:
    ours = byte_bpe(
        merges,
        all_bytes=pattern != "digits",
        pattern=pattern,
        normalization=normalization,
        ignore_merges=ignore_merges,
    )
    ours.save(str(tmp_path))
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = difficult_lines(COUNT, SPELLED)
    # NOTE: where several characters compose, or bytes of one have no token,
    # the package may count one more.
    lost = set(range(256)) - {b for t in ours.token_bytes for b in t}
    assert bool(lost) == (pattern == "digits")

    def has_places(text: str) -> bool:
        composes = normalization and not unicodedata.is_normalized("NFC", text)
        return not composes and lost.isdisjoint(text.encode())

    assert_equal(ours, theirs, texts, has_places)
    pair = theirs.encode("a b", "c d")
    assert ours("a b", "c d")["token_ids"].numpy().tolist() == pair.ids
    again = load_tokenizer(str(tmp_path))
    assert isinstance(again, ByteBPETokenizer)
    assert again.row_template == ours.row_template
    assert again.special == ours.special
    assert (again.pattern, again.normalization, again.ignore_merges) == (
        pattern,
        normalization,
        ignore_merges,
    )
    assert again.vocab_hash() == ours.vocab_hash()


def test_composed_characters_have_the_offsets_of_their_first(
    merges: list[Merge],
) -> None:
    ours = byte_bpe(merges, pattern="qwen2", normalization="NFC")
    text = "xe\u0301<mask>e\u0301 \uac00"
    ids, starts, ends = ours.tokenize_with_offsets([text])
    content = text.encode()
    cuts = [
        (ours.token_bytes[i], content[a:b])
        for i, a, b in zip(
            *(part.to_list()[0] for part in (ids, starts, ends)), strict=True
        )
    ]
    # A token of one byte of "\u00e9" has the letter that it was made of.
    assert [cut for _, cut in cuts if cut == b"e"]
    assert (b"<mask>", b"<mask>") in cuts
    spelled = b"".join(token for token, _ in cuts).decode()
    assert spelled == unicodedata.normalize("NFC", text)


def test_prefix_space(merges: list[Merge], tmp_path: pathlib.Path) -> None:
    ours = byte_bpe(merges, add_prefix_space=True)
    ours.save(str(tmp_path))
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = difficult_lines(300, SPELLED)
    found = ours.tokenize(tf.constant(texts)).to_list()
    oracle = theirs.encode_batch(texts, add_special_tokens=False)
    assert found == [encoding.ids for encoding in oracle]


def test_word_bpe(tmp_path: pathlib.Path) -> None:
    special = SpecialTokens(unk="<unk>", eos="</s>")
    text = [*difficult_lines(500), *inspect.getsource(argparse).split("\n")]
    vocab, merges = train_model(
        text,
        WordBPETrainingConfig(
            vocab_size=1500, limit_alphabet=150, special_tokens=special
        ),
    )
    ours = WordPairTokenizer(
        vocab,
        merges,
        special_tokens=special,
        added_tokens=(AddedToken("<x>", lstrip=True),),
        special_tokens_in_text=("unk", "eos"),
    )
    ours.save(str(tmp_path))
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    texts = difficult_lines(COUNT, ("<unk>", "</s>", "<x>"))
    assert_equal(ours, theirs, texts)
    # A third of the alphabet is left out, and each of its characters is one
    # unknown token.
    rows = ours.tokenize(tf.constant(texts)).to_list()
    assert sum(row.count(0) for row in rows) > 500


@pytest.mark.parametrize("lowercase", [True, False])
def test_wordpiece(lowercase: bool, tmp_path: pathlib.Path) -> None:
    lines = difficult_lines(COUNT)
    alphabet = sorted(
        {
            char
            for line in lines
            for form in (line, line.lower(), unicodedata.normalize("NFD", line))
            for char in form
            if char.isalnum() or unicodedata.category(char)[0] in "PSM"
        }
    )
    pieces = ["the", "quick", "##ing", "brown", "##s", "jump", "##ed", "caf"]
    vocab = [*BERT_TOKENS.all(), *alphabet, *(f"##{c}" for c in alphabet)]
    ours = WordPieceTokenizer(
        list(dict.fromkeys([*vocab, *pieces])),
        lowercase,
        special_tokens_in_text=BERT_TOKENS.all(),
    )
    ours.save(str(tmp_path))
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert_equal(ours, theirs, difficult_lines(COUNT, BERT_TOKENS.all()))
