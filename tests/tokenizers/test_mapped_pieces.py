"""Pieces with ids of their own: against `sentencepiece`, and Transformers."""

import argparse
import inspect
import json
import pathlib
import shutil
from typing import Any

import pytest
import sentencepiece
import tensorflow as tf

from tests.tokenizers.test_sentence_piece import train
from tfllm.data.vocabularies.train import train as train_vocabulary
from tfllm.tokenizers import MappedPieceTokenizer, TokenizerSpec, load_tokenizer
from tfllm.tokenizers.mapped_piece_files import ROWS, TOKENS
from tools.difficult_lines import difficult_lines

CODES = (">>fra<<", ">>por<<", ">>deu_Latn<<")
SPEC = TokenizerSpec(
    kinds=("mapped_sentence_piece",),
    template=ROWS,
    special_tokens=TOKENS,
    classes=("MarianTokenizer",),
)
SPELLED = (*CODES, ">>xx<<", ">>", "<<", ">>a", ">><<", ">>fra<< >>por<<")


def texts(count: int) -> list[str]:
    return [
        text
        for text in difficult_lines(count, SPELLED)
        if not any(t in text for t in TOKENS.all())
    ]


def vocab_of(*contents: bytes) -> dict[str, int]:
    """As of OPUS: `</s>` 0, `<unk>` 1, then pieces of all models and codes.

    A few of the pieces are left out, and the order is not that of the models.
    """
    pieces = set()
    for content in contents:
        model = sentencepiece.SentencePieceProcessor(model_proto=content)
        pieces |= {model.id_to_piece(i) for i in range(model.vocab_size())}
    pieces -= {"<s>", "</s>", "<unk>"}
    kept = [p for i, p in enumerate(sorted(pieces)) if i % 50]
    return {
        token: i
        for i, token in enumerate(["</s>", "<unk>", *CODES, *kept, "<pad>"])
    }


@pytest.fixture(
    name="folder",
    scope="module",
    params=["separate", pytest.param("shared", marks=pytest.mark.wide)],
)
def _folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> pathlib.Path:
    """A folder as OPUS publishes them."""
    folder = tmp_path_factory.mktemp(request.param)
    source = train(model_type="unigram", vocab_size=900)
    target = train(model_type="unigram", vocab_size=1100)
    (folder / "source.spm").write_bytes(source)
    (folder / "target.spm").write_bytes(target)
    separate = request.param == "separate"
    both = [source] if separate else [source, target]
    (folder / "vocab.json").write_text(json.dumps(vocab_of(*both)))
    if separate:
        vocab = vocab_of(target)
        (folder / "target_vocab.json").write_text(json.dumps(vocab))
    config = {"source_lang": "eng", "target_lang": "fra"}
    config |= {"separate_vocabs": True} if separate else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def oracle(
    folder: pathlib.Path, side: str, lines: list[str]
) -> list[list[int]]:
    """The ids of texts by `sentencepiece` and the vocabulary."""
    name = "vocab.json"
    if side == "target" and (folder / "target_vocab.json").exists():
        name = "target_vocab.json"
    ids = json.loads((folder / name).read_text())
    model = sentencepiece.SentencePieceProcessor(
        model_file=str(folder / f"{side}.spm")
    )
    rows = []
    for text in lines:
        stop = text.find("<<") + 2 if text.startswith(">>") else 0
        stop = stop if stop > 1 else 0
        pieces = model.encode(text[stop:], out_type=str)
        code = [text[:stop]] if stop else []
        rows.append([ids.get(piece, 1) for piece in [*code, *pieces]])
    return rows


def test_equals_the_package_on_difficult_lines(folder: pathlib.Path) -> None:
    ours = load_tokenizer(str(folder))
    assert isinstance(ours, MappedPieceTokenizer)
    lines = texts(2000)
    for side, tokenizer in (("source", ours), ("target", ours.target)):
        rows, starts, ends = tokenizer.tokenize_with_offsets(lines)
        assert tokenizer.tokenize(lines).to_list() == rows.to_list()
        for text, row, expected in zip(
            lines, rows.to_list(), oracle(folder, side, lines), strict=True
        ):
            assert row == expected, repr(text)
        assert (starts <= ends).flat_values.numpy().all()


