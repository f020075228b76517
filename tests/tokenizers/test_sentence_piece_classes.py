"""spiece.model files whose class cleans texts, or has ids of its own."""

import json
import pathlib
import re
import unicodedata
from typing import Any

import pytest
import sentencepiece

from tests.tokenizers.test_sentence_piece import TEXTS, train
from tests.tokenizers.test_sentence_piece_document import repeats
from tfllm.models import FAMILIES
from tfllm.tokenizers import load_tokenizer

ALBERT = {
    "pad_id": 0,
    "unk_id": 1,
    "bos_id": -1,
    "eos_id": -1,
    "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
    "user_defined_symbols": ["(", ")", '"', "-", ".", "£", "€"],
}
# More numbers than the corpus has: pieces such as "1,".
NUMBERS = [f"{n:,} and {n // 7:,}, or {n}," for n in range(995, 3000, 37)]


@pytest.fixture(name="content", scope="module")
def _content() -> bytes:
    return train(
        model_type="unigram", normalization_rule_name="nmt_nfkc", **ALBERT
    )


@pytest.fixture(name="folder")
def _folder(content: bytes, tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "spiece.model").write_bytes(content)
    return tmp_path


def configure(folder: pathlib.Path, **values: Any) -> str:
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return str(folder)


def cleaned(text: str, lowercase: bool, keeps_accents: bool) -> str:
    """As google-research/albert cleans texts, and Transformers 4 did."""
    text = " ".join(text.strip().split())
    text = text.replace("``", '"').replace("''", '"')
    if not keeps_accents:
        text = unicodedata.normalize("NFKD", text)
        text = "".join(c for c in text if not unicodedata.combining(c))
    return text.lower() if lowercase else text


def splits_commas(text: str) -> bool:
    """Whether a text has a number whose comma may be in a piece with it."""
    return bool(re.search(r"\d,", text))


@pytest.mark.parametrize(
    ("name", "lowercase", "keeps_accents"),
    [
        ("AlbertTokenizer", True, False),
        pytest.param("AlbertTokenizer", False, True, marks=pytest.mark.wide),
        pytest.param("AlbertTokenizer", True, True, marks=pytest.mark.wide),
        pytest.param("XLNetTokenizer", False, False, marks=pytest.mark.wide),
        pytest.param("XLNetTokenizer", False, True, marks=pytest.mark.wide),
    ],
)
def test_texts_are_cleaned(
    name: str,
    lowercase: bool,
    keeps_accents: bool,
    content: bytes,
    folder: pathlib.Path,
) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    path = configure(
        folder,
        tokenizer_class=name,
        do_lower_case=lowercase,
        keep_accents=keeps_accents,
    )
    ours = load_tokenizer(path)
    ours.save(str(folder / "saved"))
    saved = (folder / "saved" / "tokenizer.json").read_text()
    theirs = tokenizers.Tokenizer.from_str(saved)
    texts = [t for t in [*TEXTS, *NUMBERS] if "[" not in t and "<" not in t]
    assert len(texts) > 1200
    rows = ours.tokenize(texts).to_list()
    unlike = 0
    for text, row in zip(texts, rows, strict=True):
        expected = theirs.encode(text, add_special_tokens=False).ids
        if repeats(text):
            unlike += row != expected
        else:
            assert row == expected, repr(text)
    assert unlike <= 8
    # And as the authors' code; of other scripts, `tokenizers` strips other
    # marks, and does not compose what NFKD took apart; and control characters
    # are removed before it splits at white space.
    processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    count = 0
    for text, row in zip(texts, rows, strict=True):
        latin = text.isprintable() and max(text, default="") < "\u0250"
        if latin and not repeats(text) and not splits_commas(text):
            plain = cleaned(text, lowercase, keeps_accents)
            # Long runs of one character come in another order.
            assert sorted(row) == sorted(processor.encode(plain)), repr(text)
            count += 1
    assert count > 50
    # The ids do not change with a folder of ours.
    again = load_tokenizer(str(folder / "saved"))
    assert again.tokenize(texts[:200]).to_list() == rows[:200]


