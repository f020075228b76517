"""Merges concurrent requests into batches, as BatchingSession does.

Requests of the same signature, outputs and row shapes share a queue. A thread
takes the oldest batch that is full or has waited long enough, runs it, and
gives each request its rows.

NOTE: a full queue is RESOURCE_EXHAUSTED (429), where TensorFlow Serving says
UNAVAILABLE (503): load balancers treat a 503 as a server that is down.

Reference: tensorflow/serving 2.20, batching/batching_session.cc.
"""

import collections
import concurrent.futures
import dataclasses
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tfllm.server.batching_config import BatchingConfig
from tfllm.server.deadlines import Deadline
from tfllm.server.metrics import Metrics
from tfllm.server.statuses import (
    ServingError,
    expired,
    from_runtime,
    invalid_argument,
)

_Arrays = Mapping[str, np.ndarray]
# Signature, outputs, and shapes of the rows of each input: what requests of
# one batch share.
_Key = tuple[str, tuple[str, ...], tuple[tuple[str, tuple[int, ...]], ...]]


class Runner(Protocol):
    """Runs signatures."""

    def run(
        self,
        signature: str,
        inputs: _Arrays,
        outputs: Sequence[str],
        timeout_ms: int,
    ) -> dict[str, np.ndarray]:
        """Runs a signature; `timeout_ms` is 0 for no timeout."""


@dataclasses.dataclass
class _Task:
    """A waiting request, or a part of one."""

    inputs: _Arrays
    rows: int
    deadline: Deadline
    since: float = dataclasses.field(default_factory=time.perf_counter)
    result: "concurrent.futures.Future[dict[str, np.ndarray]]" = (
        dataclasses.field(default_factory=concurrent.futures.Future)
    )


@dataclasses.dataclass
class _Batch:
    """Requests that run together."""

    tasks: list[_Task]
    rows: int
    since: float