def test_code_of_a_language(folder: pathlib.Path) -> None:
    ours = load_tokenizer(str(folder))
    text = ">>fra<< the end"
    ids, starts, ends = ours.tokenize_with_offsets([text])
    code = ours.token_to_id(">>fra<<")
    assert ids[0, 0] == code
    assert (starts[0, 0], ends[0, 0]) == (0, len(">>fra<<"))
    assert ends[0, -1] == len(text)
    # Anywhere else it is text.
    assert code not in ours.tokenize(["in >>fra<<"]).to_list()[0]
    assert ours.tokenize([">>xx<<"]).to_list() == [[1]]
    row = ours(text)["token_ids"].numpy().tolist()
    assert row == [*ids.to_list()[0], 0]


def test_round_trip_of_a_folder(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    ours = load_tokenizer(str(folder))
    ours.save(str(tmp_path), SPEC)
    again = load_tokenizer(str(tmp_path), spec=SPEC)
    assert isinstance(again, MappedPieceTokenizer)
    assert again.vocab_hash() == ours.vocab_hash()
    assert again.vocab == ours.vocab
    assert again.target.vocab == ours.target.vocab
    assert again.special == ours.special
    assert again.row_template == ours.row_template
    assert again.languages == ("eng", "fra")


def test_new_vocabulary(tmp_path: pathlib.Path) -> None:
    (tmp_path / "text.txt").write_text(inspect.getsource(argparse))
    size = train_vocabulary(
        str(tmp_path / "text.txt"), str(tmp_path / "new"), SPEC, 800
    )
    ours = load_tokenizer(str(tmp_path / "new"), spec=SPEC)
    assert ours.vocab_size == size == 800
    assert (ours.special.eos, ours.special.unk) == (0, 1)
    assert ours.special.pad == ours.pad_id == 799
    row = ours("the  option strings ")["token_ids"]
    assert ours.decode(row, True) == "the option strings"


def test_runs_in_a_graph(folder: pathlib.Path) -> None:
    ours = load_tokenizer(str(folder))
    lines = texts(64)
    graph = tf.function(
        ours.tokenize, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    expected = ours.tokenize(lines).to_list()
    assert graph(tf.constant(lines)).to_list() == expected
    assert graph(tf.constant([], tf.string)).to_list() == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer_config.json", {"tokenizer_class": "T5Tokenizer"}, "T5Tok"),
        ("tokenizer_config.json", {"separate_vocabs": 3}, "Received: 3"),
        (
            "tokenizer_config.json",
            {"sp_model_kwargs": {"enable_sampling": True}},
            "enable_sampling",
        ),
        ("tokenizer_config.json", {"separate_vocabs": True}, "target_vocab"),
        ("vocab.json", {"</s>": 0, "<pad>": 1}, "Received: '<unk>'"),
        ("vocab.json", {}, "vocab.json"),
        ("target.spm", None, "target.spm"),
    ],
)
def test_bad_folders(
    folder: pathlib.Path,
    name: str,
    content: Any,
    message: str,
    tmp_path: pathlib.Path,
) -> None:
    for file in ("source.spm", "target.spm", "vocab.json"):
        shutil.copy(folder / file, tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        load_tokenizer(str(tmp_path))


# It normalizes nothing with sacremoses either.
@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.live_parity
def test_transformers(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    transformers = pytest.importorskip("transformers")
    ours = load_tokenizer(str(folder))
    ours.save(str(tmp_path), SPEC)
    for path in (folder, tmp_path):
        theirs = transformers.MarianTokenizer.from_pretrained(path)
        for lines in (texts(2000),):
            rows = ours(lines, padding=False)["token_ids"].to_list()
            targets = ours.target(lines, padding=False)["token_ids"].to_list()
            shown = ours.target.decode(targets, skip_special_tokens=True)
            for text, row, target, back in zip(
                lines, rows, targets, shown, strict=True
            ):
                assert row == theirs(text)["input_ids"], repr(text)
                expected = theirs(text_target=text)["input_ids"]
                assert target == expected, repr(text)
                decoded = theirs.decode(target, skip_special_tokens=True)
                assert back == decoded, repr(text)
