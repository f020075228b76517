"""A task of a few thousand weights and batches for it.

Run as a program, with keys of `COMPARISONS`, it trains on two logical CPUs and
prints, as JSON, how far the weights are from those of one replica.
"""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.tasks import labelled
from tfllm.learning.methods import Adversarial
from tfllm.learning.optimizers import OptimizerConfig, create
from tfllm.learning.schedules import ScheduleConfig
from tfllm.models import FAMILIES, TransformerConfig
from tfllm.tasks import MaskedLM

STEPS = 10
BATCH, LENGTH, SLOTS, VOCABULARY = 8, 8, 3, 40

Batch = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


def model_config(dropout: float = 0.0) -> TransformerConfig:
    return FAMILIES["bert"].config(
        num_layers=1,
        hidden_size=16,
        num_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=LENGTH,
        dropout=dropout,
    )


def batches(count: int = STEPS) -> list[Batch]:
    """Batches whose first rows have far fewer weighted tokens."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        ids = rng.integers(5, VOCABULARY, (BATCH, LENGTH)).astype("int32")
        lengths = rng.integers(3, LENGTH + 1, (BATCH, 1))
        shares = np.linspace(0.1, 1.0, BATCH)[:, np.newaxis]
        weights = rng.random((BATCH, SLOTS)) < shares
        weights[-1, 0] = True
        x = {
            "token_ids": ids,
            "segment_ids": (ids > 20).astype("int32"),
            "padding_mask": (np.arange(LENGTH) < lengths).astype("int32"),
            "masked_positions": np.sort(
                rng.integers(0, 3, (BATCH, SLOTS)), axis=1
            ).astype("int32"),
        }
        y = {
            "mlm": rng.integers(0, VOCABULARY, (BATCH, SLOTS)).astype("int32"),
            "nsp": rng.integers(0, 2, BATCH).astype("int32"),
        }
        sample_weight = {
            "mlm": weights.astype("float32"),
            "nsp": np.ones(BATCH, "float32"),
        }
        found.append((x, y, sample_weight))
    return found


def dataset(found: list[Batch]) -> tf.data.Dataset:
    def spec(value: np.ndarray) -> tf.TensorSpec:
        return tf.TensorSpec(value.shape, value.dtype)

    return tf.data.Dataset.from_generator(
        lambda: iter(found),
        output_signature=tf.nest.map_structure(spec, found[0]),
    ).apply(tf.data.experimental.assert_cardinality(len(found)))


def optimizer_of(name: str, clip_norm: float = 1.0) -> Any:
    if name == "keras":
        return keras.optimizers.AdamW(1e-3, global_clipnorm=clip_norm)
    return create(
        OptimizerConfig(name, clip_norm=clip_norm),
        ScheduleConfig(1e-2, STEPS, warmup=2),
    )


def train(
    optimizer: str = "bert_adam",
    strategy: Any = None,
    policy: str = "float32",
    found: list[Batch] | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[MaskedLM, dict[str, list[float]]]:
    """Returns a trained task and the history of its fit."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    try:
        with (strategy or tf.distribute.get_strategy()).scope():
            task = MaskedLM(model_config(dropout))
            task.compile(optimizer_of(optimizer), **options)
        history = task.fit(
            dataset(found or batches()), verbose=0, shuffle=False
        )
    finally:
        keras.config.set_dtype_policy("float32")
    return task, history.history


def difference(first: Any, second: Any, key_bias: bool = True) -> float:
    """Returns the largest difference of two weights.

    Without `key_bias` those biases do not count. They add the same to all
    scores of a query, so that their gradient is 0 but for rounding, which
    Adafactor divides by its own size.
    """
    return max(
        float(np.abs(a - b).max())
        for a, b in zip(
            _counted(first, key_bias), _counted(second, key_bias), strict=True
        )
    )


def _counted(task: Any, key_bias: bool) -> list[np.ndarray]:
    """Returns the weights that a difference is taken of."""
    found = []
    for variable in task.trainable_variables:
        value = np.array(variable.numpy())
        if variable.path.endswith("qkv/bias") and not key_bias:
            _, keys, _ = np.split(value, 3)
            keys[:] = 0.0  # a view of `value`
        found.append(value)
    return found


def compare_on_two_replicas(*names: str) -> dict[str, Any]:
    """Returns differences from one replica.

    Args:
        names: Keys of `COMPARISONS`.
    """
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    # One for all: TensorFlow mixes up the collectives of several.
    mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    found: dict[str, Any] = {}
    for name in names:
        found |= COMPARISONS[name](mirrored)
    return found


def compare_optimizer(name: str, strategy: Any) -> dict[str, float]:
    """Returns the differences of training with two micro-batches each."""
    one, history = train(name, l2=1e-3)
    both, again = train(name, strategy, accumulation_steps=2, l2=1e-3)
    return {
        f"{name} 2 x 2": difference(one, both, key_bias=name != "adafactor"),
        f"{name} loss": abs(history["loss"][-1] - again["loss"][-1]),
    }


