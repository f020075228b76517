"""tokenizer.json of SentencePiece's kind, against the `tokenizers` package."""

import base64
import dataclasses
import json
import pathlib
import random
import re
from typing import Any

import pytest
import tensorflow as tf

from tests.tokenizers.test_sentence_piece import corpus, lines, train
from tfllm.tokenizers import SentencePieceTokenizer, load_tokenizer
from tfllm.tokenizers import sentence_piece_model as models
from tfllm.tokenizers.sentence_piece_document import last_rank

tokenizers = pytest.importorskip("tokenizers")

_SPECIAL = ("<unk>", "<s>", "</s>")
# Special tokens that a text spells are text here.
TEXTS = [t for t in lines(2600) if not any(s in t for s in _SPECIAL)][:2000]

_LLAMA_DECODER = {
    "type": "Sequence",
    "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ],
}
_REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_PREPEND = {"type": "Prepend", "prepend": "▁"}


def metaspace(scheme: str, split: bool) -> dict[str, Any]:
    return {
        "type": "Metaspace",
        "replacement": "▁",
        "prepend_scheme": scheme,
        "split": split,
    }


def replace(kind: str, pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    field = "normalizers"
    if parts[-1]["type"] == "Metaspace":
        field = "pretokenizers"
    return {"type": "Sequence", field: list(parts)}


NFKD = {"type": "NFKD"}


def repeats(text: str) -> bool:
    """Whether a text of several characters stands three times in a row.

    Its pieces may come in another order, as the sums of their scores are
    equal. Text that spells a byte is text here.
    """
    runs = re.finditer(r"(?=(.{2,12}?)\1\1)", text, re.DOTALL)
    return "<0x41>" in text or any(len(set(run[1])) > 1 for run in runs)


# Normalizer, pre-tokenizer, decoder.
SHAPES: dict[str, tuple[Any, Any, Any]] = {
    "llama": (
        {"type": "Sequence", "normalizers": [_PREPEND, _REPLACE]},
        None,
        _LLAMA_DECODER,
    ),
    "mistral": (None, metaspace("first", False), _LLAMA_DECODER),
    "words": (None, metaspace("always", True), metaspace("always", True)),
    "gemma": (
        _REPLACE,
        {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        {"type": "Sequence", "decoders": _LLAMA_DECODER["decoders"][:3]},
    ),
}


def trained_here() -> dict[str, Any]:
    """A document whose merges the package learned."""
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            unk_token="<unk>", fuse_unk=True, byte_fallback=True
        )
    )
    tokenizer.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1500,
        special_tokens=[
            *_SPECIAL,
            *(models.byte_piece(byte) for byte in range(256)),
        ],
        limit_alphabet=300,
        max_token_length=16,
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(corpus()), trainer)
    document: dict[str, Any] = json.loads(tokenizer.to_str())
    document["added_tokens"] = document["added_tokens"][: len(_SPECIAL)]
    return document


