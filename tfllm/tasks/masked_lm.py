"""Masked language modelling, with or without a sentence objective."""

from typing import Any, Literal

import keras

from tfllm.models import PretrainingModel, TransformerConfig
from tfllm.tasks.batches import Sums, Tensors
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.task import Task

PairObjective = Literal["nsp", "sop", "none"]


@keras.saving.register_keras_serializable("tfllm")
class MaskedLM(Task):
    """BERT's pretraining task: masked tokens and sentence pairs.

    Args:
        config: TransformerConfig with a `masked_lm_head`.
        pair_objective: "nsp" (next sentence) and "sop" (sentence order)
            train the sequence head on `y["nsp"]`; "none" has no such head.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.

    Call args:
        inputs: Dict of int32 `token_ids` [B, T], and optionally
            `segment_ids`, `padding_mask` [B, T], `masked_positions` [B, P].
        training: Apply dropout.

    Returns:
        Dict of `mlm`, float32 [B, P or T, V], and `nsp`, float32 [B, 2].

    Reference: Devlin et al., 2019, section 3.1; Lan et al., 2020, section
    3.1 (sentence order).
    """

    kind = "masked_lm"

    def __init__(
        self,
        config: TransformerConfig,
        pair_objective: PairObjective = "nsp",
        **kwargs: Any,
    ) -> None:
        """See the class."""
        super().__init__(**kwargs)
        if pair_objective not in ("nsp", "sop", "none"):
            raise ValueError(
                "`pair_objective` must be 'nsp', 'sop' or 'none'. "
                f"Received: {pair_objective!r}"
            )
        self.config = config
        self.pair_objective = pair_objective
        self.objectives = (
            ("mlm",) if pair_objective == "none" else ("mlm", "nsp")
        )
        self.model = PretrainingModel(
            config,
            num_sequence_labels=0 if pair_objective == "none" else 2,
            name="model",
            dtype=self.dtype_policy,
        )
        self.model.build()
        self.create_metrics()
        self.built = True

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """See the class."""
        return self.model(
            inputs["token_ids"],
            padding_mask=inputs.get("padding_mask"),
            segment_ids=inputs.get("segment_ids"),
            masked_positions=inputs.get("masked_positions"),
            training=training,
        )

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """See the base class."""
        return {
            name: cross_entropy_sums(
                y[name], outputs[name], sample_weight[name]
            )
            for name in self.objectives
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "pair_objective": self.pair_objective}
