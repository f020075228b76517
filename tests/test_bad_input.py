"""What a user gets wrong: one line that names it, at once, nothing lost."""

import gzip
import json
import pathlib
import re
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

from tests import verbs
from tests.tasks.tiny_task import batches, model_config
from tests.verbs import Finished, Workplace
from tfllm.data.masked.prepare import PrepareConfig, prepare
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import ByteBPETokenizer
from tfllm.tokenizers.byte_pair_model import byte_symbols


@pytest.fixture(scope="module")
def work() -> Workplace:
    """Runs, and files that cannot be used."""
    work = verbs.workplace()
    folder = work.folder
    (folder / "empty.txt").touch()
    (folder / "blank.txt").write_text("\n\n\n")
    (folder / "binary.txt").write_bytes(b"text\n\0\1\2" * 50)
    (folder / "latin1.txt").write_bytes("caf\xe9\n".encode("latin-1") * 50)
    (folder / "broken.txt.gz").write_bytes(gzip.compress(b"ba " * 9999)[:-9])
    (folder / "few.txt").write_text("ba de.\nki lo.\n")
    (folder / "binary_vocab.txt").write_bytes(b"\x80\x81\n" * 9)
    (folder / "no_specials.txt").write_text("ba\nde\n")
    ByteBPETokenizer(byte_symbols(), []).save(str(folder / "byte_bpe"))
    (folder / "file").touch()
    (folder / "broken.json").write_text('{"model_type": "bert"')
    (folder / "list.json").write_text("[]")
    work.write_config("small.json", vocab_size=50)
    work.write_config("short.json", max_position_embeddings=16)
    work.write_config("wide.json", hidden_size=48, intermediate_size=96)
    for family in ("nobody", "gpt2"):
        work.write_config(f"{family}/config.json", model_type=family)
        shutil.copy(folder / "vocab.txt", folder / family)
    work.write_config("nothing/config.json")
    safetensors.numpy.save_file(
        {"x": np.zeros(2, "float32")}, folder / "nothing/model.safetensors"
    )
    work.write_config("foreign/config.json")
    (folder / "unknown.flags").write_text("--batch_size=8\n--sed=1\n")
    (folder / "binary.flags").write_bytes(b"\x80\x81\xff\n")
    for name, content in (
        ("cut", '{"seed": 3,'),
        ("bytes", b"\x80\x81"),
        ("wrong", "[1]"),
    ):
        (folder / name).mkdir()
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name / "run.json").write_bytes(data)
    other = folder / "other_vocab.txt"
    other.write_text("\n".join([*verbs.vocabulary(), "zz"]) + "\n")
    prepare(
        PrepareConfig(
            input_files=str(folder / "train.txt"),
            output_dir=str(folder / "other_shards"),
            tokenizer=str(other),
            instances=verbs.INSTANCES,
        )
    )
    return work


# What a run says before it fails.
PROGRESS = re.compile(
    r"\d+ training examples, |step \d+: held-out |.*Compiled cluster using XLA"
    r"|WARNING: All log messages before absl|normalizer.cc"
    r"|.*does not say whether to lower-case"
)


def says(finished: Finished, *parts: str) -> None:
    """Checks for one line, that a person understands, and status 1."""
    assert finished.status == 1, finished.stderr
    assert "Traceback" not in finished.stderr
    *progress, line = finished.errors
    assert line.startswith("error: ")
    assert all(PROGRESS.match(before) for before in progress), progress
    for part in parts:
        assert part in line, line


