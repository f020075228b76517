"""The train verb, from text to a model folder, whatever happens between."""

import json
import math
import os
import pathlib
import shutil
import signal
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests import verbs
from tests.verbs import Finished, Workplace, signal_at
from tfllm.data.masked.prepare import PrepareConfig, prepare
from tfllm.tokenizers import WordPieceTokenizer

pytestmark = [pytest.mark.dist, pytest.mark.slow]

RATES = ("examples_per_second", "tokens_per_second", "data_wait_share")


@pytest.fixture(scope="module")
def work() -> Workplace:
    return verbs.workplace()


@pytest.fixture(scope="module")
def reference() -> Finished:
    finished = verbs.reference_run()
    assert finished.status == 0, finished.stderr
    return finished


def without_rates(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in x.items() if k not in RATES} for x in lines]


def test_a_run_learns_and_leaves_a_whole_folder(
    work: Workplace, reference: Finished
) -> None:
    assert "Trained 24 steps." in reference.stdout
    assert "Traceback" not in reference.stderr
    folder = work.folder / "reference"
    present = {path.name for path in folder.iterdir()}
    assert present >= {
        "config.json",
        "model.safetensors",
        "vocab.txt",
        "tokenizer_config.json",
        "run.json",
        "flags.txt",
        "train_results.json",
        "eval_results.json",
        "loss.png",
        "README.md",
        "checkpoints",
        "logs",
    }
    assert not list(folder.rglob("*.tmp"))
    assert any("tfevents" in path.name for path in (folder / "logs").iterdir())
    log = work.log("reference")
    training = [line for line in log if "loss" in line]
    assert [line["step"] for line in training] == [4, 8, 12, 16, 20, 24]
    assert training[-1]["loss"] < training[0]["loss"] - 1
    evaluations = [line["step"] for line in log if "eval_loss" in line]
    assert evaluations == [10, 20, 24]
    kept = {path.stem for path in (folder / "checkpoints").glob("*.index")}
    assert kept == {"ckpt-16", "ckpt-24"}


def test_results_say_how_they_came_about(
    work: Workplace, reference: Finished
) -> None:
    results = work.json("reference/train_results.json")
    assert results["steps"] == 24
    assert results["seed"] == 3
    assert results["seconds"] > 0
    assert results["examples_per_second"] > 0
    assert results["tokens_per_second"] > results["examples_per_second"]
    assert {"python", "tfllm", "tensorflow", "keras"} <= {*results["versions"]}
    held_out = work.json("reference/eval_results.json")
    assert held_out["steps"] == 24
    assert math.isclose(
        held_out["perplexity"], math.exp(held_out["mlm_loss"]), rel_tol=1e-5
    )
    last = work.log("reference")[-1]
    for name in ("loss", "mlm_accuracy", "nsp_accuracy", "perplexity"):
        assert held_out[name] == last[f"eval_{name}"]
    flags = (work.folder / "reference/flags.txt").read_text().splitlines()
    assert "--learning_rate=0.005" in flags
    assert "--optimizer=bert_adam" in flags


