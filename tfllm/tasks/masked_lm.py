"""Masked language modelling, with or without a sentence objective."""

from collections.abc import Mapping
from typing import Any

import keras

from tfllm.models import PretrainingModel, TransformerConfig
from tfllm.models.config import PairObjective
from tfllm.tasks.batches import MODEL_INPUTS, Sums, Tensors
from tfllm.tasks.cross_entropy import cross_entropy_sums
from tfllm.tasks.targets import Target
from tfllm.tasks.task import Task


@keras.saving.register_keras_serializable("tfllm")
class MaskedLM(Task):
    """Masked language model, BERT's pretraining task, with sentence pairs.

    Args:
        config: TransformerConfig with a `masked_lm_head`.
        pair_objective: "nsp" (next sentence) and "sop" (sentence order)
            train the sequence head on `y["nsp"]`; "none" has no such head.
            None takes that of the family.
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
    is_labelled = False
    fills_masks = True
    heads = ("masked_lm", "pretraining")
    hub_tag = "fill-mask"
    pipeline = "fill-mask"
    feature_names = (*MODEL_INPUTS, "masked_positions")
    no_fit_on_texts = (
        "its labels are masked tokens. Use `open_masked_data` of "
        "`tfllm.data.masked.batches`, which masks anew in each epoch."
    )

    def __init__(
        self,
        config: TransformerConfig,
        pair_objective: PairObjective | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if pair_objective is None:
            pair_objective = config.pair_objective
        if pair_objective not in ("nsp", "sop", "none"):
            raise ValueError(
                "`pair_objective` must be 'nsp', 'sop' or 'none'. "
                f"Received: {pair_objective!r}"
            )
        if config.pair_objective == "none" and pair_objective != "none":
            raise ValueError(
                f"`pair_objective` must be 'none': the family {config.family} "
                f"has no head for pairs. Received: {pair_objective!r}"
            )
        self.config = config
        self.pair_objective = pair_objective
        self.objectives = (
            ("mlm",) if pair_objective == "none" else ("mlm", "nsp")
        )
        self.create_model(
            PretrainingModel,
            num_sequence_labels=0 if pair_objective == "none" else 2,
        )

    @classmethod
    def fits(cls, model: TransformerConfig) -> bool:
        """Returns True for encoders with a head for masked tokens."""
        return not model.generates and model.masked_lm_head is not None

    @classmethod
    def title_of(cls, kind: str) -> str:
        """Returns the usual name of the task."""
        return "masked language modelling"

    @classmethod
    def run_arguments(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the `pair_objective` of the run."""
        return {"pair_objective": settings["pair_objective"]}

    @property
    def data_settings(self) -> dict[str, Any]:
        """Flags that the data must have: `pair_objective`."""
        return {"pair_objective": self.pair_objective}

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        """Returns the logits `mlm`, [B, P or T, V], and `nsp`, [B, 2]."""
        return self.model(
            inputs["token_ids"],
            padding_mask=inputs.get("padding_mask"),
            segment_ids=inputs.get("segment_ids"),
            masked_positions=inputs.get("masked_positions"),
            training=training,
        )

    def targets(self) -> dict[str, Target]:
        """Returns the labels: `mlm` [B, P or T], and `nsp` [B]."""
        targets = {"mlm": Target("BT", size=self.config.vocab_size)}
        if self.pair_objective != "none":
            targets["nsp"] = Target(size=2)
        return targets

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        """Returns the sums of the cross-entropy and of the hits."""
        return {
            name: cross_entropy_sums(
                y[name], outputs[name], sample_weight[name]
            )
            for name in self.objectives
        }

    def get_config(self) -> dict[str, Any]:
        """Returns the JSON form of the constructor's arguments."""
        return {**super().get_config(), "pair_objective": self.pair_objective}