# Flags and what the line must have; {} is the workplace.
FILES = [
    ({"train_files": "{}/none.txt"}, ["`train_files`", "{}/none.txt"]),
    ({"eval_files": "{}/none*"}, ["`eval_files`", "{}/none*"]),
    ({"train_files": "{}"}, ["`train_files`", "folder", "{}"]),
    ({"train_files": "{}/empty.txt"}, ["empty file", "{}/empty.txt"]),
    ({"train_files": "{}/blank.txt"}, ["`train_files`", "{}/blank.txt"]),
    ({"eval_files": "{}/empty.txt"}, ["empty file", "{}/empty.txt"]),
    ({"train_files": "{}/binary.txt"}, ["binary file", "{}/binary.txt"]),
    ({"train_files": "{}/latin1.txt"}, ["UTF-8", "{}/latin1.txt"]),
    ({"train_files": "{}/broken.txt.gz"}, ["{}/broken.txt.gz"]),
    ({"train_files": "{}/few.txt"}, ["`batch_size`"]),
    ({"tokenizer": "{}/none"}, ["{}/none"]),
    ({"tokenizer": "{}/empty.txt"}, ["{}/empty.txt"]),
    ({"tokenizer": "{}/binary_vocab.txt"}, ["{}/binary_vocab.txt"]),
    ({"tokenizer": "{}/no_specials.txt"}, ["{}/no_specials.txt"]),
    (
        {"tokenizer": "{}/byte_bpe", "model": "bert:tiny"},
        ["`tokenizer`", "family bert", "Received: 'byte_bpe'"],
    ),
    ({"model": "{}/small.json"}, ["`tokenizer`", "50", "227"]),
    ({"model": "{}/none.json"}, ["{}/none.json"]),
    ({"model": "{}/broken.json"}, ["{}/broken.json"]),
    ({"model": "{}/list.json"}, ["{}/list.json"]),
    ({"model": "{}/nobody/config.json"}, ["nobody", "{}/nobody"]),
    ({"train_files": "{}/other_shards"}, ["{}/other_shards", "vocabulary"]),
    ({"init_from": "{}/nothing"}, ["no tensor", "{}/nothing"]),
    ({"init_from": "{}/none"}, ["{}/none"]),
    ({"init_from": "{}/gpt2"}, ["{}/gpt2", "gpt2"]),
    ({"model_dir": "{}/file"}, ["`model_dir`", "{}/file"]),
    ({"model_dir": "{}/file/under"}, ["`model_dir`", "{}/file/under"]),
    ({"model_dir": "{}/foreign"}, ["{}/foreign", "config.json"]),
    ({"model_dir": "/proc/run"}, ["`model_dir`", "/proc/run"]),
    ({"model_dir": "{}/cut"}, ["{}/cut/run.json", "Restore the file"]),
    ({"model_dir": "{}/bytes"}, ["{}/bytes/run.json"]),
    ({"model_dir": "{}/wrong"}, ["{}/wrong/run.json"]),
]
FLAGS = [
    ({"epochs": 1}, ["`train_steps`", "`epochs`"]),
    ({"train_steps": None}, ["`train_steps`", "`epochs`"]),
    ({"train_steps": 0}, ["`train_steps`", "0"]),
    ({"train_steps": None, "epochs": 0}, ["`epochs`"]),
    (
        {"best_metric": "loss", "eval_files": None},
        ["`best_metric`", "--eval_files"],
    ),
    (
        {"early_stopping_patience": 1, "eval_files": None},
        ["`early_stopping_patience`"],
    ),
    ({"best_metric": "mlm_acuracy"}, ["`best_metric`", "'mlm_accuracy'?"]),
    (
        {"best_metric": "nsp_loss", "pair_objective": "none"},
        ["`best_metric`", "nsp_loss"],
    ),
    ({"seq_length": 64}, ["`seq_length`", "32", "64"]),
    ({"seq_length": 2}, ["seq_length", "2"]),
    ({"accumulation_steps": 3}, ["`accumulation_steps`", "3", "8"]),
    ({"batch_size": 0}, ["`batch_size`", "0"]),
    ({"batch_size": 4096}, ["`batch_size`", "4096"]),
    ({"batch_size": "x"}, ["batch_size", "x"]),
    ({"batch_size": -1}, ["batch_size", "-1"]),
    ({"learning_rate": "nan"}, ["`learning_rate`", "nan"]),
    ({"weight_decay": "inf"}, ["`weight_decay`", "inf"]),
    ({"warmup": 25}, ["`warmup`", "24", "25"]),
    ({"mask_rate": 2}, ["`mask_rate`", "2"]),
    ({"max_predictions": 99}, ["`max_predictions`", "99"]),
    ({"dropout": 1.5}, ["`dropout`", "1.5"]),
    ({"short_seq_prob": 7}, ["`short_seq_prob`", "7"]),
    ({"log_every": 0}, ["`log_every`", "0"]),
    ({"keep_checkpoints": 0}, ["`keep_checkpoints`", "0"]),
    ({"sed": 1}, ["'sed'", "seed"]),
    ({"model": "bert:tinny"}, ["`model`", "'bert:tiny'"]),
    ({"optimizer": "adam"}, ["optimizer", "adamw"]),
    (
        {"optimizer": "sgd", "beta_2": 0.95},
        ["`beta_2` goes with --optimizer=adamw", "0.95", "sgd"],
    ),
    (
        {"schedule": "constant", "final_learning_rate": 1e-5},
        ["`final_learning_rate` goes with --schedule=cosine", "constant"],
    ),
    (
        {"schedule": "step", "step_boundaries": "0.5,30"},
        ["`step_boundaries`", "`train_steps`=24", "0.5,30"],
    ),
    ({"license": "Apache 2.0"}, ["`license`", "apache-2.0", "'Apache 2.0'"]),
    ({"task": "masked"}, ["task", "masked_lm"]),
    (
        {"task": "regression", "label_column": ""},
        ["`label_column`", "regression"],
    ),
    ({"train_files": None}, ["`train_files` is needed"]),
    ({"model_dir": None}, ["`model_dir` is needed"]),
    ({"tokenizer": None}, ["`tokenizer` is needed"]),
    ({"corpus_source": "web"}, ["`corpus_source`", "web"]),
    ({"flagfile": "{}/none.flags"}, ["`flagfile`", "{}/none.flags"]),
    ({"flagfile": "{}/unknown.flags"}, ["'sed'", "seed"]),
    ({"flagfile": "{}/binary.flags"}, ["{}/binary.flags"]),
    ({"flagfile": "{}"}, ["{}"]),
]


