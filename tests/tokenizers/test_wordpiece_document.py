"""A WordPiece tokenizer.json, with the `tokenizers` package as its oracle."""

import json
import pathlib
import random
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from tfllm.tokenizers import WordPieceTokenizer, load_tokenizer

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "covid", "new", "york"]
VOCAB += ["-", "19", "foo", "x", "a", "b", "##s", "##oo", "f", "<", ">", "m"]
VOCAB += ["日", "本", "naive", "naïve", "e", "é", "##x", "ss", "Ω", "ω", "##a"]
PARTS = ["COVID-19", "covid-19", "<m>", "<m>s", "日本", "New York", "new\tYORK"]
PARTS += ["naïve", "NAÏVE", "foo", "fooS", "xaaaa", "é", "e\u0301", "Ω", "\x07"]
PARTS += ["\0", "\u00a0", "  ", "\n", "ΩX", "a-b", "##oo", "[MASK", "€", "Foo"]


def oracle(**options: Any) -> Tokenizer:
    max_chars = options.pop("max_chars", 100)
    cleanup = options.pop("cleanup", True)
    tokenizer = Tokenizer(
        models.WordPiece(
            {token: i for i, token in enumerate(VOCAB)},
            unk_token="[UNK]",
            max_input_chars_per_word=max_chars,
        )
    )
    tokenizer.normalizer = normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(cleanup=cleanup)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


def lines(count: int = 300) -> list[str]:
    rng = random.Random(1)
    spaces = ["", " ", "  ", "\t"]
    return [
        "".join(
            rng.choice(PARTS) + rng.choice(spaces)
            for _ in range(rng.randint(1, 8))
        )
        for _ in range(count)
    ]


def assert_equal(ours: Any, theirs: Tokenizer, offsets: bool = True) -> None:
    texts = lines()
    ids, starts, ends = ours.tokenize_with_offsets(texts)
    assert ours.tokenize(texts).to_list() == ids.to_list()
    encodings = theirs.encode_batch(texts, add_special_tokens=False)
    assert ids.to_list() == [encoding.ids for encoding in encodings]
    for text, first, last, encoding in zip(
        texts, starts.to_list(), ends.to_list(), encodings, strict=True
    ):
        spans = [
            (len(text[:a].encode()), len(text[:b].encode()))
            for a, b in encoding.offsets
        ]
        if offsets:
            assert list(zip(first, last, strict=True)) == spans, text


@pytest.mark.parametrize(
    "options",
    [
        {"lowercase": False},
        {"lowercase": True, "strip_accents": False},
        {"lowercase": False, "strip_accents": True},
        {"handle_chinese_chars": False},
        {"max_chars": 4},
    ],
    ids=str,
)
def test_switches_are_heeded(options: dict, tmp_path: pathlib.Path) -> None:
    theirs = oracle(**options)
    # Matched in the normalized text, and in the text as it is.
    theirs.add_tokens(["COVID-19", "New York", "Naïve", "ΩX"])
    theirs.add_tokens([AddedToken("Foo", normalized=False)])
    theirs.add_special_tokens(["<m>s", "日本"])
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = load_tokenizer(str(tmp_path))
    assert_equal(ours, theirs)
    assert ours.vocab_size == theirs.get_vocab_size()
    ours.save(str(tmp_path / "saved"))
    again = load_tokenizer(str(tmp_path / "saved" / "tokenizer.json"))
    assert again.vocab_hash() == ours.vocab_hash()
    assert_equal(again, theirs)
    saved = str(tmp_path / "saved" / "tokenizer.json")
    assert Tokenizer.from_file(saved).get_vocab() == theirs.get_vocab()
    assert_equal(ours, Tokenizer.from_file(saved))


