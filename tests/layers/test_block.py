import dataclasses

import numpy as np
import pytest
from keras import ops

from tfllm.layers import (
    AttentionConfig,
    BlockConfig,
    FeedForwardConfig,
    NormConfig,
    TransformerBlock,
)


def config(placement: str = "post", dropout: float = 0.0) -> BlockConfig:
    return BlockConfig(
        attention=AttentionConfig(12, num_heads=3),
        feed_forward=FeedForwardConfig(12, 20),
        norm=NormConfig(12),
        norm_placement=placement,
        dropout=dropout,
    )


X = np.random.default_rng(1).normal(size=(2, 5, 12)).astype("float32")


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_order_of_norms_and_residuals(placement: str) -> None:
    block = TransformerBlock(config(placement))
    block.build()
    rng = np.random.default_rng(0)
    for variable in block.trainable_variables:
        variable.assign(0.5 * rng.normal(size=variable.shape))
    first, second = block.attention_norm, block.feed_forward_norm
    if placement == "post":
        x = first(X + block.attention(X)[0])
        expected = second(x + block.feed_forward(x))
    else:
        x = X + block.attention(first(X))[0]
        expected = x + block.feed_forward(second(x))
    y, _ = block(X)
    np.testing.assert_allclose(
        ops.convert_to_numpy(y), ops.convert_to_numpy(expected), atol=1e-6
    )


def test_config_round_trip() -> None:
    block = TransformerBlock(config("pre", dropout=0.3), name="b")
    copy = TransformerBlock.from_config(block.get_config())
    assert copy.config == block.config
    assert copy.name == "b"


def test_widths_must_agree() -> None:
    with pytest.raises(ValueError, match=r"`hidden_size`.*\[12, 16\]"):
        BlockConfig(
            attention=AttentionConfig(12, num_heads=3),
            feed_forward=FeedForwardConfig(16, 20),
            norm=NormConfig(12),
        )


def test_config_of_another_layer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"must be a BlockConfig.*NormConfig"):
        TransformerBlock(NormConfig(12))


@pytest.mark.parametrize("placement", ["post", "pre"])
def test_cross_attention_comes_after_self_attention(placement: str) -> None:
    plain = config(placement)
    block = TransformerBlock(
        dataclasses.replace(plain, cross_attention=AttentionConfig(12, 4))
    )
    block.build()
    rng = np.random.default_rng(0)
    for variable in block.trainable_variables:
        variable.assign(0.5 * rng.normal(size=variable.shape))
    source = rng.normal(size=(2, 4, 12)).astype("float32")
    memory = block.cross_attention.read(source)
    norms = (
        block.attention_norm,
        block.cross_attention_norm,
        block.feed_forward_norm,
    )
    parts = (
        lambda x: block.attention(x)[0],
        lambda x: block.cross_attention(x, memory=memory)[0],
        block.feed_forward,
    )
    expected = X
    for norm, part in zip(norms, parts, strict=True):
        if placement == "post":
            expected = norm(expected + part(expected))
        else:
            expected = expected + part(norm(expected))
    y, _ = block(X, memory=memory)
    np.testing.assert_allclose(
        ops.convert_to_numpy(y), ops.convert_to_numpy(expected), atol=1e-5
    )


def test_a_source_has_no_future() -> None:
    with pytest.raises(ValueError, match=r"`cross_attention.causal`.*true"):
        dataclasses.replace(
            config(), cross_attention=AttentionConfig(12, 3, causal=True)
        )
