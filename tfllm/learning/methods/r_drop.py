"""R-Drop: two passes with different dropout, trained to agree."""

import dataclasses
from typing import TYPE_CHECKING, ClassVar

from tfllm.learning.methods.method import Method

if TYPE_CHECKING:
    import tensorflow as tf

    from tfllm.learning.learner import Learner, MicroBatch, Sums, Tensors


@dataclasses.dataclass(frozen=True)
class RDrop(Method):
    """Averages the losses of two passes and adds their divergence.

    Attributes:
        factor: Factor of the divergence between two passes with different
            dropout (R-Drop, Liang et al., 2021); 0 for one pass.

    Reference: Liang et al., 2021, section 2.
    """

    name: ClassVar[str] = "r_drop"

    factor: float = 0.0

    def loss(
        self,
        task: "Learner",
        micro: "MicroBatch",
        outputs: "Tensors",
        sums: "Sums",
    ) -> "tuple[Sums, tf.Tensor | None]":
        """Returns the mean sums of both passes, and their divergence."""
        import tensorflow as tf

        again = task(micro.x, training=True)
        sums = tf.nest.map_structure(
            lambda a, b: (a + b) / 2.0,
            sums,
            task.measured_sums(micro.y, again, micro.weights),
        )
        divergence = task.divergence_sums(outputs, again, micro.weights)
        return sums, self.factor * tf.add_n(
            [divergence[name] * micro.factors[name] for name in task.objectives]
        )