def test_white_space_around_added_tokens(tmp_path: pathlib.Path) -> None:
    theirs = oracle(lowercase=True)
    theirs.add_tokens([AddedToken("<m>", lstrip=True, normalized=False)])
    theirs.add_tokens([AddedToken("日本", rstrip=True, normalized=False)])
    theirs.add_tokens([AddedToken("x", lstrip=True, rstrip=True)])
    theirs.save(str(tmp_path / "tokenizer.json"))
    # NOTE: spaces that set ideographs apart have no place here.
    assert_equal(load_tokenizer(str(tmp_path)), theirs, offsets=False)


def test_decoding_is_that_of_the_file(tmp_path: pathlib.Path) -> None:
    for cleanup in (True, False):
        theirs = oracle(cleanup=cleanup)
        theirs.add_special_tokens(["<ent>", *VOCAB[:5]])
        theirs.save(str(tmp_path / "tokenizer.json"))
        ours = load_tokenizer(str(tmp_path))
        ids = [2, 12, 17, 14, len(VOCAB), 8, 3]
        for skip in (True, False):
            assert ours.decode(ids, skip) == theirs.decode(
                ids, skip_special_tokens=skip
            )


def changed(tmp_path: pathlib.Path, **values: Any) -> str:
    theirs = oracle()
    theirs.add_tokens(["Foo"])
    content = json.loads(theirs.to_str())
    for name, value in values.items():
        *path, last = name.split("__")
        part = content
        for key in path:
            part = part[int(key) if key.isdecimal() else key]
        part[last] = value
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    return str(tmp_path)


TEMPLATE = {"SpecialToken": {"id": "[CLS]", "type_id": 0}}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model__type": "WordLevel"}, "WordPiece.*'WordLevel'"),
        ({"model__continuing_subword_prefix": "@@"}, "subword_prefix.*'@@'"),
        ({"model__max_input_chars_per_word": 0}, "max_input_chars.*0"),
        (
            {"model__max_input_chars_per_word": "x"},
            "above 0. Received: 'x'. Correct the file.$",
        ),
        ({"model__vocab": {"a": 0, "b": 7}}, "id 7 for 'b' in the place of"),
        ({"model__vocab": {"a": 0, "b": "1"}}, "'b' -> '1'"),
        ({"model__vocab": {"a": 1}}, "without gaps"),
        ({"normalizer": None}, "normalizer.type.*None"),
        ({"normalizer__clean_text": False}, "clean_text.*False"),
        ({"normalizer__lowercase": "yes"}, "normalizer.lowercase.*'yes'"),
        ({"normalizer": {"type": "NFC"}}, "normalizer.type.*'NFC'"),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "NFD"}, {"type": "StripAccents"}],
                }
            },
            r"`normalizer`.*\['NFD', 'StripAccents'\]",
        ),
        (
            {"pre_tokenizer": {"type": "Whitespace"}},
            "pre_tokenizer.*Whitespace",
        ),
        ({"pre_tokenizer": None}, "pre_tokenizer.type.*None"),
        ({"post_processor": None}, "post_processor.type.*None"),
        (
            {"post_processor__single": [TEMPLATE]},
            r"single.*Received: \[CLS\]:0",
        ),
        ({"post_processor__pair": []}, "post_processor.pair.*Received: none"),
        ({"decoder": {"type": "BPEDecoder"}}, "decoder.type.*BPEDecoder"),
        ({"decoder__prefix": ""}, "decoder.prefix.*''"),
        ({"added_tokens__0__single_word": True}, "`single_word`.*'Foo'.*true"),
        ({"added_tokens__0__id": 99}, "without gaps.*id 99 for 'Foo'"),
        ({"added_tokens__0__content": "a"}, r"id 31 for 'a', which has 12"),
        ({"added_tokens__0__lstrip": 1}, "`lstrip`.*1 for 'Foo'"),
    ],
)
def test_what_is_not_built_is_refused(
    values: dict, message: str, tmp_path: pathlib.Path
) -> None:
    folder = changed(tmp_path, **values)
    with pytest.raises(ValueError, match=message) as error:
        load_tokenizer(folder)
    assert "tokenizer.json" in str(error.value) or "99" in message