def converted(document: dict[str, Any]) -> dict[str, Any]:
    """A document of a SentencePiece model: every split of a token merges.

    So published LLaMA files are: by score, and by the ids of the halves.
    """
    model = models.parse(
        train(
            model_type="bpe",
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            split_by_whitespace=False,
            character_coverage=0.99,
            vocab_size=1600,
        ),
        "model",
    )
    ids = {piece.piece: i for i, piece in enumerate(model.pieces)}
    merges = []
    for token, number in ids.items():
        halves = [(token[:k], token[k:]) for k in range(1, len(token))]
        known = [(a, b) for a, b in halves if a in ids and b in ids]
        known.sort(key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        merges += [(model.pieces[number].score, pair) for pair in known]
    merges.sort(key=lambda merge: -merge[0])
    fields = {**document["model"], "vocab": ids}
    fields["merges"] = [list(pair) for _, pair in merges]
    return {**document, "model": fields}


@pytest.fixture(name="documents", scope="module")
def _documents() -> dict[str, dict[str, Any]]:
    document = trained_here()
    return {"trained": document, "converted": converted(document)}


def shaped(document: dict[str, Any], shape: str) -> dict[str, Any]:
    normalizer, splitter, decoder = SHAPES[shape]
    return {
        **document,
        "normalizer": normalizer,
        "pre_tokenizer": splitter,
        "decoder": decoder,
    }


def loaded(
    document: dict[str, Any], folder: pathlib.Path
) -> SentencePieceTokenizer:
    text = json.dumps(document)
    (folder / "tokenizer.json").write_text(text)
    tokenizer = load_tokenizer(str(folder))
    assert isinstance(tokenizer, SentencePieceTokenizer)
    return tokenizer


def assert_equal(
    ours: SentencePieceTokenizer, theirs: Any, texts: list[str]
) -> None:
    ids, starts, ends = ours.tokenize_with_offsets(texts)
    assert ours.tokenize(texts).to_list() == ids.to_list()
    shown = ours.decode(ids, skip_special_tokens=True)
    for text, row, first, last, decoded, without in zip(
        texts,
        ids.to_list(),
        starts.to_list(),
        ends.to_list(),
        ours.decode(ids),
        shown,
        strict=True,
    ):
        expected = theirs.encode(text, add_special_tokens=False)
        places = [0]  # Of characters, in bytes.
        for char in text:
            places.append(places[-1] + len(char.encode()))
        assert row == expected.ids, repr(text)
        assert first == [places[a] for a, _ in expected.offsets], repr(text)
        assert last == [places[b] for _, b in expected.offsets], repr(text)
        assert decoded == theirs.decode(row, skip_special_tokens=False)
        assert without == theirs.decode(row, skip_special_tokens=True)


@pytest.mark.parametrize(
    ("source", "shape"),
    [
        ("converted", "llama"),
        ("trained", "mistral"),
        ("trained", "words"),
        ("converted", "gemma"),
        *(
            pytest.param(*case, marks=pytest.mark.wide)
            for case in (
                ("trained", "llama"),
                ("converted", "mistral"),
                ("converted", "words"),
                ("trained", "gemma"),
            )
        ),
    ],
)
def test_equals_the_package_on_difficult_lines(
    source: str,
    shape: str,
    documents: dict[str, dict[str, Any]],
    tmp_path: pathlib.Path,
) -> None:
    document = shaped(documents[source], shape)
    ours = loaded(document, tmp_path)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(document))
    assert_equal(ours, theirs, TEXTS)
    rng = random.Random(1)
    size = ours.vocab_size
    rows = [
        [
            rng.randrange(rng.choice([size, 3 + 256]))
            for _ in range(rng.randint(1, 8))
        ]
        for _ in range(2000)
    ]
    for row, decoded in zip(rows, ours.decode(rows), strict=True):
        expected = theirs.decode(row, skip_special_tokens=False)
        assert decoded == expected, row


@pytest.mark.parametrize("shape", ["llama", "mistral", "gemma"])
def test_added_tokens(
    shape: str, documents: dict[str, dict[str, Any]], tmp_path: pathlib.Path
) -> None:
    document = shaped(documents["trained"], shape)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(document))
    added = tokenizers.AddedToken
    theirs.add_tokens(
        [
            added("<user>", normalized=False),
            added("<l>", lstrip=True, normalized=False),
            added("<r>", rstrip=True, normalized=False),
        ]
    )
    theirs.add_special_tokens(["[INST]"])
    ours = loaded(json.loads(theirs.to_str()), tmp_path)
    texts = [t.replace("the", "<l>").replace("ne", "<r>") for t in TEXTS[:600]]
    texts += ["a <user>b", "<user> a", "[INST] hi [INST]ho", " [INST]"]
    assert_equal(ours, theirs, texts)
    ours.save(str(tmp_path / "saved"))
    again = load_tokenizer(str(tmp_path / "saved"))
    assert again.vocab_hash() == ours.vocab_hash()
    assert again.tokenize(texts).to_list() == ours.tokenize(texts).to_list()
    saved = tokenizers.Tokenizer.from_file(
        str(tmp_path / "saved" / "tokenizer.json")
    )
    assert saved.get_vocab() == theirs.get_vocab()
    assert saved.encode("a [INST]b").ids == theirs.encode("a [INST]b").ids


def test_rows_of_the_post_processor(
    documents: dict[str, dict[str, Any]], tmp_path: pathlib.Path
) -> None:
    document = shaped(documents["converted"], "llama")
    theirs = tokenizers.Tokenizer.from_str(json.dumps(document))
    theirs.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)]
    )
    ours = loaded(json.loads(theirs.to_str()), tmp_path)
    found = ours("The house", "A hill")["token_ids"].numpy().tolist()
    assert found == theirs.encode("The house", "A hill").ids


