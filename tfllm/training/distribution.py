"""Where a run computes: devices, strategies, determinism."""

import tensorflow as tf

STRATEGIES = ("auto", "one_device", "mirrored")


def create_strategy(name: str) -> tf.distribute.Strategy:
    """Returns the strategy of a run.

    Args:
        name: "one_device"; "mirrored" over all GPUs, or over the logical
            CPUs where there is no GPU; "auto" is mirrored if there are
            several GPUs.

    Raises:
        ValueError: There is no such strategy.
    """
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
