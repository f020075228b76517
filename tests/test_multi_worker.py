"""Two processes that train one model, against one process."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.verbs import ENVIRONMENT, Workplace

SETTINGS = {"train_steps": 12, "eval_every": 6, "checkpoint_every": 4}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("workers"))
    # Each replica would draw its own dropout.
    place.write_config(
        "config.json",
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return place


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("localhost", 0))
        return [each.getsockname()[1] for each in sockets]


def start_workers(
    place: Workplace, model_dir: str, **changes: int
) -> list[subprocess.Popen]:
    """Starts two workers; their output goes to files."""
    addresses = [f"localhost:{port}" for port in free_ports(2)]
    started = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        cluster = {"cluster": {"worker": addresses}, "task": task}
        with open(place.path(f"{model_dir}_{index}.txt"), "w") as output:
            started.append(
                subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "tfllm.train",
                        *place.flags(model_dir, **SETTINGS | changes),
                        "--strategy=multi_worker",
                    ],
                    env={**ENVIRONMENT, "TF_CONFIG": json.dumps(cluster)},
                    stdout=output,
                    stderr=output,
                )
            )
    return started


def finish(workers: list[subprocess.Popen]) -> list[int]:
    """Returns the exit statuses."""
    try:
        return [worker.wait(timeout=300) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()


def output(place: Workplace, model_dir: str, index: int) -> str:
    return pathlib.Path(place.path(f"{model_dir}_{index}.txt")).read_text(
        errors="replace"
    )


def wait_for_checkpoint(place: Workplace, model_dir: str) -> None:
    folder = place.path(f"{model_dir}/checkpoints")
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if os.path.exists(os.path.join(folder, "ckpt-4.index")):
            return
        time.sleep(0.05)
    pytest.fail("no checkpoint came")


def test_two_workers_are_one_run(place: Workplace) -> None:
    """Stopped by a signal to one of them, and started again."""
    assert place.train("one", **SETTINGS).status == 0
    workers = start_workers(place, "two")
    wait_for_checkpoint(place, "two")
    workers[1].send_signal(signal.SIGTERM)
    statuses = finish(workers)
    stopped = 128 + signal.SIGTERM
    assert statuses == [stopped, stopped], output(place, "two", 0)
    statuses = finish(start_workers(place, "two"))
    assert statuses == [0, 0], output(place, "two", 0)
    for index in range(2):
        assert "Resuming after step" in output(place, "two", index)
    one, two = (
        load_file(place.path(f"{name}/model.safetensors"))
        for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, atol=1e-5)
    alone, together = (
        place.json(f"{name}/eval_results.json") for name in ("one", "two")
    )
    assert together["loss"] == pytest.approx(alone["loss"], abs=1e-4)
    steps = [line["step"] for line in place.log("two") if "loss" in line]
    assert steps == sorted({*steps})
    assert steps[-1] == 12


@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_worker_ends_the_other(place: Workplace, victim: int) -> None:
    """It says which one is gone, and leaves the checkpoint."""
    name = f"lost_{victim}"
    workers = start_workers(place, name, train_steps=100_000)
    wait_for_checkpoint(place, name)
    workers[victim].kill()
    left = 1 - victim
    assert finish(workers)[left] == 1
    text = output(place, name, left)
    assert (
        f"error: worker {left} of 2 lost worker {victim}; start all of them "
        "again: the same commands resume\n"
    ) in text
    assert os.path.exists(place.path(f"{name}/checkpoints/ckpt-4.index"))
