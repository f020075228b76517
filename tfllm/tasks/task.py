"""The base of every task: a Keras model that trains exactly.

`fit`, `evaluate` and `predict` are Keras' own; this file replaces the one
step they call. The gradient is that of

    sum over objectives of  share * sum(weight * loss) / sum(weight)

over the global batch: the sums run over all replicas and all micro-batches
before anything is divided, clipped or applied. So 1 replica, N replicas and
accumulation give the same weights on the same global batch.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import keras
import tensorflow as tf

from tfllm.layers.dropout import ReplicaSeeds, on_replica
from tfllm.models import TransformerConfig
from tfllm.tasks import depth
from tfllm.tasks.adversarial import Adversarial
from tfllm.tasks.batches import Sums, Tensors, count_tokens, real_tokens
from tfllm.tasks.divergence import symmetric_divergence_sum
from tfllm.tasks.means import Perplexity, TotalLoss
from tfllm.tasks.micro_batches import accumulate

# Variables that no weight decay and no L1/L2 penalty touches.
UNDECAYED = ("bias", "scale")


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
    # Arguments that config.json has under published keys.
    published_arguments: ClassVar[tuple[str, ...]] = ()
    # Keras sets them; their types are ours.
    train_function: Any
    test_function: Any

    def __init__(self, **kwargs: Any) -> None:
        """See the class."""
        super().__init__(**kwargs)
        self.accumulation_steps = 1
        self.l1 = self.l2 = self.r_drop = 0.0
        self.adversarial: Adversarial | None = None
        self.layer_decay = 1.0
        self.freeze = ""
        # What the last calls of fit and evaluate read, for reports.
        self.input_wait_seconds = 0.0
        self.tokens_seen = 0

    def create_metrics(self) -> None:
        """Creates the running means that the logs show."""
        names = [
            f"{objective}_{kind}"
            for objective in self.objectives
            for kind in ("loss", self.measure_of(objective))
        ]
        self.means = {name: keras.metrics.Mean(name=name) for name in names}
        self.total_loss = TotalLoss(
            [
                (self.means[f"{name}_loss"], self.share_of(name))
                for name in self.objectives
            ],
            name="loss",
        )
        self.perplexities = {
            objective: Perplexity(name="perplexity")
            for objective in self.objectives
            if objective in ("mlm", "clm")
        }

    def measure_of(self, objective: str) -> str:
        """Returns the name of the second sum of `objective_sums`."""
        return "accuracy"

    def share_of(self, objective: str) -> float:
        """Returns the factor of an objective's mean loss in the loss."""
        return 1.0

    def default_weights(self, objective: str, y: tf.Tensor) -> tf.Tensor:
        """Returns the weights of an objective for which a batch has none."""
        return tf.ones(tf.shape(y), tf.float32)

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
        accumulation_steps: int = 1,
        l1: float = 0.0,
        l2: float = 0.0,
        r_drop: float = 0.0,
        adversarial: Adversarial | None = None,
        layer_decay: float = 1.0,
        freeze: str = "",
        jit_compile: bool = False,
        **kwargs: Any,
    ) -> None:
        """Sets the optimizer; losses and metrics are the task's own.

        Args:
            optimizer: A Keras optimizer or its name.
            accumulation_steps: Micro-batches that each replica splits its
                part of a batch into.
            l1: Factor of the sum of absolute weights in the loss.
            l2: Factor of the sum of squared weights in the loss. Biases and
                normalizations are left out of both.
            r_drop: Factor of the divergence between two forward passes with
                different dropout; their losses are averaged (Liang et al.,
                2021).
            adversarial: How to shift the token embeddings, or None.
            layer_decay: Factor of the learning rate from one layer to the
                one below: see `tfllm.tasks.depth.rate_factors`.
            freeze: Parts that do not learn, such as `embeddings,0-5`: see
                `tfllm.tasks.depth.freeze`.
            jit_compile: Compile the steps with XLA.
            **kwargs: As `keras.Model.compile`.

        Raises:
            ValueError: `accumulation_steps` is not positive, or Keras'
                inexact `gradient_accumulation_steps` is set as well; or the
                optimizer or the task has not what a setting needs.
        """
        if accumulation_steps < 1:
            raise ValueError(
                "`accumulation_steps` must be at least 1. "
                f"Received: {accumulation_steps}"
            )
        optimizer = keras.optimizers.get(optimizer)
        if getattr(optimizer, "gradient_accumulation_steps", None):
            raise ValueError(
                "`optimizer.gradient_accumulation_steps` averages over "
                "batches and not over tokens; use `accumulation_steps` of "
                "compile. Received: "
                f"{optimizer.gradient_accumulation_steps}"
            )
        if not 0.0 < layer_decay <= 1.0:
            raise ValueError(
                "`layer_decay` must be above 0 and at most 1. "
                f"Received: {layer_decay}"
            )
        depth.freeze(self, freeze)
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        self.accumulation_steps = accumulation_steps
        self.l1, self.l2 = l1, l2
        self.r_drop = r_drop
        self.adversarial = adversarial
        self.layer_decay = layer_decay
        self.freeze = freeze
        if adversarial is not None:
            with self.distribute_strategy.scope():
                self._shift_seeds = ReplicaSeeds()
        self._prepare_optimizer()

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns the JSON form of what `compile` was given, if it was."""
        if not self.compiled:
            return None
        return {
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "accumulation_steps": self.accumulation_steps,
            "l1": self.l1,
            "l2": self.l2,
            "r_drop": self.r_drop,
            "adversarial": self.adversarial
            and dataclasses.asdict(self.adversarial),
            "layer_decay": self.layer_decay,
            "freeze": self.freeze,
            "jit_compile": self.jit_compile,
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles with what `get_compile_config` returned."""
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        adversarial = config["adversarial"]
        if adversarial is not None:
            adversarial = Adversarial(**adversarial)
        self.compile(
            **{**config, "optimizer": optimizer, "adversarial": adversarial}
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
        if self.layer_decay != 1.0:
            if not hasattr(optimizer, "rate_factors"):
                raise ValueError(
                    "`layer_decay` needs an optimizer of "
                    "`tfllm.training.optimizers` with one rate per weight: "
                    "adamw, bert_adam, lamb or sgd. Received: "
                    f"{type(optimizer).__name__}"
                )
            optimizer.rate_factors = depth.rate_factors(self, self.layer_decay)
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
        return [
            self.total_loss,
            *self.means.values(),
            *self.perplexities.values(),
        ]

    def train_step(self, data: Any) -> Tensors:
        """Updates the weights once; returns the running means."""
        x, y, weights = self._unpack(data)
        totals = self._reduce_sum(
            {name: tf.reduce_sum(weights[name]) for name in self.objectives}
        )
        factors = {
            name: self.share_of(name) / tf.maximum(total, 1e-9)
            for name, total in totals.items()
        }
        with on_replica(self._replica_number()):
            gradients, sums = accumulate(
                lambda batch: self._gradients(batch, factors),
                (x, y, weights, self._first_shifts(x)),
                self.accumulation_steps,
            )
        gradients, sums = self._reduce_sum((gradients, sums))
        penalty, gradients = self._penalize(gradients)
        self.optimizer.apply(gradients, self.trainable_variables)
        return self._update_means(sums, totals, penalty)

    def test_step(self, data: Any) -> Tensors:
        """Returns the running means with this batch in them."""
        x, y, weights = self._unpack(data)
        sums = self.objective_sums(y, self(x, training=False), weights)
        totals = {
            name: tf.reduce_sum(weights[name]) for name in self.objectives
        }
        sums, totals = self._reduce_sum((sums, totals))
        return self._update_means(sums, totals, 0.0)

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

    def _gradients(self, batch: Any, factors: Tensors) -> Any:
        """Returns the gradients and sums of one micro-batch."""
        *batch, start = batch
        if self.adversarial is None:
            gradients, sums, _ = self._backward(batch, factors)
            return gradients, sums
        states = self._random_states()
        before = [tf.identity(state.value) for state in states]

        def backward(shift: tf.Tensor) -> Any:
            # Only the shift differs from pass to pass, not the dropout.
            for state, value in zip(states, before, strict=True):
                state.assign(value)
            return self._backward(batch, factors, shift)

        return self.adversarial.train(
            backward, start["shift"], real_tokens(batch[0])[..., tf.newaxis]
        )

    def _backward(
        self, batch: Any, factors: Tensors, shift: tf.Tensor | None = None
    ) -> tuple[list[tf.Tensor], Any, tf.Tensor | None]:
        """Returns gradients, sums, and the gradient of a shift.

        Args:
            batch: (x, y, weights) of a micro-batch.
            factors: Of the loss of each objective.
            shift: float32 [B, ..., T, D], added to the token embeddings.
        """
        sources = [v.value for v in self.trainable_variables]
        with tf.GradientTape() as tape:
            if shift is not None:
                tape.watch(shift)
                sources.append(shift)
            with depth.transformer_of(self).embeddings.shifted(shift):
                loss, sums = self._forward(batch, factors)
            scaled = self.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, sources, unconnected_gradients="zero")
        # A lookup gives IndexedSlices; sums over batches need dense.
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        slope = None if shift is None else gradients.pop()
        return gradients, sums, slope

    def _forward(self, batch: Any, factors: Tensors) -> tuple[tf.Tensor, Any]:
        """Returns the loss to learn from, and the sums to report."""
        x, y, weights = batch
        outputs = self(x, training=True)
        sums = self.objective_sums(y, outputs, weights)
        penalty = tf.zeros((), tf.float32)
        if self.r_drop:
            again = self(x, training=True)
            sums = tf.nest.map_structure(
                lambda a, b: (a + b) / 2.0,
                sums,
                self.objective_sums(y, again, weights),
            )
            apart = self.divergence_sums(outputs, again, weights)
            penalty = self.r_drop * tf.add_n(
                [apart[name] * factors[name] for name in self.objectives]
            )
        losses = [sums[name][0] * factors[name] for name in self.objectives]
        return tf.add_n([*losses, penalty]), sums

    def _first_shifts(self, x: Tensors) -> Tensors:
        """Returns the shifts that adversarial training starts from."""
        if self.adversarial is None:
            return {}
        # For the whole batch: micro-batches then make no difference.
        return {
            "shift": self.adversarial.start(
                real_tokens(x)[..., tf.newaxis],
                depth.transformer_of(self).embeddings.config.hidden_size,
                self._shift_seeds.next(),
            )
        }

    def _random_states(self) -> list[keras.Variable]:
        """Returns the states of all generators, those of dropout above all."""
        return [
            variable
            for variable in self.non_trainable_variables
            if variable.path.endswith("seed_generator_state")
        ]

    def _penalize(self, gradients: list[Any]) -> tuple[Any, list[Any]]:
        """Adds the L1 and L2 penalties, once per step."""
        if not self.l1 and not self.l2:
            return 0.0, gradients
        scale = self.optimizer.scale_loss(1.0)
        penalty = tf.zeros((), tf.float32)
        penalized = []
        for gradient, variable in zip(
            gradients, self.trainable_variables, strict=True
        ):
            if is_decayed(variable):
                value = tf.convert_to_tensor(variable.value)
                penalty += self.l1 * tf.reduce_sum(tf.abs(value))
                penalty += self.l2 * tf.reduce_sum(tf.square(value))
                gradient += scale * (
                    self.l1 * tf.sign(value) + 2.0 * self.l2 * value
                )
            penalized.append(gradient)
        return penalty, penalized

    def _replica_number(self) -> Any:
        """Returns the number of this replica, from 0."""
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return 0
        context = tf.distribute.get_replica_context()
        return context.replica_id_in_sync_group

    def _reduce_sum(self, values: Any) -> Any:
        """Returns the sums over all replicas."""
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return values
        flat = tf.nest.flatten(values)
        context = tf.distribute.get_replica_context()
        reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, flat)
        return tf.nest.pack_sequence_as(values, reduced)

    def _update_means(
        self, sums: dict[str, Any], totals: Tensors, penalty: Any
    ) -> Tensors:
        """Adds one global batch to the running means; returns them."""
        self.total_loss.update_state(penalty)
        for name in self.objectives:
            total = totals[name]
            mean_loss = tf.math.divide_no_nan(sums[name][0], total)
            self.means[f"{name}_loss"].update_state(mean_loss, total)
            self.means[f"{name}_{self.measure_of(name)}"].update_state(
                tf.math.divide_no_nan(sums[name][1], total), total
            )
            if name in self.perplexities:
                self.perplexities[name].update_state(mean_loss, total)
        return {metric.name: metric.result() for metric in self.metrics}


def is_decayed(variable: keras.Variable) -> bool:
    """Returns whether weight decay applies: not to biases and norms."""
    return variable.path.rsplit("/", 1)[-1] not in UNDECAYED