def test_a_sequence_of_one_is_read(tmp_path: pathlib.Path) -> None:
    normalizer = {"type": "BertNormalizer", "lowercase": False}
    folder = changed(
        tmp_path,
        normalizer={"type": "Sequence", "normalizers": [normalizer]},
        pre_tokenizer={
            "type": "Sequence",
            "pretokenizers": [{"type": "BertPreTokenizer"}],
        },
        post_processor={
            "type": "BertProcessing",
            "cls": ["[CLS]", 2],
            "sep": ["[SEP]", 3],
        },
    )
    ours = load_tokenizer(folder)
    assert isinstance(ours, WordPieceTokenizer)
    assert not ours.lowercase


def test_tokenizer_json_wins_and_says_so(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = changed(tmp_path, normalizer__lowercase=False)
    config = {
        "do_lower_case": True,
        "added_tokens_decoder": {"31": {"content": "Foo", "special": True}},
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = load_tokenizer(folder)
    assert isinstance(ours, WordPieceTokenizer)
    assert not ours.lowercase
    assert not ours.is_special[31]
    # A verb reads its tokenizer several times.
    load_tokenizer(folder)
    first, second, *_ = (record.getMessage() for record in caplog.records)
    messages = [record.getMessage() for record in caplog.records]
    assert messages.count(first) == 1
    assert "lowercase = False and wins over tokenizer_config.json" in first
    assert "`special` = True of the added token 'Foo'" in second
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"vocab\.txt.*out of date"):
        load_tokenizer(folder)


def test_added_tokens_beside_a_vocab_txt(tmp_path: pathlib.Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    added = {"<e>": len(VOCAB) + 1, "New York": len(VOCAB)}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    config = {
        "do_lower_case": True,
        "additional_special_tokens": [
            "<e>",
            {"content": "<z>", "lstrip": True},
        ],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    ours = load_tokenizer(str(tmp_path))
    assert ours.vocab[len(VOCAB) :] == ["New York", "<e>", "<z>"]
    ids = ours.tokenize(["a new york <e>  <z>b <E>"]).to_list()[0]
    size = len(VOCAB)
    # <e> is special, and so looked for in the text as it is.
    assert ids == [12, size, size + 1, size + 2, 13, 17, 24, 18]
    assert ours.decode(ids, skip_special_tokens=True) == "a New York b < e >"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"do_lower_case": "no"}, "do_lower_case.*'no'"),
        ({"do_basic_tokenize": False}, "do_basic_tokenize.*False"),
        ({"never_split": ["a"]}, r"never_split.*\['a'\]"),
        ({"tokenizer_class": "BertJapaneseTokenizer"}, "BertJapaneseTokenizer"),
    ],
)
def test_refused_config_beside_a_vocab_txt(
    config: dict, message: str, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=message):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    ("tokens", "lowercase"),
    [
        (["the", "cat"], True),
        (["The", "the", "cat"], False),
        # A few put in by hand do not make a vocabulary cased.
        ([f"word{i}" for i in range(300)] + ["COVID"], True),
        (["[ENT]", "<S>", "the"], True),
        (["日", "本"], True),
    ],
)
def test_the_vocabulary_says_whether_it_is_cased(
    tokens: list[str],
    lowercase: bool,
    tmp_path: pathlib.Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join([*VOCAB[:5], *tokens]) + "\n")
    for path in (file, tmp_path):
        caplog.clear()
        ours = WordPieceTokenizer.from_file(str(path))
        assert ours.lowercase == lowercase
        (record,) = caplog.records
        said = "is lower-cased" if lowercase else "keeps its case"
        assert said in record.getMessage()
    caplog.clear()
    other = load_tokenizer(str(file), lowercase=not lowercase)
    assert isinstance(other, WordPieceTokenizer)
    assert other.lowercase != lowercase
    assert not caplog.records
