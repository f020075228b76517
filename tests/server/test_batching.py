"""Merging requests, with an engine that shows what it was given."""

import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from tfllm.runtime.c_loader import RuntimeFailure
from tfllm.server import batching_config
from tfllm.server.batching import Batcher
from tfllm.server.batching_config import BatchingConfig
from tfllm.server.deadlines import Deadline
from tfllm.server.metrics import Metrics
from tfllm.server.statuses import ServingError, from_runtime

NEVER = Deadline(None)


class Engine:
    """Doubles x; waits for `gate` before it answers."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.timeouts: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout_ms: int,
    ) -> dict[str, np.ndarray]:
        x = inputs["x"]
        self.timeouts.append(timeout_ms)
        self.batches.append(x.ravel().tolist())
        self.started.release()
        assert self.gate.wait(30)
        if -1 in x:
            raise ServingError("INVALID_ARGUMENT", "negative")
        if signature == "scalar":
            return {"y": x.sum()}
        if signature == "short":
            return {"y": x[:1]}
        return {"y": 2 * x}


def settings(**changes: object) -> BatchingConfig:
    return BatchingConfig(**{"num_batch_threads": 1, **changes})


def ask(
    batcher: Batcher, *values: int, deadline: Deadline = NEVER, name: str = ""
) -> list[int]:
    x = np.array(values)
    return batcher.run(name, {"x": x}, ["y"], deadline)["y"].tolist()


def held(
    engine: Engine, batcher: Batcher, pool: concurrent.futures.Executor
) -> "concurrent.futures.Future[list[int]]":
    """Starts a request that keeps the only thread until the gate opens."""
    engine.gate.clear()
    first = pool.submit(ask, batcher, 1000)
    assert engine.started.acquire(timeout=30)
    return first


def queued(
    batcher: Batcher, pool: concurrent.futures.Executor, *values: int
) -> "concurrent.futures.Future[list[int]]":
    """Starts a request, and returns once it waits in a queue."""
    before = rows_waiting(batcher)
    future = pool.submit(ask, batcher, *values)
    until(lambda: rows_waiting(batcher) == before + len(values))
    return future


def rows_waiting(batcher: Batcher) -> int:
    with batcher._changed:
        return sum(b.rows for q in batcher._queues.values() for b in q)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def pool():  # noqa: ANN201
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        yield pool


def test_requests_that_wait_are_merged(engine: Engine, pool) -> None:
    batcher = Batcher(engine, settings(), Metrics(), "m")
    first = held(engine, batcher, pool)
    more = [queued(batcher, pool, i, 10 * i) for i in range(3)]
    engine.gate.set()
    assert first.result() == [2000]
    assert [f.result() for f in more] == [[0, 0], [2, 20], [4, 40]]
    assert engine.batches == [[1000], [0, 0, 1, 10, 2, 20]]
    batcher.close()


def test_batches_are_filled_up_to_an_allowed_size(engine: Engine, pool) -> None:
    config = settings(max_batch_size=4, allowed_batch_sizes=(2, 4))
    batcher = Batcher(engine, config, Metrics(), "m")
    first = held(engine, batcher, pool)
    more = [queued(batcher, pool, i) for i in (1, 2, 3)]
    engine.gate.set()
    assert first.result() == [2000]
    assert [f.result() for f in more] == [[2], [4], [6]]
    assert engine.batches == [[1000, 1000], [1, 2, 3, 3]]
    batcher.close()


def test_a_full_queue_refuses(engine: Engine, pool) -> None:
    config = settings(max_batch_size=2, max_enqueued_batches=2)
    batcher = Batcher(engine, config, Metrics(), "m")
    first = held(engine, batcher, pool)
    more = [queued(batcher, pool, i) for i in range(4)]
    with pytest.raises(ServingError, match="is full") as error:
        ask(batcher, 5)
    assert error.value.code == "RESOURCE_EXHAUSTED"
    engine.gate.set()
    assert first.result() == [2000]
    assert [f.result() for f in more] == [[0], [2], [4], [6]]
    assert ask(batcher, 5) == [10]
    batcher.close()


def test_other_signatures_and_widths_are_not_merged(
    engine: Engine, pool
) -> None:
    batcher = Batcher(engine, settings(), Metrics(), "m")
    first = held(engine, batcher, pool)
    wide = pool.submit(batcher.run, "", {"x": np.array([[1, 2]])}, ["y"], NEVER)
    narrow = pool.submit(batcher.run, "", {"x": np.array([[3]])}, ["y"], NEVER)
    until(lambda: rows_waiting(batcher) == 2)
    engine.gate.set()
    first.result()
    assert wide.result()["y"].tolist() == [[2, 4]]
    assert narrow.result()["y"].tolist() == [[6]]
    assert sorted(engine.batches[1:]) == [[1, 2], [3]]
    # Shapes come from clients: nothing is kept of them.
    assert batcher._queues == {}
    batcher.close()


def test_one_bad_request_does_not_fail_the_others(engine: Engine, pool) -> None:
    batcher = Batcher(engine, settings(), Metrics(), "m")
    first = held(engine, batcher, pool)
    good, bad = queued(batcher, pool, 1), queued(batcher, pool, -1)
    engine.gate.set()
    first.result()
    assert good.result() == [2]
    with pytest.raises(ServingError, match="negative"):
        bad.result()
    batcher.close()


def test_a_request_larger_than_a_batch(engine: Engine) -> None:
    batcher = Batcher(engine, settings(max_batch_size=2), Metrics(), "m")
    with pytest.raises(
        ServingError,
        match="Task size 3 is larger than maximum input batch size 2",
    ):
        ask(batcher, 1, 2, 3)
    batcher.close()
    config = settings(
        max_batch_size=4,
        enable_large_batch_splitting=True,
        max_execution_batch_size=2,
    )
    batcher = Batcher(engine, config, Metrics(), "m")
    assert ask(batcher, 1, 2, 3, 4, 5) == [2, 4, 6, 8, 10]
    assert sorted(engine.batches) == [[1, 2], [3, 4], [5]]
    batcher.close()
    config = dataclasses.replace(config, max_enqueued_batches=1)
    batcher = Batcher(engine, config, Metrics(), "m")
    with pytest.raises(ServingError, match="is full"):
        ask(batcher, 1, 2, 3)
    assert ask(batcher, 1, 2) == [2, 4]
    batcher.close()


def test_a_timeout_waits_for_others(engine: Engine, pool) -> None:
    config = settings(batch_timeout_micros=30_000_000, max_batch_size=3)
    batcher = Batcher(engine, config, Metrics(), "m")
    found = [queued(batcher, pool, i) for i in range(2)]
    found.append(pool.submit(ask, batcher, 2))
    assert [f.result(10) for f in found] == [[0], [2], [4]]
    assert engine.batches == [[0, 1, 2]]
    batcher.close()
    config = settings(batch_timeout_micros=1000)
    batcher = Batcher(engine, config, Metrics(), "m")
    assert ask(batcher, 7) == [14]
    batcher.close()


def test_a_late_request_is_not_run(engine: Engine, pool) -> None:
    batcher = Batcher(engine, settings(), Metrics(), "m")
    first = held(engine, batcher, pool)
    with pytest.raises(ServingError) as error:
        ask(batcher, 5, deadline=Deadline(0.05))
    assert error.value.code == "DEADLINE_EXCEEDED"
    engine.gate.set()
    first.result()
    assert ask(batcher, 6) == [12]
    assert engine.batches == [[1000], [6]]
    batcher.close()


def test_deadlines() -> None:
    assert Deadline(None).left() is None
    # What gRPC says of a call without one.
    assert Deadline(9.2e18).left() is None
    assert Deadline(9.2e18).left_ms() == 0
    assert 9000 < Deadline(10).left_ms() <= 10_000
    assert Deadline(1e-9 + 0.01).left_ms() >= 1
    with pytest.raises(ServingError, match="Deadline Exceeded"):
        Deadline(-1).left()
    # The runtime may notice before the request's own thread does.
    with (
        pytest.raises(ServingError, match="^Deadline Exceeded$") as error,
        from_runtime(),
    ):
        raise RuntimeFailure(4, "Timed out waiting for notification")
    assert error.value.code == "DEADLINE_EXCEEDED"


@pytest.mark.parametrize(
    ("name", "words"),
    [("scalar", "has 0 dimensions"), ("short", "does not equal the sum")],
)
def test_outputs_without_the_rows(
    engine: Engine, name: str, words: str
) -> None:
    batcher = Batcher(engine, settings(), Metrics(), "m")
    with pytest.raises(ServingError, match=words) as error:
        ask(batcher, 1, 2, name=name)
    assert error.value.code == "FAILED_PRECONDITION"
    batcher.close()


def test_inputs_without_equal_rows(engine: Engine) -> None:
    batcher = Batcher(engine, settings(), Metrics(), "m")
    with pytest.raises(ServingError, match="at least one dimension"):
        batcher.run("", {"x": np.array(1)}, ["y"], NEVER)
    two = {"x": np.array([1]), "z": np.array([1, 2])}
    with pytest.raises(ServingError, match="equal 0th-dimension"):
        batcher.run("", two, ["y"], NEVER)
    batcher.close()


def test_closing_finishes_what_waits(engine: Engine, pool) -> None:
    config = settings(batch_timeout_micros=30_000_000)
    batcher = Batcher(engine, config, Metrics(), "m")
    waiting = queued(batcher, pool, 4)
    batcher.close()
    assert waiting.result() == [8]
    with pytest.raises(ServingError, match="unloading"):
        ask(batcher, 1)


def test_many_clients(engine: Engine, pool) -> None:
    config = settings(
        num_batch_threads=2, max_batch_size=8, max_enqueued_batches=99
    )
    batcher = Batcher(engine, config, Metrics(), "m")
    found = list(
        pool.map(lambda i: ask(batcher, *range(i, i + i % 4 + 1)), range(500))
    )
    assert found == [
        [2 * n for n in range(i, i + i % 4 + 1)] for i in range(500)
    ]
    assert max(map(len, engine.batches)) <= 8
    batcher.close()


def test_the_file_of_parameters(tmp_path) -> None:
    path = tmp_path / "batching_params.pbtxt"
    path.write_text(
        "max_batch_size { value: 32 }\nbatch_timeout_micros { value: 500 }\n"
        "max_enqueued_batches { value: 7 }\nnum_batch_threads { value: 2 }\n"
        'thread_pool_name { value: "pool" }\n'
        "allowed_batch_sizes: 8\nallowed_batch_sizes: 32\n"
        "pad_variable_length_inputs: true\n"
    )
    assert batching_config.read(str(path)) == BatchingConfig(
        32, 500, 7, 2, (8, 32), pad_variable_length_inputs=True
    )
    path.write_text("")
    assert batching_config.read(str(path)) == BatchingConfig()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch: 3", "no field named"),
        ("max_batch_size { value: 0 }", "`max_batch_size`.*Received: 0"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 4",
            r"`allowed_batch_sizes`.*8. Received: \[4\]",
        ),
    ],
)
def test_files_that_are_none(tmp_path, text: str, words: str) -> None:
    path = tmp_path / "batching_params.pbtxt"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        batching_config.read(str(path))


def test_a_batch_runs_until_nobody_waits_for_it(engine: Engine, pool) -> None:
    batcher = Batcher(engine, settings(), Metrics(), "m")
    first = held(engine, batcher, pool)
    hour, day = Deadline(3600), Deadline(86400)
    more = [
        pool.submit(ask, batcher, i, deadline=one)
        for i, one in enumerate((hour, day))
    ]
    until(lambda: rows_waiting(batcher) == 2)
    engine.gate.set()
    for future in (first, *more):
        future.result()
    # The first has no deadline; two have run at once, or one by one.
    assert engine.timeouts[0] == 0
    assert 3_600_000 < max(engine.timeouts) <= 86_400_000
    batcher.close()