def test_killed_at_any_step_it_ends_with_the_same_weights(
    work: Workplace, reference: Finished
) -> None:
    """The first start is the command line itself, not a fork."""
    step = int(np.random.default_rng().integers(8, 23))
    flags = work.flags("killed")
    process = subprocess.Popen(
        [sys.executable, "-m", "tfllm.train", *flags],
        env=verbs.ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    signal_at(work, "killed", step, signal.SIGKILL)(process.pid)
    assert process.wait() == -signal.SIGKILL
    again = work.train("killed")
    assert again.status == 0, again.stderr
    # Killed before the first checkpoint was whole, it begins again.
    saved = work.log("killed")
    assert without_rates(saved) == without_rates(work.log("reference"))
    assert work.weights("killed") == work.weights("reference")


def test_sigterm_and_ctrl_c_save_and_the_rerun_resumes(
    work: Workplace, reference: Finished
) -> None:
    first = work.train(
        "stopped", during=signal_at(work, "stopped", 4, signal.SIGTERM)
    )
    assert first.status == 143
    assert "stopped by SIGTERM after step" in first.errors[-1]
    assert (work.folder / "stopped/loss.png").exists()
    second = work.train(
        "stopped", during=signal_at(work, "stopped", 12, signal.SIGINT)
    )
    assert second.status == 130, second.stderr
    assert "stopped by SIGINT after step" in second.errors[-1]
    assert "Resuming after step" in second.stderr
    assert "Traceback" not in first.stderr + second.stderr
    third = work.train("stopped")
    assert third.status == 0
    assert work.weights("stopped") == work.weights("reference")
    steps = [line["step"] for line in work.log("stopped")]
    assert steps == [4, 8, 10, 12, 16, 20, 20, 24, 24]


def test_damaged_last_checkpoint_falls_back(
    work: Workplace, reference: Finished
) -> None:
    folder = work.folder / "damaged"
    shutil.copytree(work.folder / "reference", folder)
    for name in ("model.safetensors", "train_results.json"):
        (folder / name).unlink()
    (data,) = (folder / "checkpoints").glob("ckpt-24.data*")
    data.write_bytes(data.read_bytes()[:-1000])
    finished = work.train("damaged")
    assert finished.status == 0, finished.stderr
    (message,) = (x for x in finished.errors if "damaged" in x)
    assert "ckpt-24" in message
    assert "Resuming after step 16." in finished.stderr
    assert work.weights("damaged") == work.weights("reference")
    # And what was damaged is whole again.
    again = work.train("damaged")
    assert "damaged or" not in again.stderr
    assert "This run was finished before, at step 24." in again.stdout


def test_rerun_of_a_finished_run_says_so(
    work: Workplace, reference: Finished
) -> None:
    before = work.json("reference/train_results.json")
    held_out = work.json("reference/eval_results.json")
    again = work.train("reference")
    assert again.status == 0
    assert "This run was finished before, at step 24." in again.stdout
    assert work.json("reference/train_results.json") == before
    after = work.json("reference/eval_results.json")
    assert {k: v for k, v in after.items() if k != "date"} == {
        k: v for k, v in held_out.items() if k != "date"
    }


def test_the_card_says_what_came_out_until_it_is_edited(
    work: Workplace, reference: Finished
) -> None:
    """The licence may come later."""
    folder = work.folder / "card"
    shutil.copytree(work.folder / "reference", folder)
    card = folder / "README.md"
    loss = round(work.json("card/eval_results.json")["loss"], 4)
    assert f"| loss | {loss} |" in card.read_text()
    assert "license: unknown\n" in card.read_text()
    assert work.train("card", license="mit").status == 0
    assert "license: mit\n" in card.read_text()
    card.unlink()
    evaluated = verbs.run("evaluate", f"--model_dir={folder}")
    assert evaluated.status == 0, evaluated.stderr
    assert f"| loss | {loss} |" in card.read_text()
    card.write_text("Mine.\n")
    again = work.train("card", license="apache-2.0")
    assert "README.md in" in again.errors[-1]
    assert "was edited, and is kept as it is." in again.errors[-1]
    assert card.read_text() == "Mine.\n"


def test_other_settings_are_refused_and_overwrite_starts_anew(
    work: Workplace, reference: Finished
) -> None:
    weights = work.weights("reference")
    other = work.train("reference", learning_rate=1e-3)
    assert other.status == 1
    assert other.errors == [other.errors[0]]
    assert "learning_rate was 0.005, is 0.001" in other.errors[0]
    # A mistake in the flags costs nothing, even with --overwrite.
    wrong = work.train("reference", train_files="none.txt", overwrite=True)
    assert wrong.status == 1
    assert work.weights("reference") == weights


def test_other_data_or_another_vocabulary_are_refused(
    work: Workplace, reference: Finished
) -> None:
    """The names of their files are the same, and so are their sizes."""
    for name in ("train.txt", "vocab.txt"):
        shutil.copy(work.path(name), work.path(f"own_{name}"))
    flags = {
        "tokenizer": work.path("own_vocab.txt"),
        "lower_case": "true",  # else a warning says that it was guessed
        "train_files": work.path("own_train.txt"),
        "train_steps": 1,
    }
    assert work.train("own", **flags).status == 0
    for name, title in (("train.txt", "train_files"), ("vocab.txt", "token")):
        file = work.folder / f"own_{name}"
        lines = file.read_text().splitlines()
        lines[-2:] = lines[-2:][::-1]
        file.write_text("\n".join(lines) + "\n")
        other = work.train("own", **flags)
        assert other.status == 1
        (line,) = other.errors
        assert title in line
        assert f"{file} has changed" in line
        shutil.copy(work.path(name), file)
    again = work.train("own", **flags)
    assert again.status == 0, again.stderr
    assert "This run was finished before, at step 1." in again.stdout


def test_early_stopping_keeps_the_best_model(work: Workplace) -> None:
    finished = work.train(
        "best",
        best_metric="mlm_loss",
        early_stopping_patience=2,
        eval_every=2,
        learning_rate=0.5,
        warmup=0,
        schedule="constant",
        optimizer="adamw",
        train_steps=60,
        checkpoint_every=50,
    )
    assert finished.status == 0, finished.stderr
    log = [x for x in work.log("best") if "eval_mlm_loss" in x]
    losses = {line["step"]: line["eval_mlm_loss"] for line in log}
    best = min(losses, key=losses.__getitem__)
    results = work.json("best/train_results.json")
    assert results["best_step"] == best
    assert results["steps"] == best + 4 < 60
    held_out = work.json("best/eval_results.json")
    assert held_out["steps"] == best
    assert held_out["mlm_loss"] == losses[best]
    assert (work.folder / "best/best/model.safetensors").read_bytes() == (
        work.weights("best")
    )
    assert "improved" in finished.stderr
    # The figures are those of the weights in the folder.
    again = verbs.run("evaluate", f"--model_dir={work.path('best')}")
    assert again.status == 0, again.stderr
    assert work.json("best/eval_results.json")["mlm_loss"] == losses[best]


@pytest.fixture(scope="module")
def prepared(work: Workplace) -> str:
    folder = work.path("shards")
    prepare(
        PrepareConfig(
            input_files=work.path("train.txt"),
            output_dir=folder,
            tokenizer=work.path("vocab.txt"),
            instances=verbs.INSTANCES,
        )
    )
    return folder


def test_shards_give_the_same_run_as_text(
    work: Workplace, reference: Finished, prepared: str
) -> None:
    finished = work.train(
        "from_shards", train_files=prepared, eval_files=None, log_every=5
    )
    assert finished.status == 0, finished.stderr
    assert work.weights("from_shards") == work.weights("reference")
    # Steps 5 to 24 by five, and the last.
    steps = [line["step"] for line in work.log("from_shards")]
    assert steps == [5, 10, 15, 20, 24]


def test_sentence_order_whole_words_from_another_run(
    work: Workplace, reference: Finished
) -> None:
    finished = work.train(
        "sop",
        init_from=work.path("reference"),
        pair_objective="sop",
        masking="whole_word",
        train_steps=2,
        learning_rate=1e-6,
        eval_files=None,
        log_every=1,
    )
    assert finished.status == 0, finished.stderr
    assert "Initialised from" in finished.stderr
    # As good as where the other run ended, not as bad as where it began.
    first = work.log("sop")[0]["mlm_loss"]
    assert first < work.log("reference")[0]["mlm_loss"] - 1


def test_mlm_alone_over_spans_for_half_an_epoch(work: Workplace) -> None:
    finished = work.train(
        "mlm",
        pair_objective="none",
        masking="span",
        train_steps=None,
        epochs=0.5,
        accumulation_steps=2,
        optimizer="lamb",
        schedule="cosine",
        l2=1e-4,
        eval_every=1000,
        checkpoint_every=1000,
    )
    assert finished.status == 0, finished.stderr
    results = work.json("mlm/train_results.json")
    assert "nsp_loss" not in results
    steps = int(
        next(x for x in finished.errors if "steps per epoch" in x).split()[3]
    )
    assert results["steps"] == math.ceil(steps / 2)
    # Less often than the run is long: once, at its end.
    evaluations = [x for x in work.log("mlm") if "eval_loss" in x]
    assert [x["step"] for x in evaluations] == [results["steps"]]
    tensors = safetensors.numpy.load_file(work.path("mlm/model.safetensors"))
    assert not any("seq_relationship" in name for name in tensors)
    assert json.loads(pathlib.Path(work.path("mlm/config.json")).read_text())
    tokenizer = WordPieceTokenizer.from_file(work.path("mlm"))
    assert tokenizer.vocab == verbs.vocabulary()


def test_a_second_process_is_kept_out(work: Workplace) -> None:
    seen: list[Finished] = []

    def start_another(pid: int) -> None:
        signal_at(work, "locked", 4, 0)(pid)
        done = subprocess.run(
            [sys.executable, "-m", "tfllm.train", *work.flags("locked")],
            env=verbs.ENVIRONMENT,
            capture_output=True,
            text=True,
        )
        seen.append(Finished(done.returncode, done.stdout, done.stderr))
        os.kill(pid, signal.SIGTERM)

    first = work.train("locked", train_steps=50000, during=start_another)
    assert first.status == 143
    assert seen[0].status == 1
    assert "is in use" in seen[0].errors[-1]
