"""Tests of the WordPiece trainer."""

import gzip
import json
import pathlib
import subprocess
import sys

import pytest
import tokenizers

from tfllm.data.vocabularies import wordpiece
from tfllm.data.vocabularies.wordpiece import WordPieceTrainingConfig

_TEXT = [
    "Naïve readers read Réading rooms, 3 times a day (or more)!",
    "中文 and English: reading, reader, readable, unread words.",
    "The unreadable sentence was read by the readers of the day.",
] * 3
_ROOT = pathlib.Path(__file__).parents[3]


def test_special_tokens_come_first_and_all_is_distinct() -> None:
    config = WordPieceTrainingConfig(vocab_size=100)
    vocabulary = wordpiece.train_vocabulary(_TEXT, config)
    assert tuple(vocabulary[:5]) == config.special_tokens.all()
    assert len(set(vocabulary)) == len(vocabulary) == 100
    assert {"read", "中", "naive"[0], "##a"} <= set(vocabulary)
    # Only what occurs: no character of Chinese stands inside a word.
    assert "##中" not in vocabulary


def test_case() -> None:
    config = WordPieceTrainingConfig(vocab_size=120, lowercase=False)
    vocabulary = wordpiece.train_vocabulary(_TEXT, config)
    assert {"N", "##ï", "T"} <= set(vocabulary)


def test_tokens_are_no_longer_than_the_tokenizer_takes() -> None:
    config = WordPieceTrainingConfig(vocab_size=60)
    vocabulary = wordpiece.train_vocabulary(["a" * 600] * 3, config)
    sizes = [len(token.removeprefix("##")) for token in vocabulary]
    assert 100 < max(sizes) <= 256


def test_limit_alphabet_keeps_the_most_frequent() -> None:
    config = WordPieceTrainingConfig(vocab_size=60, limit_alphabet=4)
    vocabulary = wordpiece.train_vocabulary(["aaa bbb cc d e"], config)
    singles = [t for t in vocabulary if len(t) == 1]
    assert singles == ["a", "b", "c", "d"]  # d before e: ties by code point


def test_two_processes_give_the_same_bytes(tmp_path: pathlib.Path) -> None:
    # Many equal frequencies: ties everywhere.
    text = "\n".join(f"{a}{b}{c} {c}{a}" for a in "abcde" for b in "xyzw"
                     for c in "klmnop")  # fmt: skip
    (tmp_path / "a.txt").write_text(text)
    program = (
        "import sys; from tfllm.data.vocabularies import wordpiece as t;"
        "t.train(sys.argv[1], sys.argv[2],"
        "t.WordPieceTrainingConfig(vocab_size=150, limit_alphabet=12))"
    )
    written = set()
    for run in range(2):
        folder = tmp_path / str(run)
        command = [sys.executable, "-c", program, str(tmp_path / "a.txt")]
        subprocess.run(
            [*command, str(folder)],
            check=True,
            cwd=_ROOT,
            capture_output=True,
        )
        written.add((folder / "vocab.txt").read_bytes())
    assert len(written) == 1


def test_train_writes_a_tokenizer_folder(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a.txt").write_text("\n".join(_TEXT))
    (tmp_path / "b.gz").write_bytes(gzip.compress("\n".join(_TEXT).encode()))
    folder = tmp_path / "out"
    vocabulary = wordpiece.train(
        f"{tmp_path}/a.txt,{tmp_path}/*.gz",
        str(folder),
        WordPieceTrainingConfig(vocab_size=120),
    )
    assert sorted(p.name for p in folder.iterdir()) == [
        "tokenizer_config.json",
        "vocab.txt",
    ]
    text = (folder / "vocab.txt").read_text(encoding="utf-8")
    assert text.split("\n") == [*vocabulary, ""]
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "BertTokenizer"
    assert settings["do_lower_case"] is True
    oracle = tokenizers.BertWordPieceTokenizer(str(folder / "vocab.txt"))
    tokens = oracle.encode(" ".join(_TEXT)).tokens
    assert "[UNK]" not in tokens


@pytest.mark.parametrize(
    ("setting", "received"),
    [({"vocab_size": 5}, "5"), ({"min_frequency": 0}, "0")],
)
def test_bad_settings(setting: dict[str, int], received: str) -> None:
    with pytest.raises(ValueError, match=f"Received: {received}"):
        WordPieceTrainingConfig(**setting)  # type: ignore[arg-type]


def test_bad_input(tmp_path: pathlib.Path) -> None:
    config = WordPieceTrainingConfig(vocab_size=20)
    with pytest.raises(ValueError, match="Received: 20"):
        wordpiece.train_vocabulary(_TEXT, config)
    with pytest.raises(ValueError, match="no word"):
        wordpiece.train_vocabulary([" "], config)
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match=r"empty.*empty\.txt"):
        wordpiece.train(str(tmp_path / "empty.txt"), "out", config)
