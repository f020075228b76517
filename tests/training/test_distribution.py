"""Strategies by name, and what does not go with them."""

import contextlib
import json
import socket
from typing import Any

import pytest
import tensorflow as tf

from tfllm.training import distribution


class TwoReplicas:
    num_replicas_in_sync = 2


def test_one_device_and_mirrored() -> None:
    one = distribution.create_strategy("one_device")
    assert one.num_replicas_in_sync == 1
    mirrored = distribution.create_strategy("mirrored")
    assert isinstance(mirrored, tf.distribute.MirroredStrategy)
    auto = distribution.create_strategy("auto")
    assert auto.num_replicas_in_sync >= 1


def test_unknown_strategy() -> None:
    with pytest.raises(ValueError, match="Received: 'tpus'"):
        distribution.create_strategy("tpus")


def cluster(worker: Any, **task: Any) -> str:
    return json.dumps({"cluster": {"worker": worker}, "task": task})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "two workers",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        cluster("a:1", type="worker", index=0),
        cluster(["a:1"], type="worker", index=1),
        cluster(["a:1"], type="chief", index=0),
    ],
)
def test_workers_without_a_cluster(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="needs the environment variable"):
        distribution.create_strategy("multi_worker")


def test_a_process_alone_is_the_chief() -> None:
    alone = distribution.Workers(tf.distribute.get_strategy())
    assert alone.is_chief
    assert alone.count == 1
    assert alone.sum(3) == 3
    assert alone.agree(7)
    with alone.chief_first():
        pass


def test_the_loss_of_a_worker_is_told_as_such() -> None:
    workers = distribution.Workers(tf.distribute.get_strategy())

    def fail(error: type[tf.errors.OpError], text: str) -> None:
        with workers.noticing_loss():
            raise error(None, None, text)

    with pytest.raises(tf.errors.UnavailableError):
        fail(tf.errors.UnavailableError, "a device")
    workers.count = 2
    with pytest.raises(ConnectionError, match="worker 0 of 2 lost worker 1;"):
        fail(tf.errors.UnavailableError, "socket closed")
    with pytest.raises(ConnectionError, match="the same commands resume"):
        fail(tf.errors.InternalError, "Collective ops is aborted by: x")
    with pytest.raises(tf.errors.InternalError):
        fail(tf.errors.InternalError, "something else")


@pytest.mark.parametrize(
    ("gone", "text", "named"),
    [
        # The message names one that ended because of the other.
        ([1], "from remote target /job:worker/replica:0/task:2", "worker 1"),
        ([1, 2], "socket closed", "worker 1 and 2"),
        ([], "/job:worker/task:0: /task:2", "the connection to worker 2"),
        ([], "socket closed", "another one"),
    ],
)
def test_the_lost_worker_is_named(
    monkeypatch: pytest.MonkeyPatch, gone: list[int], text: str, named: str
) -> None:
    monkeypatch.setattr(distribution, "PROBE_SECONDS", 0.1)
    workers = distribution.Workers(tf.distribute.get_strategy())
    with contextlib.ExitStack() as stack:
        ports = []
        for index in range(3):
            server = stack.enter_context(socket.create_server(("localhost", 0)))
            ports.append(server.getsockname()[1])
            if index in gone:
                server.close()
        workers.count = 3
        workers._addresses = [f"localhost:{port}" for port in ports]
        message = f"worker 0 of 3 lost {named}; start all of them again"
        with (
            pytest.raises(distribution.WorkerLost, match=message),
            workers.noticing_loss(),
        ):
            raise tf.errors.UnavailableError(None, None, text)


def test_batches_divide_into_replicas_and_micro_batches() -> None:
    distribution.check(TwoReplicas(), 12, 3)
    with pytest.raises(ValueError, match=r"2 x 3. Received: 10"):
        distribution.check(TwoReplicas(), 10, 3)


def test_xla_and_replicas_do_not_go_together() -> None:
    with pytest.raises(ValueError, match=r"`jit_compile` .* 2 replicas"):
        distribution.check(TwoReplicas(), 8, 1, jit_compile=True)
