"""SentencePiece against the `sentencepiece` package."""

import inspect
import io
import json
import pathlib
import random
import shutil
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from tfllm.tokenizers import (
    AddedToken,
    SentencePieceTokenizer,
    SpecialTokens,
    load_tokenizer,
)
from tfllm.tokenizers import sentence_piece_model as models
from tools.difficult_lines import difficult_lines

SPELLED = ("<s>", "</s>", "<unk>", "<pad>", "<mask>", "<0x41>", "<user>")
SPELLED += ("[INST]", "▁", "▁▁a", " ▁")


def lines(count: int) -> list[str]:
    """Difficult lines, some of which spell tokens."""
    return difficult_lines(count, SPELLED)


TEXTS = lines(2000)
# Model type, byte fallback, normalization, dummy prefix, extra spaces removed.
MODELS = (
    ("unigram", False, "nmt_nfkc", True, True),
    ("unigram", True, "identity", False, False),
    ("bpe", True, "identity", True, False),
    ("bpe", False, "nmt_nfkc", False, True),
)
WIDE = (
    ("unigram", True, "nmt_nfkc", True, True),
    ("unigram", False, "nfkc_cf", False, True),
    ("unigram", False, "identity", True, True),
    ("unigram", True, "nfkc", True, False),
    ("bpe", True, "nmt_nfkc", True, True),
    ("bpe", False, "identity", True, False),
    ("bpe", True, "nfkc_cf", False, False),
    ("bpe", False, "identity", False, False),
)


def corpus() -> Iterator[str]:
    """Source text of the standard library, and difficult lines."""
    for module in ("argparse", "decimal", "inspect", "typing"):
        yield from inspect.getsource(__import__(module)).split("\n")
    for text in lines(600):
        if kept := text.replace("\0", "").replace("\n", " "):
            yield kept


def train(**options: Any) -> bytes:
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=corpus(),
        model_writer=content,
        minloglevel=2,
        **{"vocab_size": 1200, "character_coverage": 0.995, **options},
    )
    return content.getvalue()


def trained(
    kind: str, fallback: bool, rule: str, prefix: bool, no_extra: bool
) -> bytes:
    # NOTE: behind user-defined symbols, unigram may cut runs in another order.
    symbols = ["<user>", "[INST]"] if kind == "bpe" else []
    return train(
        model_type=kind,
        byte_fallback=fallback,
        normalization_rule_name=rule,
        add_dummy_prefix=prefix,
        remove_extra_whitespaces=no_extra,
        user_defined_symbols=symbols,
        control_symbols=["<mask>"],
        pad_id=3,
    )


def tokenizer_of(content: bytes, **options: Any) -> SentencePieceTokenizer:
    return SentencePieceTokenizer(models.parse(content, "model"), **options)


@pytest.fixture(name="llama", scope="module")
def _llama() -> bytes:
    return trained("bpe", True, "identity", True, False)


@pytest.mark.parametrize(
    "model", [*MODELS, *(pytest.param(m, marks=pytest.mark.wide) for m in WIDE)]
)
def test_equals_the_package_on_difficult_lines(
    model: tuple[str, bool, str, bool, bool],
) -> None:
    content = trained(*model)
    ours = tokenizer_of(content)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    ids, starts, ends = ours.tokenize_with_offsets(TEXTS)
    assert ours.tokenize(TEXTS).to_list() == ids.to_list()
    for text, row, first, last, decoded in zip(
        TEXTS,
        ids.to_list(),
        starts.to_list(),
        ends.to_list(),
        ours.decode(ids),
        strict=True,
    ):
        pieces = theirs.encode(text, return_type="proto").pieces
        assert row == [piece.id for piece in pieces], repr(text)
        assert first == [piece.begin for piece in pieces], repr(text)
        assert last == [piece.end for piece in pieces], repr(text)
        assert decoded == theirs.decode(row), repr(text)
    rng = random.Random(1)
    likely = [*range(5), *models.of_type(ours.model, "BYTE")]
    likely.append(ours.token_to_id("▁"))
    size = ours.vocab_size
    rows = [
        [
            rng.choice([rng.randrange(size), rng.choice(likely)])
            for _ in range(rng.randint(1, 8))
        ]
        for _ in range(2000)
    ]
    for row, decoded in zip(rows, ours.decode(rows), strict=True):
        assert decoded == theirs.decode(row), row


