"""The gradient of a task over a global batch.

It is that of

    sum over objectives of  share * sum(weight * loss) / sum(weight)

where the sums run over all replicas and all micro-batches before anything is
divided, clipped or applied. So 1 replica, N replicas and accumulation give
the same weights on the same global batch.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import keras
import tensorflow as tf

from tfllm.layers.dropout import on_replica
from tfllm.tasks import depth
from tfllm.tasks.batches import Sums, Tensors, real_tokens
from tfllm.tasks.micro_batches import accumulate

if TYPE_CHECKING:
    from tfllm.tasks.task import Task

# Variables that no weight decay and no L1/L2 penalty touches.
UNDECAYED = ("bias", "scale")


class Found(NamedTuple):
    """What a global batch gives, the same on all replicas.

    Attributes:
        gradients: Of the trainable variables.
        sums: What `objective_sums` returned.
        totals: float32 scalars by objective: the sums of the weights.
        penalty: float32 scalar, of L1 and L2.
    """

    gradients: list[tf.Tensor]
    sums: Sums
    totals: Tensors
    penalty: Any


class Gradients:
    """Computes gradients as a task's settings say.

    Args:
        task: A compiled task.
    """

    def __init__(self, task: "Task") -> None:
        """See the class."""
        self._task = task
        self._settings = task.settings

    def of_batch(self, x: Tensors, y: Tensors, weights: Tensors) -> Found:
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
            name: task.share_of(name) / tf.maximum(total, 1e-9)
            for name, total in totals.items()
        }
        with on_replica(replica_number(strategy)):
            found = accumulate(
                lambda batch: self._of_micro_batch(batch, factors),
                (x, y, weights, self._first_shifts(x)),
                self._settings.accumulation_steps,
            )
        gradients, sums = sum_over_replicas(strategy, found)
        penalty, gradients = self._penalize(gradients)
        return Found(gradients, sums, totals, penalty)

    def _of_micro_batch(self, batch: Any, factors: Tensors) -> Any:
        """Returns the gradients and sums of one micro-batch."""
        *batch, start = batch
        if self._settings.adversarial is None:
            gradients, sums, _ = self._backward(batch, factors)
            return gradients, sums
        states = self._random_states()
        before = [tf.identity(state.value) for state in states]

        def backward(shift: tf.Tensor) -> Any:
            # Only the shift differs from pass to pass, not the dropout.
            for state, value in zip(states, before, strict=True):
                state.assign(value)
            return self._backward(batch, factors, shift)

        return self._settings.adversarial.train(
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
        sources = [v.value for v in self._task.trainable_variables]
        embeddings = depth.transformer_of(self._task).embeddings
        with tf.GradientTape() as tape:
            if shift is not None:
                tape.watch(shift)
                sources.append(shift)
            with embeddings.shifted(shift):
                loss, sums = self._forward(batch, factors)
            scaled = self._task.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, sources, unconnected_gradients="zero")
        # A lookup gives IndexedSlices; sums over batches need dense.
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        slope = None if shift is None else gradients.pop()
        return gradients, sums, slope

    def _forward(self, batch: Any, factors: Tensors) -> tuple[tf.Tensor, Any]:
        """Returns the loss to learn from, and the sums to report."""
        x, y, weights = batch
        task, r_drop = self._task, self._settings.r_drop
        outputs = task(x, training=True)
        sums = task.objective_sums(y, outputs, weights)
        penalty = tf.zeros((), tf.float32)
        if r_drop:
            again = task(x, training=True)
            sums = tf.nest.map_structure(
                lambda a, b: (a + b) / 2.0,
                sums,
                task.objective_sums(y, again, weights),
            )
            apart = task.divergence_sums(outputs, again, weights)
            penalty = r_drop * tf.add_n(
                [apart[name] * factors[name] for name in task.objectives]
            )
        losses = [sums[name][0] * factors[name] for name in task.objectives]
        return tf.add_n([*losses, penalty]), sums

    def _first_shifts(self, x: Tensors) -> Tensors:
        """Returns the shifts that adversarial training starts from."""
        if self._settings.adversarial is None:
            return {}
        # For the whole batch: micro-batches then make no difference.
        return {
            "shift": self._settings.adversarial.start(
                real_tokens(x)[..., tf.newaxis],
                self._task.config.hidden_size,
                self._task.shift_seeds.next(),
            )
        }

    def _random_states(self) -> list[keras.Variable]:
        """Returns the states of all generators, those of dropout above all."""
        return [
            variable
            for variable in self._task.non_trainable_variables
            if variable.path.endswith("seed_generator_state")
        ]

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
