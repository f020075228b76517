"""The base class of models: a transformer with heads on top."""

from typing import Any, ClassVar

from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.heads import Pooler
from tfllm.models.bodies import Body, create_body
from tfllm.models.config import TransformerConfig


class TransformerModel(ConfiguredLayer):
    """A transformer with heads on top: the base class of all models.

    A subclass creates its heads in the constructor, in the order in which
    their weights are drawn, and implements `call`.

    Args:
        config: TransformerConfig.
        **kwargs: Keras' own `name`, `dtype` and `trainable`.
    """

    config_class = TransformerConfig
    # Key of `Family.architectures`.
    architecture: str
    # Prefixes of variables that a folder may hold and this model lacks.
    leaves_out: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(config, **kwargs)
        self.transformer = create_body(
            config, name="transformer", dtype=self.dtype_policy
        )

    @property
    def body(self) -> Body:
        """The model without its heads."""
        return self.transformer

    def parts_by_depth(self) -> list[list[ConfiguredLayer]]:
        """Returns the layers of each depth: the embeddings, then the blocks."""
        return self.transformer.parts_by_depth()

    def _create_pooler(self) -> Pooler | None:
        """Returns the family's pooler, or None if it has none."""
        if self.config.pooler is None:
            return None
        return Pooler(
            self.config.pooler, name="pooler", dtype=self.dtype_policy
        )