def test_a_batch_equals_single_texts(llama: bytes) -> None:
    ours = tokenizer_of(llama)
    texts = lines(100)
    whole = ours.tokenize(texts).to_list()
    assert whole == [ours.tokenize([text]).to_list()[0] for text in texts]
    assert ours.tokenize(tf.constant([], tf.string)).to_list() == []


def test_bytes_that_are_not_utf8_are_replaced(llama: bytes) -> None:
    ours = tokenizer_of(llama)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=llama)
    texts = [b"\xff\xfe", b"ab\x80c", b"\xe4\xb8", b"ok \xc3( \xf0\x9f"]
    assert ours.tokenize(texts).to_list() == [theirs.encode(t) for t in texts]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_graph_dataset_seed_and_moved_saved_model(
    kind: str, tmp_path: pathlib.Path
) -> None:
    ours = tokenizer_of(train(model_type=kind, byte_fallback=True))
    texts = lines(100)
    expected = ours.tokenize(texts).to_list()
    keras.utils.set_random_seed(1)  # Drops what TensorFlow's kernels own.
    rows = tf.data.Dataset.from_tensor_slices(texts).batch(7).map(ours.tokenize)
    assert [row for batch in rows for row in batch.to_list()] == expected
    module = tf.Module()
    module.tokenizer = ours

    def serve(text: tf.Tensor) -> dict[str, tf.Tensor]:
        ids, starts, ends = ours.tokenize_with_offsets(text)
        return {
            "ids": ids.to_tensor(-1),
            "ends": (ends - starts).to_tensor(-1),
            "text": ours.detokenize(ids, replace_invalid=True),
        }

    module.serve = tf.function(
        serve, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "first"))
    shutil.move(tmp_path / "first", tmp_path / "second")
    loaded = tf.saved_model.load(str(tmp_path / "second"))
    served = loaded.serve(tf.constant(texts))
    for name, value in serve(tf.constant(texts)).items():
        np.testing.assert_array_equal(served[name], value)


def test_files_round_trip(llama: bytes, tmp_path: pathlib.Path) -> None:
    ours = tokenizer_of(
        llama,
        added_tokens=[
            AddedToken("<tool>"),
            AddedToken("<|end|>", special=True),
        ],
    )
    ours.save(str(tmp_path))
    (tmp_path / "spiece").mkdir()
    shutil.copy(tmp_path / "tokenizer.model", tmp_path / "spiece/spiece.model")
    for path in (tmp_path, tmp_path / "tokenizer.model"):
        read = load_tokenizer(str(path))
        assert isinstance(read, SentencePieceTokenizer)
        assert read.vocab_hash() == ours.vocab_hash()
        assert read.special == ours.special
        assert read.row_template == ours.row_template
        assert read.added_tokens[-2:] == ours.added_tokens
    assert load_tokenizer(str(tmp_path / "spiece")).model == ours.model
    inputs = read(["a <tool>b", "c"])
    tool = ours.token_to_id("<tool>")
    assert tool == len(ours.model_vocab)
    assert inputs["token_ids"][0, 0] == ours.special.bos
    assert tool in inputs["token_ids"][0].numpy()


def test_which_file_wins(llama: bytes, tmp_path: pathlib.Path) -> None:
    """tokenizer.json, but where it was made from the model beside it."""
    ours = tokenizer_of(llama)
    ours.save(str(tmp_path))
    assert load_tokenizer(str(tmp_path)).document is None
    path = tmp_path / "tokenizer.json"
    path.write_text(path.read_text() + "\n")
    assert load_tokenizer(str(tmp_path)).document is not None
    # Of a model with unused pieces none can be made; an old one goes.
    unused = models.parse(llama, "model")
    unused.pieces[-1].type = unused.pieces[-1].UNUSED
    SentencePieceTokenizer(unused).save(str(tmp_path))
    assert not path.exists()
    assert load_tokenizer(str(tmp_path)).model == unused


def test_special_tokens_do_not_come_out_of_text(llama: bytes) -> None:
    ours = tokenizer_of(llama)
    assert ours.special_tokens == SpecialTokens(
        unk="<unk>", bos="<s>", eos="</s>", pad="<pad>"
    )
    (ids,) = ours.tokenize(["<s> </s> <pad> <unk>"]).to_list()
    assert not set(ids) & ours.special_ids
    opened = tokenizer_of(llama, special_tokens_in_text=["bos"])
    assert opened.tokenize(["<s>a"]).to_list()[0][0] == ours.special.bos