@pytest.mark.parametrize("fallback", [False, True])
def test_unigram(fallback: bool, tmp_path: pathlib.Path) -> None:
    """All but runs of several characters."""
    model = models.parse(
        train(
            model_type="unigram",
            byte_fallback=fallback,
            normalization_rule_name="identity",
            vocab_size=1500,
        ),
        "model",
    )
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    theirs = tokenizers.Tokenizer(
        tokenizers.models.Unigram(pieces, 0, fallback)
    )
    theirs.add_special_tokens(list(_SPECIAL))
    document = shaped(json.loads(theirs.to_str()), "words")
    ours = loaded(document, tmp_path)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(document))
    texts = [text for text in TEXTS if not repeats(text)]
    assert len(texts) > 1400
    assert_equal(ours, theirs, texts)


PRECOMPILED = {"type": "Precompiled"}
SPELLS = re.compile("|".join(_SPECIAL), re.IGNORECASE)
WORDS = sequence({"type": "WhitespaceSplit"}, metaspace("always", True))
QUOTES = (
    replace("String", "``", '"'),
    replace("String", "''", '"'),
)
# As the files of these models are published.
PUBLISHED: dict[str, tuple[Any, Any]] = {
    "t5": (PRECOMPILED, WORDS),
    "t5 of Transformers 4.40": (
        sequence(
            PRECOMPILED,
            {"type": "Strip", "strip_left": False, "strip_right": True},
            replace("Regex", " {2,}", "▁"),
        ),
        metaspace("always", True),
    ),
    "xlm-roberta": (
        sequence(PRECOMPILED, replace("Regex", " {2,}", " ")),
        WORDS,
    ),
    "albert": (
        sequence(
            *QUOTES,
            NFKD,
            {"type": "StripAccents"},
            {"type": "Lowercase"},
            PRECOMPILED,
            replace("Regex", " {2,}", " "),
        ),
        WORDS,
    ),
    "xlnet": (
        sequence(*QUOTES, NFKD, {"type": "StripAccents"}, PRECOMPILED),
        WORDS,
    ),
}
FORMS: dict[str, tuple[Any, Any]] = {
    **{
        form: ({"type": form}, metaspace("always", True))
        for form in ("NFC", "NFD", "NFKC", "NFKD")
    },
    "strip": (
        sequence(
            {"type": "NFC"},
            {"type": "Strip", "strip_left": True, "strip_right": True},
            _PREPEND,
            _REPLACE,
        ),
        None,
    ),
}


@pytest.mark.parametrize(
    ("shape", "rule"),
    [
        *((name, "nmt_nfkc") for name in PUBLISHED),
        ("NFKC", "identity"),
        ("strip", "identity"),
        pytest.param("xlm-roberta", "nmt_nfkc_cf", marks=pytest.mark.wide),
        *(
            pytest.param(name, "identity", marks=pytest.mark.wide)
            for name in ("NFC", "NFD", "NFKD")
        ),
    ],
)
def test_normalizers(shape: str, rule: str, tmp_path: pathlib.Path) -> None:
    model = models.parse(
        train(model_type="unigram", normalization_rule_name=rule), "model"
    )
    charsmap = base64.b64encode(model.normalizer_spec.precompiled_charsmap)
    normalizer, splitter = {**PUBLISHED, **FORMS}[shape]
    for part in normalizer.get("normalizers", [normalizer]):
        if part["type"] == "Precompiled":
            part["precompiled_charsmap"] = charsmap.decode()
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0, False))
    made.add_special_tokens(list(_SPECIAL))
    document = {
        **json.loads(made.to_str()),
        "normalizer": normalizer,
        "pre_tokenizer": splitter,
        "decoder": metaspace("always", True),
    }
    ours = loaded(document, tmp_path)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(document))
    # A normalizer may make a special token of what is none.
    texts = [text for text in TEXTS if not SPELLS.search(text)]
    ids, starts, ends = ours.tokenize_with_offsets(texts)
    assert ours.tokenize(texts).to_list() == ids.to_list()
    different = 0
    for text, row, first, last in zip(
        texts, ids.to_list(), starts.to_list(), ends.to_list(), strict=True
    ):
        expected = theirs.encode(text, add_special_tokens=False).ids
        if repeats(text):
            different += row != expected
        else:
            assert row == expected, repr(text)
        assert first == sorted(first)
        for a, b in zip(first, last, strict=True):
            text.encode()[a:b].decode()  # Whole characters.
    assert different <= 8


