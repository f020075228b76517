"""The layers that a stack repeats."""

from tfllm.layers.block import TransformerBlock
from tfllm.layers.configured import ConfiguredLayer
from tfllm.layers.two_stream_block import TwoStreamBlock

# `StackConfig.block_kind` -> layer. Its config is a BlockConfig; it takes and
# returns what TransformerBlock does. A family with another block adds it here.
BLOCKS: dict[str, type[ConfiguredLayer]] = {
    "transformer": TransformerBlock,
    "two_stream": TwoStreamBlock,
}


def block_class(kind: str) -> type[ConfiguredLayer]:
    """Returns the layer class of a kind of block.

    Raises:
        ValueError: The kind is unknown.
    """
    if kind not in BLOCKS:
        raise ValueError(
            f"`block_kind` must be one of {sorted(BLOCKS)}. Received: {kind!r}"
        )
    return BLOCKS[kind]