def test_numbers_keep_no_comma(folder: pathlib.Path) -> None:
    ours = load_tokenizer(configure(folder, tokenizer_class="AlbertTokenizer"))
    assert any(p[-1] == "," and p[-2:-1].isdigit() for p in ours.vocab)
    (row,) = ours.tokenize(["1, 21, 1,000"]).to_list()
    spelled = [ours.id_to_token(i) for i in row]
    assert spelled.count(",") == 3
    assert not any(len(p) > 1 and "," in p for p in spelled)


def test_the_family_names_the_class(folder: pathlib.Path) -> None:
    """Old folders have no tokenizer_config.json."""
    spec = FAMILIES["albert"].tokenizer
    ours = load_tokenizer(str(folder), spec=spec)
    assert ours("Élan", "HE")["token_ids"].numpy().tolist() == [
        2,
        *ours.tokenize(["elan"]).to_list()[0],
        3,
        *ours.tokenize(["he"]).to_list()[0],
        3,
    ]
    assert ours("a", "b")["segment_ids"].numpy().tolist()[-2:] == [1, 1]
    special = ours.special
    assert (special.pad, special.unk, special.cls, special.sep) == (0, 1, 2, 3)
    assert (special.mask, special.bos, special.eos) == (4, 2, 3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"remove_space": False}, "`remove_space` must be true.*false"),
        ({"do_lower_case": "yes"}, "`do_lower_case` must be true or.*'yes'"),
        ({"sp_model_kwargs": {"enable_sampling": True}}, "`sp_model_kwargs`"),
    ],
)
def test_options_that_are_refused(
    values: dict[str, Any], message: str, folder: pathlib.Path
) -> None:
    path = configure(folder, tokenizer_class="AlbertTokenizer", **values)
    with pytest.raises(ValueError, match=message):
        load_tokenizer(path)


def test_a_bpe_model_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "spiece.model").write_bytes(train(model_type="bpe"))
    path = configure(tmp_path, tokenizer_class="XLNetTokenizer")
    with pytest.raises(ValueError, match="'XLNetTokenizer'.*Received: BPE"):
        load_tokenizer(path)


def test_ids_of_camembert(tmp_path: pathlib.Path) -> None:
    content = train(model_type="unigram")
    (tmp_path / "sentencepiece.bpe.model").write_bytes(content)
    ours = load_tokenizer(
        configure(tmp_path, tokenizer_class="CamembertTokenizer")
    )
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    assert ours.vocab[:4] == ["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>"]
    assert ours.vocab[4:7] == ["<unk>NOTUSED", "<s>", "</s>"]
    assert ours.vocab[-1] == "<mask>"
    for text, row in zip(TEXTS, ours.tokenize(TEXTS).to_list(), strict=True):
        expected = [i + 4 if i else 3 for i in theirs.encode(text)]
        assert row == expected, repr(text)


@pytest.mark.live_parity
def test_transformers_reads_the_same(folder: pathlib.Path) -> None:
    """But for commas behind digits, which Transformers 5 leaves in pieces."""
    transformers = pytest.importorskip("transformers")
    path = configure(folder, tokenizer_class="AlbertTokenizer")
    (folder / "config.json").write_text('{"model_type": "albert"}')
    theirs = transformers.AutoTokenizer.from_pretrained(path)
    ours = load_tokenizer(path)
    texts = [
        text
        for text in TEXTS
        if not repeats(text)
        # It makes added tokens of these.
        and not set(text) & set('[<()"-.£€')
        and not splits_commas(text)
    ]
    assert len(texts) > 400
    rows = ours(texts, padding=False)["token_ids"].to_list()
    for text, row in zip(texts, rows, strict=True):
        assert row == theirs(text)["input_ids"], repr(text)
