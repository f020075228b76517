"""A model that tells the replaced tokens of a text from its own."""

from typing import Any, ClassVar

from tfllm.layers.heads import DetectionHead
from tfllm.models.config import TransformerConfig
from tfllm.models.task_models import TaskModel, Tokens


class DetectionModel(TaskModel):
    """Logit of each token to be a replaced one: a discriminator.

    Args:
        config: TransformerConfig with a `detection_head`.

    Call args: Those of TaskModel.

    Returns:
        float32 [B, T].

    Reference: Clark et al., 2020, section 3.
    """

    architecture = "replaced_token_detection"
    leaves_out: ClassVar[tuple[str, ...]] = ("pooler.",)

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        if config.detection_head is None:
            raise ValueError(
                "`config.detection_head` is needed to detect replaced tokens. "
                f"Received: None, family {config.family!r}"
            )
        self.detection_head = DetectionHead(
            config.detection_head,
            name="detection_head",
            dtype=self.dtype_policy,
        )

    def outputs(self, tokens: Tokens, training: bool) -> Any:
        """Returns the logits, float32 [B, T]."""
        return self.detection_head(self._hidden_states(tokens, training))
