"""The train verb on data with labels, from a pretrained folder."""

import json
import os
import pathlib
import shutil
import signal
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy

from tests import labelled_files, verbs
from tests.verbs import Finished, Workplace, signal_at
from tfllm.data.labelled.batches import open_labelled_data
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.tables.rows import TableConfig
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.prediction.measure import evaluate_labelled
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import WordPieceTokenizer

pytestmark = [pytest.mark.dist, pytest.mark.slow]

PATTERN = r"(?P<label>\w+):(?P<fine>\S+)\s(?P<text>.+)"
# All that makes a step of fine-tuning more than a step.
EVERYTHING = {
    "adversarial": "freelb",
    "adversarial_steps": 2,
    "r_drop": 0.5,
    "layer_decay": 0.8,
    "freeze": "embeddings",
    "class_balanced": True,
    "label_smoothing": 0.1,
    "stride": 4,
    "seq_length": 8,
    "best_metric": "macro_f1",
    "optimizer": "adamw",
    "train_steps": 40,
    "checkpoint_every": 10,
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Questions of three kinds, and a folder to start from."""
    work = Workplace(tmp_path_factory.mktemp("labelled"))
    labelled_files.write("trec", work.folder, 48)
    words = [*labelled_files.WORDS, *map(str.lower, labelled_files.LABELS)]
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "?", *words]
    (work.folder / "words.txt").write_text("\n".join(vocab) + "\n")
    tokenizer = WordPieceTokenizer.from_file(work.path("words.txt"))
    keras.utils.set_random_seed(0)
    model = FAMILIES["bert"].size(
        "tiny", vocab_size=tokenizer.vocab_size, initializer_range=0.1
    )
    model_folder.save(MaskedLM(model), work.path("pretrained"), tokenizer)
    return work


def flags(work: Workplace, model_dir: str, **changes: Any) -> list[str]:
    found = {
        "task": "classification",
        "init_from": work.path("pretrained"),
        "train_files": work.path("trec_train.txt"),
        "eval_files": work.path("trec_test.txt"),
        "line_pattern": PATTERN,
        "model_dir": work.path(model_dir),
        "seq_length": 16,
        "batch_size": 8,
        "train_steps": 16,
        "learning_rate": 1e-3,
        "eval_every": 0.5,
        "checkpoint_every": 4,
        "log_every": 2,
        "seed": 3,
        **changes,
    }
    return [f"--{k}={v}" for k, v in found.items() if v is not None]


def train(
    work: Workplace, model_dir: str, during: Any = None, **changes: Any
) -> Finished:
    return verbs.run("train", *flags(work, model_dir, **changes), during=during)


@pytest.fixture(scope="module")
def reference(work: Workplace) -> Finished:
    finished = train(work, "reference", **EVERYTHING)
    assert finished.status == 0, finished.stderr
    return finished


def test_it_learns_and_names_its_labels(
    work: Workplace, reference: Finished
) -> None:
    assert "2 missing: classifier.bias, classifier.weight" in reference.stderr
    # The chosen figure first.
    found = work.json("reference/eval_results.json")
    lines = [line.split() for line in reference.stdout.splitlines()]
    place = lines.index(["figure", "value"])
    assert lines[place + 1] == ["macro_f1", f"{found['macro_f1']:.4f}"]
    assert lines[place + 2] == ["accuracy", f"{found['accuracy']:.4f}"]
    log = work.log("reference")
    losses = [x["classification_loss"] for x in log if "loss" in x]
    assert losses[-1] < losses[0] - 0.3
    assert [x["step"] for x in log if "eval_macro_f1" in x] == [20, 40]
    config = work.json("reference/config.json")
    names = {str(i): n for i, n in enumerate(labelled_files.LABELS)}
    assert config["id2label"] == names
    assert config["architectures"] == ["BertForSequenceClassification"]
    vocab = (work.folder / "reference/vocab.txt").read_text()
    assert vocab == (work.folder / "words.txt").read_text()
    before, after = (
        safetensors.numpy.load_file(work.path(f"{name}/model.safetensors"))
        for name in ("pretrained", "reference")
    )
    for name, tensor in after.items():
        if "embeddings" in name:
            np.testing.assert_array_equal(tensor, before[name])
        elif "encoder" in name and name.endswith("weight"):
            assert np.abs(tensor - before[name]).max() > 0, name


def test_the_folder_has_the_figures_of_the_run(
    work: Workplace, reference: Finished
) -> None:
    results = work.json("reference/eval_results.json")
    task = model_folder.load(work.path("reference"))
    data = open_labelled_data(
        work.path("trec_test.txt"),
        WordPieceTokenizer.from_file(work.path("reference")),
        LabelledDataConfig(
            seq_length=8,
            batch_size=8,
            stride=4,
            labels=task.labels,
            table=TableConfig(line_pattern=PATTERN),
        ),
        "eval_files",
    )
    again = evaluate_labelled(task, data)
    assert {"macro_f1", "accuracy", "loss"} <= set(again)
    for name, value in again.items():
        assert results[name] == value, name


def test_killed_at_any_step_it_ends_with_the_same_weights(
    work: Workplace, reference: Finished
) -> None:
    step = int(np.random.default_rng().integers(10, 37))
    killed = train(
        work,
        "killed",
        signal_at(work, "killed", step, signal.SIGKILL),
        **EVERYTHING,
    )
    assert killed.status != 0
    again = train(work, "killed", **EVERYTHING)
    assert again.status == 0, again.stderr
    assert work.weights("killed") == work.weights("reference")
    assert work.json("killed/eval_results.json").keys() >= {"macro_f1"}


def test_several_seeds(work: Workplace) -> None:
    short = {"train_steps": 3, "optimizer": "sgd", "learning_rate": 0.1}
    stop = signal_at(work, "seeds/seed_12", 2, signal.SIGTERM)
    stopped = train(work, "seeds", stop, seeds="3,12", **short)
    assert stopped.status in (0, 143), stopped.stderr
    finished = train(work, "seeds", seeds="3,12", **short)
    assert finished.status == 0, finished.stderr
    found = work.json("seeds/seeds_results.json")
    by_seed = [
        work.json(f"seeds/seed_{seed}/eval_results.json") for seed in (3, 12)
    ]
    losses = [results["loss"] for results in by_seed]
    assert losses[0] != losses[1]
    assert found["mean"]["loss"] == pytest.approx(np.mean(losses))
    assert found["deviation"]["loss"] == pytest.approx(np.std(losses, ddof=1))
    assert "steps" not in found["mean"]
    (row,) = (x for x in finished.stdout.splitlines() if x.startswith("loss"))
    assert row.split()[1:3] == [f"{loss:.4f}" for loss in losses]
    # Each is the run that it would be alone.
    assert train(work, "alone", seed=12, **short).status == 0
    assert work.weights("alone") == work.weights("seeds/seed_12")
    other = train(work, "seeds", seeds="3,4", **short)
    assert other.status == 1
    assert "seeds was '3,12', is '3,4'" in other.errors[-1]


def test_a_head_that_fits_is_taken_over_in_its_order(
    work: Workplace, reference: Finished
) -> None:
    folder = work.folder / "turned"
    shutil.copytree(work.folder / "reference", folder)
    config = work.json("turned/config.json")
    names = labelled_files.LABELS[::-1]
    config["id2label"] = {str(i): name for i, name in enumerate(names)}
    config["label2id"] = {name: i for i, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = np.ascontiguousarray(tensors[name][::-1])
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    done = train(
        work,
        "further",
        init_from=str(folder),
        train_steps=1,
        learning_rate=1e-9,
        seq_length=8,
        stride=4,
    )
    assert done.status == 0, done.stderr
    assert work.json("further/config.json")["id2label"] == config["id2label"]
    first, second = (
        work.json(f"{name}/eval_results.json")["accuracy"]
        for name in ("reference", "further")
    )
    assert first == second > 0.9


def test_a_decoder(work: Workplace) -> None:
    done = train(
        work,
        "decoder",
        model="gpt2:tiny",
        init_from=None,
        tokenizer=byte_vocabulary(work),
        train_steps=2,
        adversarial="fgm",
        class_weights="balanced",
        freeze="0",
    )
    assert done.status == 0, done.stderr
    config = work.json("decoder/config.json")
    assert config["architectures"] == ["GPT2ForSequenceClassification"]
    assert np.isfinite(work.json("decoder/eval_results.json")["loss"])


def byte_vocabulary(work: Workplace) -> str:
    from tfllm.data.vocabularies import byte_bpe

    byte_bpe.train(
        work.path("trec_train.txt"),
        work.path("bytes"),
        byte_bpe.ByteBPETrainingConfig(vocab_size=257),
    )
    return work.path("bytes")


# Flags and what the one line must have; {} is the workplace.
WRONG = [
    ({"best_metric": "makro_f1"}, ["`best_metric`", "'macro_f1'?"]),
    ({"freeze": "2"}, ["`freeze`", "0 to 1", "'2'"]),
    ({"layer_decay": 1.5}, ["`layer_decay`", "1.5"]),
    ({"layer_decay": 0.9, "optimizer": "adafactor"}, ["adamw", "Adafactor"]),
    ({"adversarial_steps": 2}, ["`adversarial_steps`", "none"]),
    ({"adversarial": "fgm", "adversarial_epsilon": 0}, ["adversarial_epsil"]),
    ({"seeds": "1,1"}, ["`seeds`", "1,1"]),
    ({"seeds": "1,x"}, ["`seeds`", "1,x"]),
    ({"seeds": "1,2", "eval_files": None}, ["`seeds`", "`eval_files`"]),
    ({"mask_rate": 0.3}, ["`mask_rate`", "masked_lm", "0.3"]),
    ({"tag_scheme": "bio"}, ["`tag_scheme`", "tagging", "bio"]),
    ({"task": "regression", "labels": "a,b"}, ["`labels`", "a,b"]),
    ({"task": "regression"}, ["trec_train.txt", "ABBR"]),
    ({"labels": "ABBR,HUM"}, ["trec_train.txt", "LOC"]),
    ({"text_column": "txt"}, ["txt", "text"]),
    ({"init_from": None}, ["`tokenizer` is needed"]),
    ({"init_from": None, "tokenizer": "{}/none"}, ["{}/none"]),
    ({"seq_length": 9999}, ["`seq_length`", "9999", "{}/pretrained"]),
    ({"stride": 99}, ["stride", "99"]),
    ({"batch_size": 64}, ["`batch_size`", "64"]),
    ({"eval_every": 0}, ["`eval_every`", "0"]),
]


@pytest.mark.parametrize(("changes", "parts"), WRONG, ids=str)
def test_what_is_wrong_is_said_in_one_line(
    work: Workplace, changes: dict[str, Any], parts: list[str]
) -> None:
    changes = {
        k: v.format(work.folder) if isinstance(v, str) else v
        for k, v in changes.items()
    }
    done = train(work, "new", **changes)
    assert done.status == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.errors[-1].startswith("error: ")
    for part in parts:
        assert part.format(work.folder) in done.errors[-1]
    assert not os.path.exists(work.path("new/run.json"))


def test_a_label_that_training_had_not(
    work: Workplace, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "test.txt"
    file.write_text("HUM:x man ?\nNUM:x old ?\n")
    done = train(work, "new", eval_files=str(file))
    assert done.status == 1
    assert "NUM" in done.errors[-1]
    assert "test.txt" in done.errors[-1]
    assert "line 2" in done.errors[-1]
