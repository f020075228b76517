"""The tables of a family: keys of config.json, published tensors."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from keras import ops

from tfllm.layers import AttentionConfig, TaskHeadConfig
from tfllm.models import (
    FAMILIES,
    ChoiceModel,
    PretrainingModel,
    SequenceModel,
    SpanModel,
    TokenModel,
)
from tfllm.models.family import class_names
from tfllm.models.published_keys import Field, PublishedKeys
from tfllm.models.weight_map import Weight, WeightTable

KEYS = PublishedKeys(
    "gpt2",
    {
        "width": ("hidden_size", 32),
        "heads": ("num_heads", 4),
        "act": ("activation", "gelu_new"),
        "head_dropout": ("classifier_dropout", None),
        "summary_dropout": ("classifier_dropout", 0.3),
        "tied": ("tied", True),
        "end": ("eos_token_id", None),
    },
    fixed={"is_decoder": False},
    invariants={"layerdrop": 0.0},
    derived={"head_width": lambda a: a["hidden_size"] // a["num_heads"]},
    constants={"use_cache": True},
    fields={"eos_token_id": Field(lambda *_: 7, "vocab_size", lambda v: v + 1)},
)


def test_keys_become_arguments() -> None:
    expected: dict[str, Any] = {
        "hidden_size": 32,
        "num_heads": 4,
        "activation": "gelu_tanh",
        "classifier_dropout": 0.3,
        "tied": True,
        "eos_token_id": 7,
    }
    assert KEYS.read({"is_decoder": False, "other": [1]}) == expected
    assert KEYS.read({"head_width": 8, "layerdrop": 0.0}) == expected
    assert KEYS.read({"head_width": None}) == expected
    found = KEYS.read({"width": 8, "act": "swish", "head_dropout": 0.0})
    changes = {"hidden_size": 8, "activation": "silu"}
    assert found == {**expected, **changes, "classifier_dropout": 0.0}


def test_an_activation_that_config_json_cannot_name() -> None:
    family = FAMILIES["openai-gpt"]
    config = family.config(activation="gelu")
    with pytest.raises(ValueError, match="'gelu_tanh'.*Received: 'gelu'"):
        family.to_published(config)


def test_a_config_becomes_keys() -> None:
    config = FAMILIES["gpt2"].size("tiny", vocab_size=50)
    assert KEYS.write(config) == {
        "model_type": "gpt2",
        "width": 128,
        "heads": 2,
        "act": "gelu_new",
        "head_dropout": 0.1,
        "summary_dropout": 0.1,
        "tied": True,
        "end": 51,
        "use_cache": True,
        "layerdrop": 0.0,
    }


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"is_decoder": True}, "`is_decoder` must be false.*True"),
        ({"layerdrop": 0.1}, "`layerdrop` must be 0.0.*0.1"),
        ({"head_width": 7}, "`head_width` must be 8.*7"),
        ({"heads": 5}, "`width` must be a multiple of `heads`.*heads=5"),
        ({"summary_dropout": None}, "`summary_dropout`.*None"),
        ({"tied": 1}, "`tied` must be true or false.*1"),
    ],
)
def test_values_outside_their_range(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KEYS.read(values)


def test_rows_of_a_table() -> None:
    table = WeightTable()
    part = table.part("model.layers.0", "transformer.blocks.0")
    config = AttentionConfig(
        12, 4, num_kv_heads=2, head_dim=5, output_bias=False
    )
    names = ("q_proj", "k_proj", "v_proj", "o_proj")
    part.attention(config, "self_attn.", names)
    part.norm("input_layernorm", "attention_norm", bias=False)
    table.heads("score", "", "", "qa", sequence_bias=False)
    ours = "transformer.blocks.0"
    theirs = "model.layers.0.self_attn"
    expected = []
    for name, columns in (("q", (0, 20)), ("k", (20, 30)), ("v", (30, 40))):
        layer, path = f"{theirs}.{name}_proj", f"{ours}.attention.qkv"
        expected += [
            Weight(f"{layer}.weight", f"{path}.kernel", "transpose", columns),
            Weight(f"{layer}.bias", f"{path}.bias", "copy", columns),
        ]
    assert table.rows == [
        *expected,
        Weight(
            f"{theirs}.o_proj.weight",
            f"{ours}.attention.output_projection.kernel",
            "transpose",
        ),
        Weight(
            "model.layers.0.input_layernorm.weight",
            f"{ours}.attention_norm.scale",
        ),
        Weight("score.weight", "sequence_classifier.kernel", "transpose"),
        Weight("qa.weight", "span_classifier.kernel", "transpose"),
        Weight("qa.bias", "span_classifier.bias"),
    ]


def test_names_of_published_classes() -> None:
    assert class_names("Bert", "masked_lm", causal_lm="Other") == {
        "masked_lm": "BertForMaskedLM",
        "causal_lm": "Other",
    }


def test_a_dense_layer_in_the_head_for_a_sequence() -> None:
    config = FAMILIES["bert"].config(
        num_layers=1,
        hidden_size=8,
        num_heads=2,
        vocab_size=20,
        max_position_embeddings=8,
        initializer_range=0.5,
    )
    head = dataclasses.replace(config.task_head, sequence_dense="tanh")
    model = SequenceModel(dataclasses.replace(config, task_head=head), 3)
    model.build()
    assert model.pooler is None
    tokens = np.array([[3, 4, 5]], "int32")
    x = ops.convert_to_numpy(model.transformer(tokens))[:, 0]
    for layer, act in (
        (model.sequence_dense, np.tanh),
        (model.sequence_classifier, lambda y: y),
    ):
        kernel, bias = layer.kernel.value, layer.bias.value
        x = act(x @ np.asarray(kernel) + np.asarray(bias))
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(tokens)), x, atol=1e-5
    )


def test_each_head_has_its_dropout() -> None:
    config = FAMILIES["bert"].config(num_layers=1, hidden_size=8, num_heads=2)
    head = TaskHeadConfig(0.1, token_dropout=0.2, span_dropout=0.3)
    changed = dataclasses.replace(config, task_head=head)
    for cls, usual, rate in (
        (SequenceModel, 0.1, 0.1),
        (ChoiceModel, 0.1, 0.1),
        (TokenModel, 0.1, 0.2),
        (SpanModel, 0.0, 0.3),
    ):
        assert cls(config).dropout.rate == usual
        assert cls(changed).dropout.rate == rate
        assert cls(changed.with_dropout(0.5)).dropout.rate == 0.5
    assert SpanModel(config.with_dropout(0.5)).dropout.rate == 0.0


def test_tables_of_another_width() -> None:
    config = FAMILIES["electra"].config(
        num_layers=1,
        hidden_size=8,
        num_heads=2,
        vocab_size=20,
        embedding_size=6,
        max_position_embeddings=8,
        initializer_range=0.5,
    )
    model = PretrainingModel(config, 0)
    model.build()
    embeddings, head = model.transformer.embeddings, model.masked_lm_head
    table = np.asarray(embeddings.token_table.value)
    assert table.shape == (20, 6)
    assert embeddings.positions.table.shape == (8, 6)
    assert embeddings.projection.kernel.shape == (6, 8)
    tokens = np.array([[3, 4, 5]], "int32")
    x = ops.convert_to_numpy(model.transformer(tokens))
    x = x @ np.asarray(head.dense.kernel.value)
    x = ops.convert_to_numpy(ops.gelu(x, approximate=False))
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(tokens)["mlm"]), x @ table.T, atol=1e-4
    )
