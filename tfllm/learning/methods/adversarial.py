"""Adversarial training with shifts of the token embeddings."""

import dataclasses
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tfllm.learning.methods.method import Method

if TYPE_CHECKING:
    import tensorflow as tf

    from tfllm.learning.learner import Learner, MicroBatch, Pass, Tensors

Kind = Literal["none", "fgm", "freelb"]


@dataclasses.dataclass(frozen=True)
class Adversarial(Method):
    """Trains with shifts of the token embeddings that make a batch harder.

    Attributes:
        kind: Adversarial training with shifts of the token embeddings: fgm
            (Miyato et al., 2017) adds the loss of the batch shifted along its
            gradient; freelb (Zhu et al., 2020) averages the gradients of
            ascent steps from a random shift.
        epsilon: Norm of the shift of an example for fgm; its largest norm for
            freelb, 0 for no limit.
        steps: Number of ascent steps of freelb.
        step_size: Norm of an ascent step of freelb.
        start_size: Largest norm of the random shift that freelb starts from.

    NOTE: unlike Miyato et al., fgm does not normalize the embeddings first:
    that would change a pretrained model.

    Reference: Miyato et al., 2017, section 3; Zhu et al., 2020, algorithm 1.
    """

    name: ClassVar[str] = "adversarial"
    one_pass: ClassVar[bool] = False

    kind: Kind = "none"
    epsilon: float = 1.0
    steps: int = 3
    step_size: float = 0.1
    start_size: float = 0.1

    def __post_init__(self) -> None:
        """Validates the fields."""
        kinds = typing.get_args(Kind)
        if self.kind not in kinds:
            raise ValueError(
                f"`adversarial` must be one of {list(kinds)}. "
                f"Received: {self.kind!r}"
            )
        if not self.is_on:
            return
        if self.steps < 1:
            raise ValueError(
                "`adversarial_steps` must be at least 1. Received: "
                f"{self.steps}"
            )
        positive = "epsilon" if self.kind == "fgm" else "step_size"
        for name in ("epsilon", "step_size", "start_size"):
            value = getattr(self, name)
            if value < 0.0 or (name == positive and value == 0.0):
                rule = "be positive" if name == positive else "not be negative"
                raise ValueError(
                    f"`adversarial_{name}` must {rule} for {self.kind}. "
                    f"Received: {value}"
                )

    def attach(self, task: "Learner") -> Any:
        """Returns the seeds of the random start shifts."""
        from tfllm.layers.dropout import ReplicaSeeds

        return ReplicaSeeds()

    def carry(self, task: "Learner", x: "Tensors") -> "Tensors":
        """Returns the start shifts, float32 [B, ..., T, D].

        They are drawn for the whole batch, so that they do not depend on the
        number of micro-batches.
        """
        from tfllm.learning import depth, embedding_shifts

        mask = embedding_shifts.real_tokens(x)
        size = depth.embeddings_of(task).config.table_size
        if self.kind == "fgm":
            return {"shift": embedding_shifts.no_shift(mask, size)}
        seed = task.method_state[self.name].next()
        return {
            "shift": embedding_shifts.random_shift(
                mask, size, seed, self.start_size
            )
        }

    def backward(
        self,
        task: "Learner",
        micro: "MicroBatch",
        backward: "Callable[[MicroBatch], Pass]",
    ) -> "Pass":
        """Returns the gradients of the passes with shifts."""
        import tensorflow as tf

        from tfllm.learning import embedding_shifts

        states = [
            variable
            for variable in task.non_trainable_variables
            if variable.path.endswith("seed_generator_state")
        ]
        before = [tf.identity(state.value) for state in states]

        def shifted(shift: "tf.Tensor") -> "Pass":
            # Only the shift differs between passes, not the dropout.
            for state, value in zip(states, before, strict=True):
                state.assign(value)
            return backward(micro._replace(shift=shift))

        start = micro.carried[self.name]["shift"]
        mask = embedding_shifts.real_tokens(micro.x)
        if self.kind == "fgm":
            return embedding_shifts.fast_gradient(
                shifted, start, mask, self.epsilon
            )
        return embedding_shifts.free_large_batch(
            shifted, start, mask, self.steps, self.step_size, self.epsilon
        )
