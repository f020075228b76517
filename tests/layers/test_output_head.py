from typing import Any

import numpy as np
import pytest
from keras import ops

from tfllm.layers import OutputHead, OutputHeadConfig

X = np.random.default_rng(1).normal(size=(2, 5, 4)).astype("float32")
TABLE = np.random.default_rng(2).normal(size=(9, 4)).astype("float32")


def build(**options: Any) -> OutputHead:
    head = OutputHead(OutputHeadConfig(4, 9, **options))
    head.build()
    rng = np.random.default_rng(0)
    for variable in head.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return head


def value(variable: Any) -> np.ndarray:
    return np.asarray(variable.value)


@pytest.mark.parametrize("few", [False, True])
def test_tied(few: bool) -> None:
    head = build()
    assert not head.variables
    logits = head(X, token_table=TABLE, few=few)
    np.testing.assert_allclose(
        ops.convert_to_numpy(logits), X @ TABLE.T, atol=1e-5
    )


@pytest.mark.parametrize("few", [False, True])
def test_every_switch(few: bool) -> None:
    head = build(tied=False, use_bias=True, scale=0.5)
    expected = 0.5 * X @ value(head.table).T + value(head.bias)
    logits = head(X, token_table=TABLE, few=few)
    np.testing.assert_allclose(
        ops.convert_to_numpy(logits), expected, atol=1e-5
    )


def test_a_bias_that_is_not_trained() -> None:
    head = build(use_bias=True, trains_bias=False)
    assert not head.trainable_variables
    head.bias.assign(np.arange(9.0))
    logits = head(X, token_table=TABLE)
    np.testing.assert_allclose(
        ops.convert_to_numpy(logits), X @ TABLE.T + np.arange(9.0), atol=1e-5
    )
