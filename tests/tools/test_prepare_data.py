"""Tests of tools.prepare_data, run as users run it."""

import json
import pathlib

from tests import verbs
from tfllm.tokenizers import SpecialTokens
from tfllm.tokenizers.byte_pair import END_OF_TEXT, ByteBPETokenizer
from tfllm.tokenizers.byte_pair_model import byte_symbols

_VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "##a"]


def _run(folder: pathlib.Path, *flags: str) -> verbs.Finished:
    return verbs.run(
        "module",
        "tools.prepare_data",
        f"--input_files={folder}/*.txt",
        f"--tokenizer={folder / 'vocab'}",
        f"--output_dir={folder / 'shards'}",
        *flags,
    )


def _write_inputs(folder: pathlib.Path) -> None:
    (folder / "text.txt").write_text("a b c\nb a\n\nc aa\na b\n" * 20)
    (folder / "vocab").write_text("\n".join(_VOCAB) + "\n")


def test_shards_are_prepared(tmp_path: pathlib.Path) -> None:
    _write_inputs(tmp_path)
    done = _run(
        tmp_path,
        "--pair_objective=sop",
        "--seq_length=16",
        "--masking=span",
        "--mask_rate=0.3",
        "--static_masks",
        "--seed=3",
    )
    assert done.status == 0, done.stderr
    content = json.loads((tmp_path / "shards/manifest.json").read_text())
    made = content["settings"]
    assert made["instances"]["pair_objective"] == "sop"
    assert made["instances"]["seed"] == 3
    assert made["static_masks"]["unit"] == "span"
    assert made["static_masks"]["max_predictions"] == 5
    assert content["num_examples"] > 0


def test_text_is_tokenized_for_causal_models(tmp_path: pathlib.Path) -> None:
    _write_inputs(tmp_path)
    flags = "--task=causal_lm", "--document_per=line"
    refused = _run(tmp_path, *flags)
    assert refused.status == 1
    assert "Received: 'wordpiece'" in refused.stderr
    (tmp_path / "vocab").unlink()
    ByteBPETokenizer(
        [*byte_symbols(), END_OF_TEXT],
        [],
        special_tokens=SpecialTokens(eos=END_OF_TEXT),
    ).save(str(tmp_path / "vocab"))
    done = _run(tmp_path, *flags)
    assert done.status == 0, done.stderr
    content = json.loads((tmp_path / "shards/manifest.json").read_text())
    lines = ["a b c", "b a", "c aa", "a b"] * 20
    assert content["words"] == sum(len(line.split()) for line in lines)
    assert content["text_bytes"] == sum(map(len, lines))
    # Of one byte each, and one token between two lines.
    assert content["tokens"] == sum(map(len, lines)) + len(lines) - 1
    assert content["settings"]["document_per"] == "line"


def test_flags_of_the_other_task_are_refused(tmp_path: pathlib.Path) -> None:
    _write_inputs(tmp_path)
    done = _run(tmp_path, "--task=causal_lm", "--mask_rate=0.2")
    assert done.status == 1
    assert "`mask_rate` goes with --task=masked_lm" in done.stderr
    assert not (tmp_path / "shards").exists()


def test_bad_input_is_one_line(tmp_path: pathlib.Path) -> None:
    _write_inputs(tmp_path)
    (tmp_path / "bad.txt").write_bytes(b"\0\1\2")
    done = _run(tmp_path)
    assert done.status == 1
    lines = [line for line in done.stderr.splitlines() if "bad.txt" in line]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr


def test_a_model_lays_out_the_rows(tmp_path: pathlib.Path) -> None:
    """The bare files of a byte-level BPE do not say what a row looks like."""
    _write_inputs(tmp_path)
    (tmp_path / "vocab").unlink()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = [*special, *byte_symbols()]
    vocabulary = tmp_path / "vocab"
    vocabulary.mkdir()
    (vocabulary / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(tokens)})
    )
    (vocabulary / "merges.txt").write_text("#version: 0.2\n")
    done = _run(tmp_path, "--model=roberta:tiny", "--seq_length=16")
    assert done.status == 0, done.stderr
    manifest = json.loads((tmp_path / "shards/manifest.json").read_text())
    made = manifest["settings"]
    assert made["instances"]["pair_objective"] == "none"
    # <s> A </s> </s> B </s>
    assert made["row_template"] == {
        "opens": [0],
        "between": [2, 2],
        "closes": [2],
    }
    unknown = _run(tmp_path, "--model=robert:tiny")
    assert unknown.status == 1
    assert "roberta" in unknown.stderr
