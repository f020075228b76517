"""The base of every task: a Keras model that trains exactly.

`fit`, `evaluate` and `predict` are Keras' own; this file replaces the one
step they call. Its gradient is that of `gradients`, over the global batch.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfllm.layers.dropout import ReplicaSeeds
from tfllm.models import TransformerConfig
from tfllm.tasks import depth
from tfllm.tasks.batches import Sums, Tensors, count_tokens
from tfllm.tasks.divergence import symmetric_divergence_sum
from tfllm.tasks.gradients import Gradients, is_decayed, sum_over_replicas
from tfllm.tasks.means import Means
from tfllm.tasks.train_settings import TrainSettings


class Task(keras.Model):
    """A model with its objectives, losses and metrics.

    A subclass sets `kind`, its name in TASKS, `objectives` and `config`, a
    TransformerConfig, and implements `call` (features -> dict of outputs)
    and `objective_sums`. Batches are (x, y, sample_weight), flat dicts of
    tensors with one first axis; y and sample_weight have one entry per
    objective.

    Args:
        **kwargs: Keras' own `name`, `dtype` and `trainable`.
    """

    kind: str = ""
    objectives: tuple[str, ...] = ()
    config: TransformerConfig
    # Longest row where nobody says; None: that of the model.
    usual_length: int | None = None
    # Arguments that config.json has under published keys.
    published_arguments: ClassVar[tuple[str, ...]] = ()
    # Keras sets them; their types are ours.
    train_function: Any
    test_function: Any

    def __init__(self, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(**kwargs)
        self.settings = TrainSettings()
        # Ids, since Keras would take variables for more weights.
        self.frozen: frozenset[int] = frozenset()
        # What the last calls of fit and evaluate read, for reports.
        self.input_wait_seconds = 0.0
        self.tokens_seen = 0

    def create_metrics(self) -> None:
        """Creates the running means that the logs show."""
        self.means = Means(
            {name: self.measure_of(name) for name in self.objectives},
            {name: self.share_of(name) for name in self.objectives},
        )

    def measure_of(self, objective: str) -> str:
        """Returns the name of the second sum of `objective_sums`."""
        return "accuracy"

    def share_of(self, objective: str) -> float:
        """Returns the factor of an objective's mean loss in the loss."""
        return 1.0

    def default_weights(self, objective: str, y: tf.Tensor) -> tf.Tensor:
        """Returns the weights of an objective for which a batch has none."""
        return tf.ones(tf.shape(y), tf.float32)

    def row_length(self, asked: int | None = None) -> int:
        """Returns the longest row that the task reads after training.

        Args:
            asked: What a user asked for, else what training had; None or 0
                where neither is known.

        Raises:
            ValueError: It is longer than the model's, or there is no limit.
        """
        limit = self.config.max_length
        if not asked:
            known = [n for n in (self.usual_length, limit) if n is not None]
            if not known:
                raise ValueError(
                    "`seq_length` is needed for a model without a longest "
                    "sequence. Received: 0. Use that of its training."
                )
            return min(known)
        if limit is not None and asked > limit:
            raise ValueError(
                f"`seq_length` must be at most {limit}, the longest of the "
                f"model. Received: {asked}"
            )
        return asked

    def to_published(self) -> dict[str, Any]:
        """Returns what a task adds to the published keys of config.json."""
        return {}

    @classmethod
    def from_published(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Returns the arguments that a config.json's published keys say.

        Args:
            values: All of config.json.

        Raises:
            ValueError: One of the keys says what the task cannot be.
        """
        return {}

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "config": self.config.to_dict(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        """Builds the task from what `get_config` returned."""
        model = TransformerConfig.from_dict(config["config"])
        return cls(**{**config, "config": model})

    def compile(  # type: ignore[override]
        self,
        optimizer: Any = "adamw",
        *,
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """Sets the optimizer; losses and metrics are the task's own.

        Args:
            optimizer: A Keras optimizer or its name.
            jit_compile: Compile the steps with XLA.
            **kwargs: Fields of `TrainSettings`, such as
                `accumulation_steps`; the others as `keras.Model.compile`.

        Raises:
            ValueError: A setting is not valid, or the optimizer or the task
                has not what it needs; or Keras' inexact
                `gradient_accumulation_steps` is set.
        """
        own = TrainSettings.names() & kwargs.keys()
        settings = TrainSettings(**{name: kwargs.pop(name) for name in own})
        optimizer = keras.optimizers.get(optimizer)
        if getattr(optimizer, "gradient_accumulation_steps", None):
            raise ValueError(
                "`optimizer.gradient_accumulation_steps` averages over "
                "batches and not over tokens; use `accumulation_steps` of "
                "compile. Received: "
                f"{optimizer.gradient_accumulation_steps}"
            )
        self.frozen = depth.freeze(self, settings.freeze, self.frozen)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        self.settings = settings
        if settings.adversarial is not None:
            with self.distribute_strategy.scope():
                self.shift_seeds = ReplicaSeeds()
        self._prepare_optimizer()

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns the JSON form of what `compile` was given, if it was."""
        if not self.compiled:
            return None
        return {
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            **self.settings.to_dict(),
            "jit_compile": self.jit_compile,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what `get_compile_config` returned."""
        settings = TrainSettings.from_dict(
            {name: config[name] for name in TrainSettings.names()}
        )
        self.compile(
            keras.saving.deserialize_keras_object(config["optimizer"]),
            jit_compile=config["jit_compile"],
            **vars(settings),
        )

    def _prepare_optimizer(self) -> None:
        """Builds the slots and leaves the reduction to the train step."""
        wrapped = getattr(self.optimizer, "inner_optimizer", None)
        optimizer = wrapped or self.optimizer
        if not optimizer.built:
            optimizer.exclude_from_weight_decay(
                var_list=[
                    v for v in self.trainable_variables if not is_decayed(v)
                ]
            )
        if self.settings.layer_decay != 1.0:
            if not hasattr(optimizer, "rate_factors"):
                raise ValueError(
                    "`layer_decay` needs an optimizer of "
                    "`tfllm.training.optimizers` with one rate per weight: "
                    "adamw, bert_adam, lamb or sgd. Received: "
                    f"{type(optimizer).__name__}"
                )
            optimizer.rate_factors = depth.rate_factors(
                self, self.settings.layer_decay
            )
        # NOTE: Keras would sum the gradients over the replicas a second
        # time, and after clipping; ours arrive summed.
        optimizer._all_reduce_sum_gradients = list
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns (sum of weighted losses, sum of a weighted measure).

        The measure is the one `measure_of` names, by default hits.

        Args:
            y: Labels by objective.
            outputs: What `call` returned.
            sample_weight: float32 weights by objective.

        Returns:
            Two float32 scalars by objective.
        """
        raise NotImplementedError

    def divergence_sums(
        self, one: Tensors, other: Tensors, sample_weight: Tensors
    ) -> dict[str, tf.Tensor]:
        """Returns how far two outputs of the same batch are apart.

        Args:
            one: What `call` returned; logits of classes.
            other: What it returned with other dropout.
            sample_weight: float32 weights by objective.

        Returns:
            float32 scalars by objective: weighted sums.
        """
        return {
            name: symmetric_divergence_sum(
                one[name], other[name], sample_weight[name]
            )
            for name in self.objectives
        }

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The running means, reset by Keras where it should."""
        return self.means.metrics

    def train_step(self, data: Any) -> Tensors:
        """Updates the weights once; returns the running means."""
        found = Gradients(self).of_batch(*self._unpack(data))
        self.optimizer.apply(found.gradients, self.trainable_variables)
        return self.means.update(found.sums, found.totals, found.penalty)

    def test_step(self, data: Any) -> Tensors:
        """Returns the running means with this batch in them."""
        x, y, weights = self._unpack(data)
        sums = self.objective_sums(y, self(x, training=False), weights)
        totals = {
            name: tf.reduce_sum(weights[name]) for name in self.objectives
        }
        sums, totals = sum_over_replicas(
            self.distribute_strategy, (sums, totals)
        )
        return self.means.update(sums, totals)

    def make_train_function(self, force: bool = False) -> Any:
        """Returns the function that `fit` calls with its iterator."""
        if self.train_function is None or force:
            self.train_function = self._make_step(self.train_step)
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Returns the function that `evaluate` calls with its iterator."""
        if self.test_function is None or force:
            self.test_function = self._make_step(self.test_step)
        return self.test_function

    def _make_step(self, step: Callable[[Any], Tensors]) -> Any:
        """Returns step(next(iterator)) on every replica.

        NOTE: Keras' own reduces the logs over the replicas, which fails for
        MultiWorkerMirroredStrategy; ours are equal on all of them.
        """
        strategy = self.distribute_strategy
        if self.jit_compile and strategy.num_replicas_in_sync > 1:
            raise ValueError(
                "`jit_compile` does not go with more than one replica. "
                f"Received: {strategy.num_replicas_in_sync} replicas"
            )

        def run(data: Any) -> Tensors:
            return strategy.run(step, args=(data,))

        if not self.run_eagerly:
            run = tf.function(
                run,
                reduce_retracing=True,
                jit_compile=self.jit_compile,
                autograph=False,
            )

        def function(iterator: Iterator[Any]) -> Tensors:
            start = time.perf_counter()
            data = next(iterator)
            self.input_wait_seconds += time.perf_counter() - start
            self.tokens_seen += count_tokens(strategy, data)
            return keras.tree.map_structure(
                lambda log: strategy.experimental_local_results(log)[0],
                run(data),
            )

        return function

    def _maybe_symbolic_build(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the constructor built all weights.

        NOTE: Keras would average the first batch over the replicas, which
        fails for integers and for several workers.
        """

    def _unpack(self, data: Any) -> tuple[Tensors, Tensors, Tensors]:
        """Returns x, y and float32 weights for every objective."""
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        missing = [name for name in self.objectives if name not in (y or {})]
        if missing:
            raise ValueError(
                f"a batch must be (x, y, sample_weight) with {missing} in y. "
                f"Received: y with {sorted(y or {})}"
            )
        weights = weights or {}
        return (
            x,
            y,
            {
                name: tf.cast(weights[name], tf.float32)
                if name in weights
                else self.default_weights(name, y[name])
                for name in self.objectives
            },
        )
