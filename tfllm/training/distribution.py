"""Distributed training: strategies, workers, and the loss of a worker."""

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator

import tensorflow as tf

# TensorFlow 2.20 has no public name for these two.
from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
from tensorflow.python.eager import context

from tfllm.training.trainer_config import STRATEGIES

# A worker without a heartbeat for this time is lost. TensorFlow's default of 10
# seconds takes 10 to 20.
HEARTBEAT_SECONDS = 5
PROBE_SECONDS = 1


def create_strategy(name: str) -> tf.distribute.Strategy:
    """Creates the strategy of a run.

    "multi_worker" waits until all workers have started; it must be the first
    use of TensorFlow's devices.

    Args:
        name: "one_device"; "mirrored" over all GPUs, or over the logical CPUs
            without a GPU; "auto", which is mirrored with several GPUs, else
            one device; "multi_worker" over all GPUs, or one CPU each, of the
            workers in TF_CONFIG.

    Raises:
        ValueError: The strategy is unknown, or TF_CONFIG names no workers.
    """
    if name == "multi_worker":
        text = os.environ.get("TF_CONFIG", "")
        check_cluster(text)
        watch_workers(len(json.loads(text)["cluster"]["worker"]))
        return tf.distribute.MultiWorkerMirroredStrategy()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "auto":
        name = "mirrored" if len(gpus) > 1 else "one_device"
    if name == "one_device":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = gpus or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([d.name for d in devices])
    raise ValueError(
        f"`strategy` must be one of {list(STRATEGIES)}. Received: {name!r}"
    )


def watch_workers(count: int) -> None:
    """Makes TensorFlow notice lost workers within 10 seconds.

    Call it before the strategy is created.

    Args:
        count: Number of workers.
    """
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        heartbeat_timeout_in_ms=1000 * HEARTBEAT_SECONDS,
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(
                name="worker", num_tasks=count
            )
        ],
    )


def check_cluster(text: str) -> None:
    """Raises ValueError unless TF_CONFIG names all workers and this one.

    TensorFlow would take an incomplete value for a cluster of one.

    Args:
        text: Value of the environment variable TF_CONFIG.
    """
    form = (
        '{"cluster": {"worker": ["host1:port", "host2:port"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    try:
        values = json.loads(text)
        workers = values["cluster"]["worker"]
        kind, index = values["task"]["type"], values["task"]["index"]
        known = isinstance(workers, list) and kind == "worker"
        fits = known and index in range(len(workers))
    except (ValueError, KeyError, TypeError):
        fits = False
    if not fits:
        raise ValueError(
            "`strategy` multi_worker needs the environment variable "
            f"TF_CONFIG on each worker, such as {form}. Received: {text!r}"
        )


def check(
    strategy: tf.distribute.Strategy,
    batch_size: int,
    accumulation_steps: int,
    jit_compile: bool = False,
) -> None:
    """Raises ValueError for settings that do not go with a strategy.

    Args:
        strategy: Strategy of the run.
        batch_size: Number of examples in a global batch.
        accumulation_steps: Number of micro-batches per replica.
        jit_compile: Whether steps are compiled with XLA.
    """
    if jit_compile and strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "`jit_compile` does not go with more than one replica. "
            f"Received: {strategy.num_replicas_in_sync} replicas; give "
            "--strategy=one_device, or leave --jit_compile out"
        )
    parts = strategy.num_replicas_in_sync * accumulation_steps
    if batch_size % parts:
        raise ValueError(
            "`batch_size` must be a multiple of replicas x "
            f"`accumulation_steps` = {strategy.num_replicas_in_sync} x "
            f"{accumulation_steps}. Received: {batch_size}"
        )


class WorkerLost(ConnectionError):
    """Another worker ended or does not answer any more."""


class Workers:
    """The processes that train one model together; often only one.

    The first one is the chief. Only the chief writes; all read one
    `model_dir` on a shared file system.

    Args:
        strategy: Strategy of `create_strategy`.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        resolver = strategy.cluster_resolver
        spec = resolver.cluster_spec().as_dict() if resolver else {}
        self._addresses = spec.get("worker", [])
        self.count = max(len(self._addresses), 1)
        self.index = resolver.task_id if self.count > 1 else 0
        self._strategy = strategy
        self._sum = tf.function(self._sum_on_replicas, autograph=False)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.index == 0

    def _sum_on_replicas(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the sum over all replicas of all workers."""

        def reduce(value: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            # The copy puts the value on a device.
            return context.all_reduce(
                tf.distribute.ReduceOp.SUM, tf.identity(value)
            )

        return self._strategy.experimental_local_results(
            self._strategy.run(reduce, args=(value,))
        )[0]

    def sum(self, value: int) -> int:
        """Returns the sum over all workers, which must all call it."""
        if self.count == 1:
            return value
        total = int(self._sum(tf.constant(value, tf.int64)))
        # Each replica of a worker adds the value.
        return total * self.count // self._strategy.num_replicas_in_sync

    def agree(self, value: int) -> bool:
        """Returns whether all workers have the same value; all must call it."""
        chief = self.sum(value if self.is_chief else 0)
        return self.sum(abs(value - chief)) == 0

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """Runs a block on the chief first, then on the other workers.

        The others then find on disk what the chief has built.
        """
        if not self.is_chief:
            self.sum(0)
        yield
        if self.is_chief:
            self.sum(0)

    @contextlib.contextmanager
    def noticing_loss(self) -> Iterator[None]:
        """Turns TensorFlow's errors about a lost worker into WorkerLost.

        Raises:
            WorkerLost: Another worker ended or does not answer.
        """
        try:
            yield
        except tf.errors.OpError as error:
            lost = (tf.errors.UnavailableError, tf.errors.AbortedError)
            text = " ".join(error.message.split())
            if self.count == 1 or not (
                isinstance(error, lost) or "Collective ops is aborted" in text
            ):
                raise
            raise WorkerLost(
                f"worker {self.index} of {self.count} lost "
                f"{self._lost_worker(text)}; start all of them again: the same "
                "commands resume"
            ) from error

    def _lost_worker(self, text: str) -> str:
        """Returns the most likely lost worker, in words.

        Args:
            text: TensorFlow's message. It may name a worker that ended only
                because it lost another one.
        """
        others = {*range(self.count)} - {self.index}
        if len(others) == 1:
            return f"worker {others.pop()}"
        gone = [i for i in sorted(others) if not _answers(self._addresses[i])]
        # The other workers probe this one at the same time.
        time.sleep(PROBE_SECONDS)
        if gone:
            return "worker " + " and ".join(map(str, gone))
        named = {int(index) for index in re.findall(r"/task:(\d+)", text)}
        if named & others:
            return f"the connection to worker {min(named & others)}"
        return "another one"


def _answers(address: str) -> bool:
    """Returns whether a process listens at `host:port`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection(
            (host.strip("[]"), int(port)), PROBE_SECONDS
        ):
            return True
    except OSError:
        return False