def compare_evaluation(strategy: Any) -> dict[str, float]:
    """Returns the differences of training as it is by default."""
    one, _ = train()
    two, _ = train(strategy=strategy)
    evaluated = [t.evaluate(dataset(batches()), verbose=0) for t in (one, two)]
    return {
        "bert_adam 2 x 1": difference(one, two),
        "evaluate": float(np.abs(np.subtract(*evaluated)).max()),
    }


def compare_float16(strategy: Any) -> dict[str, float]:
    """Returns the difference in float16, and what a step too large changes."""
    halves, _ = train(strategy=strategy, policy="mixed_float16")
    whole, _ = train(policy="mixed_float16")
    found = {"mixed_float16 2 x 1": difference(whole, halves)}
    # Scaled past float16: the step must be left out on both replicas.
    before = [w.numpy() for w in halves.trainable_variables]
    halves.optimizer.dynamic_scale.assign(2.0**120)
    halves.fit(dataset(batches(1)), verbose=0, shuffle=False)
    found["scale"] = float(np.log2(halves.optimizer.dynamic_scale.numpy()))
    found["skipped"] = max(
        float(np.abs(w.numpy() - b).max())
        for w, b in zip(halves.trainable_variables, before, strict=True)
    )
    return found


def compare_given_metrics(strategy: Any) -> dict[str, float]:
    """Returns the differences of metrics that a user gave."""
    histories = []
    for scope in (tf.distribute.get_strategy(), strategy):
        with scope.scope():
            task = labelled.create("classification", "bert")
            task.compile(keras.optimizers.SGD(0.3), metrics=["accuracy", "ce"])
        data = [labelled.batch("classification", seed, 8) for seed in range(3)]
        history = task.fit(
            dataset(data), validation_data=dataset(data), verbose=0
        ).history
        histories.append({name: values[-1] for name, values in history.items()})
    one, both = histories
    assert one.keys() == both.keys()
    return {"given metrics": max(abs(one[n] - both[n]) for n in one)}


def compare_option(name: str, strategy: Any) -> dict[str, float]:
    """Returns the difference of what fine-tuning adds to the step."""
    options: dict[str, dict[str, Any]] = {
        "fgm": {
            "adversarial": Adversarial("fgm", epsilon=2.0),
            "layer_decay": 0.5,
            "freeze": "embeddings",
            "r_drop": 1.0,
        },
        # Its first shift is random: of another size, other numbers.
        "freelb": {
            "adversarial": Adversarial(
                "freelb", epsilon=0.3, step_size=0.2, start_size=0.0
            )
        },
    }
    one, _ = train("adamw", found=batches(3), **options[name])
    two, _ = train("adamw", strategy, found=batches(3), **options[name])
    return {name: difference(one, two)}


def compare_dropout(strategy: Any) -> dict[str, float]:
    """Returns how far training on two equal halves is from that on one.

    It would be the same, if both replicas dropped the same elements.
    """
    half = tf.nest.map_structure(lambda v: v[BATCH // 2 :], batches(3))
    twice = tf.nest.map_structure(lambda v: np.concatenate([v, v]), half)
    alone, _ = train(found=half, dropout=0.5)
    both, _ = train(strategy=strategy, found=twice, dropout=0.5)
    return {"dropout": difference(alone, both)}


def compare_labelled(name: str, strategy: Any) -> dict[str, float]:
    """Returns the difference of a task with labels, two micro-batches each."""
    tasks = []
    for scope, steps in ((tf.distribute.get_strategy(), 1), (strategy, 2)):
        with scope.scope():
            task = labelled.create(name, "bert")
            task.compile(keras.optimizers.SGD(0.3), accumulation_steps=steps)
        data = [labelled.batch(name, seed, rows=8) for seed in range(2)]
        task.fit(dataset(data), verbose=0, shuffle=False)
        tasks.append(task)
    return {name: difference(*tasks)}


# bert_adam and adamw are one class.
COMPARISONS: dict[str, Callable[[Any], dict[str, float]]] = {
    **{
        name: functools.partial(compare_optimizer, name)
        for name in ("adamw", "keras", "lamb", "sgd", "adafactor")
    },
    "evaluation": compare_evaluation,
    "float16": compare_float16,
    "given metrics": compare_given_metrics,
    "fgm": functools.partial(compare_option, "fgm"),
    "freelb": functools.partial(compare_option, "freelb"),
    "dropout": compare_dropout,
    "tagging": functools.partial(compare_labelled, "tagging"),
    "embedding": functools.partial(compare_labelled, "embedding"),
}

if __name__ == "__main__":
    print(json.dumps(compare_on_two_replicas(*sys.argv[1:])), file=sys.stdout)
