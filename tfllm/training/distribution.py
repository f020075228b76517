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


def check_batch_size(
    strategy: tf.distribute.Strategy, batch_size: int, accumulation_steps: int
) -> None:
    """Raises ValueError if a global batch has no equal parts."""
    parts = strategy.num_replicas_in_sync * accumulation_steps
    if batch_size % parts:
        raise ValueError(
            "`batch_size` must be a multiple of replicas x "
            f"`accumulation_steps` = {strategy.num_replicas_in_sync} x "
            f"{accumulation_steps}. Received: {batch_size}"
        )