def test_places_of_what_becomes_several(tmp_path: pathlib.Path) -> None:
    """Those of the character; in `tokenizers` they move behind it."""
    normalizer, splitter = FORMS["NFKC"]
    model = models.parse(
        train(model_type="unigram", normalization_rule_name="identity"), "model"
    )
    pieces = [(piece.piece, piece.score) for piece in model.pieces]
    made = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, 0, False))
    document = {
        **json.loads(made.to_str()),
        "normalizer": normalizer,
        "pre_tokenizer": splitter,
        "decoder": metaspace("always", True),
    }
    ours = loaded(document, tmp_path)
    text = "½ a ﬁ b"
    _, starts, ends = ours.tokenize_with_offsets([text])
    spans = [
        text.encode()[a:b].decode()
        for a, b in zip(starts.to_list()[0], ends.to_list()[0], strict=True)
    ]
    assert "½" in spans
    assert spans[-1] in (" b", "b")


def test_scores_are_the_ranks_of_last_merges() -> None:
    """Two merges make "abc"; its own text is read by the second."""
    ranks = {("a", "b"): 0, ("a", "bc"): 1, ("ab", "c"): 2, ("b", "c"): 3}
    assert last_rank("abc", ranks) == 2
    assert last_rank("bc", ranks) == 3
    del ranks["ab", "c"]
    # "ab" comes first and never meets "c": no text gives "abc".
    assert last_rank("abc", ranks) is None


_CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model.ignore_merges", {"model": {"ignore_merges": True}}),
    ("model.dropout", {"model": {"dropout": 0.1}}),
    ("model.unk_token", {"model": {"unk_token": None}}),
    ("normalizer", {"normalizer": {"type": "Nmt"}}),
    ("normalizer", {"normalizer": sequence({"type": "Lowercase"}, NFKD)}),
    ("normalizer", {"normalizer": replace("Regex", "a|b", "c")}),
    ("normalizer", {"normalizer": replace("String", "aba", "c")}),
    (
        "pre_tokenizer",
        {"normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"}},
    ),
    ("pre_tokenizer", {"pre_tokenizer": {"type": "Whitespace"}}),
    ("pre_tokenizer", {"pre_tokenizer": metaspace("always", True)}),
    ("decoder", {"decoder": {"type": "WordPiece"}}),
    ("decoder", {"decoder": None}),
    ("post_processor", {"post_processor": {"type": "Other"}}),
)


@pytest.mark.parametrize(("field", "change"), _CHANGES)
def test_what_is_not_built_is_refused(
    field: str,
    change: dict[str, Any],
    documents: dict[str, dict[str, Any]],
    tmp_path: pathlib.Path,
) -> None:
    document = shaped(documents["trained"], "llama")
    for name, value in change.items():
        if name == "model":
            value = {**document["model"], **value}
        document[name] = value
    with pytest.raises(ValueError, match=f"`{field}.*Received") as error:
        loaded(document, tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_document_without_some_bytes(
    documents: dict[str, dict[str, Any]], tmp_path: pathlib.Path
) -> None:
    document = shaped(documents["trained"], "llama")
    vocab = dict(document["model"]["vocab"])
    vocab = {("<0x0a>" if t == "<0x0A>" else t): i for t, i in vocab.items()}
    document["model"] = {**document["model"], "vocab": vocab}
    with pytest.raises(ValueError, match="1 are missing, the first <0x0A>"):
        loaded(document, tmp_path)


def test_served_as_in_python(
    documents: dict[str, dict[str, Any]], tmp_path: pathlib.Path
) -> None:
    ours = loaded(shaped(documents["converted"], "words"), tmp_path)
    assert dataclasses.asdict(ours.text_rules)["splits_words"]
    texts = TEXTS[:80]
    expected = ours.tokenize(texts)
    module = tf.Module()
    module.tokenizer = ours
    module.serve = tf.function(
        lambda text: ours.tokenize(text).to_tensor(-1),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path / "model"))
    served = tf.saved_model.load(str(tmp_path / "model")).serve(
        tf.constant(texts)
    )
    assert served.numpy().tolist() == expected.to_tensor(-1).numpy().tolist()
