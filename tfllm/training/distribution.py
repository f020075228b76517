"""Where a run computes: devices, strategies, several workers."""

import contextlib
import json
import os
from collections.abc import Iterator

import tensorflow as tf

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")


def create_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the strategy of a run.

    Args:
        name: "one_device"; "mirrored" over all GPUs, or over the logical
            CPUs where there is no GPU; "auto" is mirrored if there are
            several GPUs; "multi_worker" over all GPUs, or one CPU each, of
            the workers that TF_CONFIG names. It returns when all of them
            have come, and must be the first use of TensorFlow's devices.

    Raises:
        ValueError: There is no such strategy; or TF_CONFIG names no workers.
    """
    if name == "multi_worker":
        check_cluster(os.environ.get("TF_CONFIG", ""))
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


def check_cluster(text: str) -> None:
    """Raises ValueError unless TF_CONFIG names workers and one as this one.

    TensorFlow itself would take a part of it for a cluster of one.

    Args:
        text: The value of the environment variable.
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
    """Raises ValueError for settings that do not go with a strategy."""
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


class Workers:
    """The processes that train one model together, mostly one.

    The first is the chief: it alone writes. All of them read one
    `model_dir`, on a file system that they share.

    Args:
        strategy: Of `create_strategy`.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        """See the class."""
        resolver = strategy.cluster_resolver
        spec = resolver.cluster_spec().as_dict() if resolver else {}
        self.count = max(len(spec.get("worker", [])), 1)
        self.index = resolver.task_id if self.count > 1 else 0
        self._strategy = strategy
        self._sum = tf.function(self._sum_on_replicas, autograph=False)

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what the run leaves."""
        return self.index == 0

    def _sum_on_replicas(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the sum over all replicas of all workers."""

        def reduce(value: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            # Without the copy the value has no device to be summed on.
            return context.all_reduce(
                tf.distribute.ReduceOp.SUM, tf.identity(value)
            )

        return self._strategy.experimental_local_results(
            self._strategy.run(reduce, args=(value,))
        )[0]

    def sum(self, value: int) -> int:
        """Returns the sum over the workers; all of them must call it."""
        if self.count == 1:
            return value
        total = int(self._sum(tf.constant(value, tf.int64)))
        # Each replica of a worker gave the value.
        return total * self.count // self._strategy.num_replicas_in_sync

    def agree(self, value: int) -> bool:
        """Returns whether all workers have one value; all must call it."""
        chief = self.sum(value if self.is_chief else 0)
        return self.sum(abs(value - chief)) == 0

    @contextlib.contextmanager
    def chief_first(self) -> Iterator[None]:
        """The block runs on the chief, and then on the others.

        For what the chief builds and leaves on disk, where they find it.
        """
        if not self.is_chief:
            self.sum(0)
        yield
        if self.is_chief:
            self.sum(0)

    @contextlib.contextmanager
    def noticing_loss(self) -> Iterator[None]:
        """Turns the error of a worker that is gone into one that says so.

        Raises:
            ConnectionError: Another worker ended.
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
            raise ConnectionError(
                f"worker {self.index} of {self.count} lost another one; start "
                "all of them again: the same commands resume"
            ) from error