def test_words_and_what_follows_text(llama: bytes) -> None:
    ours = tokenizer_of(llama)
    (ids,) = ours.tokenize(["The house €"]).to_list()
    continues = ours.is_continuation
    for token_id in ids:
        opens = ours.id_to_token(token_id).startswith("▁")
        assert continues[token_id] == (not opens)
    assert not continues[list(ours.special_ids)].any()
    assert ours.decode(ids) == "The house €"
    after = ours.detokenize_after_text(tf.constant([ids]))
    assert after.numpy()[0].decode() == " The house €"
    assert b"".join(ours.token_bytes[i] for i in ids).decode() == " The house €"
    # Half a character: its bytes, or U+FFFD for each.
    assert (
        ours.detokenize(tf.constant([ids[:-1]]))
        .numpy()[0]
        .endswith(b"\xe2\x82")
    )
    assert ours.decode(ids[:-1]) == "The house \ufffd\ufffd"


def test_ids_of_fairseq(tmp_path: pathlib.Path) -> None:
    """XLM-R: `<s> <pad> </s> <unk>`, the pieces behind the third, `<mask>`."""
    content = train(model_type="unigram")
    (tmp_path / "sentencepiece.bpe.model").write_bytes(content)
    config = tmp_path / "tokenizer_config.json"
    with pytest.raises(ValueError, match="tokenizer_class.*Received: ''"):
        load_tokenizer(str(tmp_path))
    config.write_text('{"tokenizer_class": "XLMRobertaTokenizer"}')
    ours = load_tokenizer(str(tmp_path))
    theirs = sentencepiece.SentencePieceProcessor(model_proto=content)
    assert ours.vocab[:4] == ["<s>", "<pad>", "</s>", "<unk>"]
    assert ours.vocab[-1] == "<mask>"
    for text, row in zip(TEXTS, ours.tokenize(TEXTS).to_list(), strict=True):
        expected = [i + 1 if i else 3 for i in theirs.encode(text)]
        assert row == expected, repr(text)


def test_models_that_are_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"no model")
    with pytest.raises(ValueError, match=r"must be a model of SentencePiece"):
        load_tokenizer(str(tmp_path))
    path.write_bytes(train(model_type="char"))
    with pytest.raises(ValueError, match="unigram or BPE.*Received: CHAR"):
        load_tokenizer(str(path))
    path.write_bytes(
        train(model_type="unigram", treat_whitespace_as_suffix=True)
    )
    with pytest.raises(ValueError, match="treat_whitespace_as_suffix"):
        load_tokenizer(str(path))
    path.unlink()
    with pytest.raises(ValueError, match=r"Received: none of tokenizer\.model"):
        SentencePieceTokenizer.from_file(str(tmp_path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("do_lower_case", True),
        ("strip_accents", True),
        ("keep_accents", False),
        ("add_prefix_space", False),
        ("add_prefix_space", "no"),
        ("sp_model_kwargs", {"enable_sampling": True, "alpha": 0.1}),
        ("tokenizer_class", "XGLMTokenizer"),
    ],
)
def test_options_that_the_model_does_not_follow(
    key: str, value: Any, llama: bytes, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(llama)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({key: value}))
    message = f"`{key}` in .*tokenizer_config.json.*Received: "
    with pytest.raises(ValueError, match=message):
        load_tokenizer(str(tmp_path))


def test_options_that_change_nothing(
    llama: bytes, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "tokenizer.model").write_bytes(llama)
    config = {"do_lower_case": False, "keep_accents": True}
    config |= {"sp_model_kwargs": {}, "add_prefix_space": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    read = load_tokenizer(str(tmp_path))
    assert read.vocab_hash() == tokenizer_of(llama).vocab_hash()


def test_no_space_before_texts(llama: bytes, tmp_path: pathlib.Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(llama)
    (tmp_path / "tokenizer_config.json").write_text(
        '{"legacy": false, "add_prefix_space": false}'
    )
    ours = load_tokenizer(str(tmp_path))
    theirs = sentencepiece.SentencePieceProcessor(
        model_proto=models.without_dummy_prefix(
            models.parse(llama, "model")
        ).SerializeToString()
    )
    assert ours.tokenize(TEXTS).to_list() == [theirs.encode(t) for t in TEXTS]
    ours.save(str(tmp_path / "saved"))
    again = load_tokenizer(str(tmp_path / "saved"))
    assert again.vocab_hash() == ours.vocab_hash()
