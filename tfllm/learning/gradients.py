"""The gradient of a task over a global batch.

The loss is

    sum over objectives of  share * sum(weight * loss) / sum(weight)

The sums run over all replicas and micro-batches before anything is divided,
clipped or applied. So 1 replica, N replicas and accumulation give the same
weights on the same global batch.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfllm.layers.dropout import on_replica
from tfllm.learning import depth
from tfllm.learning.learner import Learner, MicroBatch, Pass, Sums, Tensors
from tfllm.learning.micro_batches import accumulate
from tfllm.learning.train_settings import TrainSettings

# Variables without weight decay and L1/L2 penalties.
UNDECAYED = ("bias", "scale")


class BatchGradients(NamedTuple):
    """Gradients and sums of a global batch, equal on all replicas.

    Attributes:
        gradients: Gradients of the trainable variables.
        sums: Sums that `objective_sums` returned.
        totals: Sums of the weights by objective, float32 scalars.
        penalty: L1 and L2 penalty, float32 scalar.
    """

    gradients: list[tf.Tensor]
    sums: Sums
    totals: Tensors
    penalty: Any


class Gradients:
    """Computes the gradients of a task, with its training methods.

    Args:
        task: Compiled task.
        settings: Settings of its `compile`.
    """

    def __init__(self, task: Learner, settings: TrainSettings) -> None:
        self._task = task
        self._settings = settings
        self._methods = settings.methods

    def of_batch(
        self, x: Tensors, y: Tensors, weights: Tensors
    ) -> BatchGradients:
        """Returns the gradients of a global batch.

        Args:
            x: Features of this replica's part.
            y: Labels by objective.
            weights: float32 weights by objective.
        """
        task, strategy = self._task, self._task.distribute_strategy
        totals = sum_over_replicas(
            strategy,
            {name: tf.reduce_sum(weights[name]) for name in task.objectives},
        )
        factors = {
            name: task.factor_of(name) / tf.maximum(total, 1e-9)
            for name, total in totals.items()
        }
        backward = self._backward_of_all()

        def compute(parts: Any) -> Any:
            x, y, weights, carried = parts
            computed = backward(MicroBatch(x, y, weights, factors, carried))
            return computed.gradients, computed.sums

        with on_replica(replica_number(strategy)):
            carried = {m.name: m.carry(task, x) for m in self._methods}
            accumulated = accumulate(
                compute,
                (x, y, weights, carried),
                self._settings.accumulation_steps,
            )
        gradients, sums = sum_over_replicas(strategy, accumulated)
        penalty, gradients = self._penalize(gradients)
        for method in self._methods:
            gradients = method.gradients(task, gradients, totals)
        return BatchGradients(gradients, sums, totals, penalty)

    def _backward_of_all(self) -> Callable[[MicroBatch], Pass]:
        """Returns the pass of a micro-batch, wrapped in all methods."""
        backward: Callable[[MicroBatch], Pass] = self._backward
        # The first method is the outermost.
        for method in reversed(self._methods):
            backward = _around(method.backward, self._task, backward)
        return backward

    def _backward(self, micro: MicroBatch) -> Pass:
        """Returns gradients and sums of a forward and a backward pass."""
        sources = [v.value for v in self._task.trainable_variables]
        with tf.GradientTape() as tape:
            if micro.shift is not None:
                tape.watch(micro.shift)
                sources.append(micro.shift)
            with depth.embeddings_of(self._task).shifted(micro.shift):
                loss, sums = self._forward(micro)
            scaled = self._task.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, sources, unconnected_gradients="zero")
        # A lookup gives IndexedSlices; sums over batches need dense.
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        slope = None if micro.shift is None else gradients.pop()
        return Pass(gradients, sums, slope)

    def _forward(self, micro: MicroBatch) -> tuple[tf.Tensor, Sums]:
        """Returns the loss to learn from, and the sums to report."""
        task = self._task
        outputs = task(micro.x, training=True)
        sums = task.measured_sums(micro.y, outputs, micro.weights)
        added = []
        for method in self._methods:
            sums, method_loss = method.loss(task, micro, outputs, sums)
            if method_loss is not None:
                added.append(method_loss)
        losses = [
            sums[name][0] * micro.factors[name] for name in task.objectives
        ]
        return tf.add_n([*losses, *added]), sums

    def _penalize(self, gradients: list[Any]) -> tuple[Any, list[Any]]:
        """Adds the L1 and L2 penalties, once per step."""
        l1, l2 = self._settings.l1, self._settings.l2
        if not l1 and not l2:
            return 0.0, gradients
        scale = self._task.optimizer.scale_loss(1.0)
        penalty = tf.zeros((), tf.float32)
        penalized = []
        for gradient, variable in zip(
            gradients, self._task.trainable_variables, strict=True
        ):
            if is_decayed(variable):
                value = tf.convert_to_tensor(variable.value)
                penalty += l1 * tf.reduce_sum(tf.abs(value))
                penalty += l2 * tf.reduce_sum(tf.square(value))
                gradient += scale * (l1 * tf.sign(value) + 2.0 * l2 * value)
            penalized.append(gradient)
        return penalty, penalized


def _around(
    hook: Callable[..., Pass],
    task: Learner,
    backward: Callable[[MicroBatch], Pass],
) -> Callable[[MicroBatch], Pass]:
    """Wraps a pass in the hook of one method."""
    return lambda micro: hook(task, micro, backward)


def after_update(task: Learner, settings: TrainSettings) -> None:
    """Calls `after_update` of the methods, once for all replicas."""
    if not settings.methods:
        return

    def call(strategy: tf.distribute.Strategy | None = None) -> None:
        for method in settings.methods:
            method.after_update(task)

    if task.distribute_strategy.num_replicas_in_sync == 1:
        call()
    else:
        # Outside of the replicas' threads, where variables are whole.
        tf.distribute.get_replica_context().merge_call(call)


def is_decayed(variable: keras.Variable) -> bool:
    """Returns whether weight decay applies: not to biases and norms."""
    return variable.path.rsplit("/", 1)[-1] not in UNDECAYED


def replica_number(strategy: tf.distribute.Strategy) -> Any:
    """Returns the number of this replica, from 0."""
    if strategy.num_replicas_in_sync == 1:
        return 0
    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group


def sum_over_replicas(strategy: tf.distribute.Strategy, values: Any) -> Any:
    """Returns the sums of nested tensors over all replicas."""
    if strategy.num_replicas_in_sync == 1:
        return values
    flat = tf.nest.flatten(values)
    context = tf.distribute.get_replica_context()
    reduced = context.all_reduce(tf.distribute.ReduceOp.SUM, flat)
    return tf.nest.pack_sequence_as(values, reduced)