@pytest.mark.parametrize(
    ("changes", "parts"), FILES + FLAGS, ids=lambda x: str(x)[:50]
)
def test_train(
    work: Workplace, changes: dict[str, Any], parts: list[str]
) -> None:
    changes = {
        k: v.format(work.folder) if isinstance(v, str) else v
        for k, v in changes.items()
    }
    says(
        work.train(**{"model_dir": "new", **changes}),
        *(part.format(work.folder) for part in parts),
    )
    # Nothing that a corrected command would have to work around.
    assert not (work.folder / "new" / "run.json").exists()


def test_arguments_that_are_no_flags() -> None:
    says(verbs.run("train", "file.txt"), "file.txt")


@pytest.mark.parametrize(
    ("verb", "argv", "parts"),
    [
        ("predict", [], ["`model_dir` is needed"]),
        ("predict", ["--model_dir={}/none"], ["{}/none"]),
        ("predict", ["--model_dir={}/nobody"], ["nobody"]),
        ("predict", ["--model_dir={}/nothing"], ["{}/nothing"]),
        ("predict", ["--model_dir={}", "--top_k=0"], ["`top_k`"]),
        ("predict", ["--model_dir={}", "--batch_size=0"], ["`batch_size`"]),
        (
            "predict",
            ["--model_dir={}", "--input_files={}/none"],
            ["`input_files`", "{}/none"],
        ),
        ("evaluate", [], ["`model_dir` is needed"]),
        ("evaluate", ["--model_dir={}/foreign"], ["`eval_files` is needed"]),
        ("predict", ["--model_dir=s3://a/b"], ["no file system for s3://"]),
        (
            "evaluate",
            ["--model_dir={}/none", "--eval_files={}/heldout.txt"],
            ["{}/none"],
        ),
    ],
    ids=str,
)
def test_predict_and_evaluate(
    work: Workplace, verb: str, argv: list[str], parts: list[str]
) -> None:
    says(
        verbs.run(verb, *(a.format(work.folder) for a in argv)),
        *(part.format(work.folder) for part in parts),
    )


@pytest.mark.slow
def test_an_init_folder_of_another_size(work: Workplace) -> None:
    assert verbs.reference_run().status == 0
    says(
        work.train(
            "new",
            model=work.path("wide.json"),
            init_from=work.path("reference"),
        ),
        work.path("reference"),
    )


@pytest.mark.slow
def test_a_full_disk(work: Workplace) -> None:
    """Files end at 60 kB, as on a disk that is full: no checkpoint fits."""
    done = work.train("full", file_size=60_000)
    says(done, work.path("full/checkpoints"), "cannot be written")
    # With room again the same command goes on.
    again = work.train("full", train_steps=24)
    assert again.status == 0, again.stderr
    assert verbs.reference_run().status == 0
    assert work.weights("full") == work.weights("reference")


def test_the_command_line_itself(work: Workplace) -> None:
    """As a user starts it, with TensorFlow's own messages and all."""
    done = subprocess.run(
        [sys.executable, "-m", "tfllm.train", "--flagfile=none.flags"],
        cwd=work.folder,
        env=verbs.ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    says(Finished(1, done.stdout, done.stderr), "none.flags", "configs/")


def test_ids_outside_the_table() -> None:
    """In user code, where no vocabulary is checked."""
    task = MaskedLM(model_config())
    task.compile("sgd")
    x, y, weights = batches(1)[0]
    x["token_ids"][0, 0] = 10**6
    with pytest.raises(
        ValueError, match="`token_ids` must be from 0 to 39. Received: 1000000"
    ):
        task.fit(x, y, sample_weight=weights, batch_size=8, verbose=0)
    # The batches of a dataset are not looked at before; the layer refuses.
    dataset = tf.data.Dataset.from_tensors((x, y, weights))
    with pytest.raises(tf.errors.InvalidArgumentError, match="1000000"):
        task.fit(dataset, shuffle=False, verbose=0)


def test_json_of_the_configs_is_what_it_seems(work: Workplace) -> None:
    """The cases above fail for their own reason: the base is right."""
    config = json.loads((work.folder / "config.json").read_text())
    assert config["vocab_size"] == len(verbs.vocabulary()) == 227
    assert pathlib.Path(work.path("train.txt")).stat().st_size > 1000