class Batcher:
    """Runs an engine on batches of requests, in its own threads.

    Args:
        engine: Runs the signatures.
        config: Sizes, waiting times and the length of the queue.
        metrics: Records waiting times and batch sizes.
        name: Model name, for the metrics.
    """

    def __init__(
        self,
        engine: Runner,
        config: BatchingConfig,
        metrics: Metrics,
        name: str,
    ) -> None:
        self._engine = engine
        self._config = config
        self._metrics = metrics
        self._name = name
        self._changed = threading.Condition()
        self._queues: dict[_Key, collections.deque[_Batch]] = {}
        self._closed = False
        self._threads = [
            threading.Thread(
                target=self._work, name=f"batch-{name}-{i}", daemon=True
            )
            for i in range(config.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def run(
        self,
        signature: str,
        inputs: _Arrays,
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> dict[str, np.ndarray]:
        """Queues a request and waits for its rows.

        Args:
            signature: Its name.
            inputs: Arrays by name, all of the same batch size.
            outputs: Names of the outputs to return.
            deadline: Time limit of the request.

        Raises:
            ServingError: The run fails, the queue is full, or time is up.
        """
        rows = _rows(inputs)
        if rows == 0:
            with from_runtime():
                return self._engine.run(
                    signature, inputs, outputs, deadline.left_ms()
                )
        if rows > self._config.max_batch_size and not (
            self._config.enable_large_batch_splitting
        ):
            raise invalid_argument(
                f"Task size {rows} is larger than maximum input batch size "
                f"{self._config.max_batch_size}"
            )
        size = self._config.execution_size
        tasks = [
            _Task(
                _part(inputs, start, start + size),
                min(size, rows - start),
                deadline,
            )
            for start in range(0, rows, size)
        ]
        shapes = tuple(
            (name, array.shape[1:]) for name, array in sorted(inputs.items())
        )
        self._enqueue((signature, tuple(outputs), shapes), tasks)
        try:
            parts = [task.result.result(deadline.left()) for task in tasks]
        except concurrent.futures.TimeoutError as error:
            for task in tasks:
                task.result.cancel()
            raise expired() from error
        if len(parts) == 1:
            return parts[0]
        return {
            name: np.concatenate([part[name] for part in parts])
            for name in parts[0]
        }

    def _enqueue(self, key: _Key, tasks: Sequence[_Task]) -> None:
        """Adds all tasks to the batches of a queue, or none of them."""
        with self._changed:
            if self._closed:
                raise ServingError("UNAVAILABLE", "The version is unloading.")
            queue = self._queues.get(key, collections.deque())
            free = self._config.max_enqueued_batches - len(queue)
            fits = bool(queue) and (
                queue[-1].rows + tasks[0].rows <= self._config.execution_size
            )
            if len(tasks) - fits > free:
                raise ServingError(
                    "RESOURCE_EXHAUSTED",
                    "The batch scheduling queue to which this task was "
                    "submitted is full; max_enqueued_batches is "
                    f"{self._config.max_enqueued_batches}",
                )
            self._queues[key] = queue
            for task in tasks:
                if fits:
                    queue[-1].tasks.append(task)
                    queue[-1].rows += task.rows
                    fits = False
                else:
                    queue.append(_Batch([task], task.rows, task.since))
            self._changed.notify(len(tasks))

    def _work(self) -> None:
        """Runs batches until the batcher is closed and the queue is empty."""
        while True:
            with self._changed:
                while (taken := self._take()) is None:
                    if self._closed and not self._queues:
                        return
                    self._changed.wait(self._next_timeout())
            key, batch = taken
            self._process(key, batch.tasks)

    def _take(self) -> tuple[_Key, _Batch] | None:
        """Takes the oldest batch that is due."""
        now, ready = time.perf_counter(), None
        for key, queue in self._queues.items():
            since = queue[0].since
            if self._is_ready(queue, now) and (
                ready is None or since < self._queues[ready][0].since
            ):
                ready = key
        if ready is None:
            return None
        batch = self._queues[ready].popleft()
        if not self._queues[ready]:
            # Clients choose outputs and shapes: no queue outlives its tasks.
            del self._queues[ready]
        return ready, batch

    def _is_ready(self, queue: "collections.deque[_Batch]", now: float) -> bool:
        return (
            self._closed
            or len(queue) > 1
            or queue[0].rows >= self._config.execution_size
            or now - queue[0].since >= self._config.batch_timeout_micros / 1e6
        )

    def _next_timeout(self) -> float | None:
        """Returns the seconds until the next batch is due."""
        if not self._queues:
            return None
        since = min(queue[0].since for queue in self._queues.values())
        end = since + self._config.batch_timeout_micros / 1e6
        return max(end - time.perf_counter(), 1e-4)

    def _process(self, key: _Key, tasks: list[_Task]) -> None:
        """Runs the tasks that have not timed out."""
        tasks = [t for t in tasks if t.result.set_running_or_notify_cancel()]
        if not tasks:
            return
        now = time.perf_counter()
        for task in tasks:
            self._metrics.queuing_latency.labels(self._name).observe(
                (now - task.since) * 1e6
            )
        try:
            results = self._run(key, tasks)
        except Exception as error:
            if len(tasks) > 1:
                # One request must not fail the others of its batch.
                for task in tasks:
                    self._run_alone(key, task)
            else:
                tasks[0].result.set_exception(error)
            return
        for task, result in zip(tasks, results, strict=True):
            task.result.set_result(result)

    def _run_alone(self, key: _Key, task: _Task) -> None:
        try:
            task.result.set_result(self._run(key, [task])[0])
        except Exception as error:
            task.result.set_exception(error)

    def _run(
        self, key: _Key, tasks: list[_Task]
    ) -> list[dict[str, np.ndarray]]:
        """Runs tasks as one batch; returns the rows of each."""
        signature, outputs, _ = key
        rows = sum(task.rows for task in tasks)
        size = self._config.padded(rows)
        self._metrics.batch_sizes.labels(self._name).observe(size)
        inputs = {}
        for name, last in tasks[-1].inputs.items():
            arrays = [task.inputs[name] for task in tasks]
            # Padding repeats a row that is known to be valid.
            arrays += [last[:1]] * (size - rows)
            inputs[name] = (
                arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
            )
        timeouts = [task.deadline.left_ms() for task in tasks]
        # The batch runs until its last request times out.
        timeout = max(timeouts) if all(timeouts) else 0
        with from_runtime():
            batch_outputs = self._engine.run(
                signature, inputs, outputs, timeout
            )
        for array in batch_outputs.values():
            if not array.ndim:
                raise ServingError(
                    "FAILED_PRECONDITION",
                    "Batched output tensor has 0 dimensions",
                )
            if array.shape[0] != size:
                raise ServingError(
                    "FAILED_PRECONDITION",
                    "Batched output tensor's 0th dimension does not equal "
                    "the sum of the 0th dimension sizes of the input tensors",
                )
        results, start = [], 0
        for task in tasks:
            results.append(_part(batch_outputs, start, start + task.rows))
            start += task.rows
        return results

    def close(self) -> None:
        """Finishes the queued requests and ends the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()


def _rows(inputs: _Arrays) -> int:
    """Returns the batch size, which all inputs share."""
    sizes = set()
    for array in inputs.values():
        if not array.ndim:
            raise invalid_argument(
                "Batching Run() input tensors must have at least one dimension"
            )
        sizes.add(array.shape[0])
    if len(sizes) != 1:
        raise invalid_argument(
            "Batching Run() input tensors must have equal 0th-dimension size"
        )
    return sizes.pop()


def _part(arrays: _Arrays, start: int, end: int) -> dict[str, np.ndarray]:
    return {name: array[start:end] for name, array in arrays.items()}
