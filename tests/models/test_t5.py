"""T5 and mT5: initial values, and what their files say about ties."""

import json
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import safetensors.numpy

from tfllm.interop import model_folder
from tfllm.models import FAMILIES, LanguageModel

ARGUMENTS = {
    "num_layers": 2,
    "hidden_size": 16,
    "num_heads": 3,
    "head_dim": 5,
    "intermediate_size": 24,
    "vocab_size": 40,
}
KEYS = {
    "model_type": "t5",
    "num_layers": 2,
    "d_model": 16,
    "num_heads": 3,
    "d_kv": 5,
    "d_ff": 24,
    "vocab_size": 40,
}
COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
UNUSED = (
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
)


def build(**changes: Any) -> LanguageModel:
    keras.utils.set_random_seed(0)
    model = LanguageModel(FAMILIES["t5"].config(**{**ARGUMENTS, **changes}))
    model.build()
    return model


@pytest.mark.parametrize("family", ["t5", "mt5"])
def test_initial_values_are_the_published_ones(family: str) -> None:
    d, heads, h, f = 128, 6, 16, 200
    config = FAMILIES[family].config(
        num_layers=1,
        hidden_size=d,
        num_heads=heads,
        head_dim=h,
        intermediate_size=f,
        vocab_size=300,
        initializer_factor=2.0,
        gated=True,
        tied=False,
    )
    model = LanguageModel(config)
    model.build()
    inner = heads * h
    # As T5PreTrainedModel of Transformers draws them.
    expected = {
        "token_table": 1.0,
        "lm_head/table": 1.0,
        "output_projection/kernel": inner**-0.5,
        "up/kernel": d**-0.5,
        "gate/kernel": d**-0.5,
        "down/kernel": f**-0.5,
        "relative_bias/table": d**-0.5,
    }
    for variable in model.trainable_variables:
        value = np.asarray(variable.value)
        if variable.name == "scale":
            assert (value == 1.0).all()
        elif "qkv" in variable.path:
            queries, rest = value[:, :inner], value[:, inner:]
            assert_drawn(queries, 2.0 * (d * h) ** -0.5)
            assert_drawn(rest, 2.0 * d**-0.5)
        else:
            end = next(e for e in expected if variable.path.endswith(e))
            assert_drawn(value, 2.0 * expected[end])


def assert_drawn(value: np.ndarray, deviation: float) -> None:
    """A normal that is cut at two deviations has 0.88 of its deviation."""
    assert np.abs(value).max() <= 2.0 * deviation * 1.001
    assert abs(value.std() / deviation - 0.88) < 4.0 / value.size**0.5


def write(
    folder: pathlib.Path, tensors: dict[str, np.ndarray], **keys: Any
) -> None:
    (folder / "config.json").write_text(json.dumps({**KEYS, **keys}))
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


def tensors_of(model: LanguageModel, folder: pathlib.Path) -> dict[str, Any]:
    model_folder.save(model, folder)
    return safetensors.numpy.load_file(folder / "model.safetensors")


V1_1 = {"feed_forward_proj": "gated-gelu"}


@pytest.mark.parametrize(
    ("tensors", "keys", "tied", "scaled"),
    [
        # T5 1.0: as Transformers 4 and 5 write it, and with copies.
        ("tied", {}, True, True),
        ("tied", {"tie_word_embeddings": True}, True, True),
        ("copies", {}, True, True),
        # T5 1.1 and Flan-T5: as published, and saved again by Transformers 5.
        ("untied", {**V1_1, "tie_word_embeddings": False}, False, False),
        (
            "untied",
            {
                **V1_1,
                "tie_word_embeddings": True,
                "scale_decoder_outputs": False,
            },
            False,
            False,
        ),
        # Made by Transformers 5: tied, as all of its new models are.
        ("tied", {"scale_decoder_outputs": False}, True, False),
        ("untied", {"scale_decoder_outputs": True}, False, True),
    ],
)
def test_what_is_tied(
    tensors: str,
    keys: dict[str, Any],
    tied: bool,
    scaled: bool,
    tmp_path: pathlib.Path,
) -> None:
    gated = "feed_forward_proj" in keys
    activation = "gelu_tanh" if gated else "relu"
    model = build(gated=gated, activation=activation, tied=tensors != "untied")
    stored = tensors_of(model, tmp_path)
    assert ("lm_head.weight" in stored) == (tensors == "untied")
    if tensors == "copies":
        for name in (*COPIES, "lm_head.weight"):
            stored[name] = stored["shared.weight"].copy()
        stored[UNUSED] = np.zeros((32, 3), "float32")
    write(tmp_path, stored, **keys)
    config = model_folder.read_config(tmp_path)[1]
    assert config.output_head.tied == tied
    assert config.output_head.scale == (16**-0.5 if scaled else 1.0)
    again = LanguageModel(config)
    again.build()
    assert not model_folder.load_weights(again, tmp_path)
    published = FAMILIES["t5"].to_published(config)
    assert published["scale_decoder_outputs"] == scaled
    assert published["tie_word_embeddings"] == tied


def test_copies_that_differ_are_reported(tmp_path: pathlib.Path) -> None:
    stored = tensors_of(build(), tmp_path)
    stored[COPIES[1]] = stored["shared.weight"] + 1.0
    write(tmp_path, stored)
    config = model_folder.read_config(tmp_path)[1]
    with pytest.raises(ValueError, match=r"unexpected.*decoder\.embed_tokens"):
        model_folder.load_weights(LanguageModel(config), tmp_path)


@pytest.mark.parametrize(
    ("name", "activation", "gated", "written"),
    [
        ("relu", "relu", False, "relu"),
        ("gated-gelu", "gelu_tanh", True, "gated-gelu"),
        ("gated-silu", "silu", True, "gated-silu"),
        ("gelu", "gelu", False, "gelu"),
    ],
)
def test_one_key_names_the_network(
    name: str, activation: str, gated: bool, written: str
) -> None:
    family = FAMILIES["t5"]
    config = family.from_published({**KEYS, "feed_forward_proj": name})
    inner = config.block.feed_forward
    assert (inner.activation, inner.gated) == (activation, gated)
    assert family.to_published(config)["feed_forward_proj"] == written
    assert family.from_published(family.to_published(config)) == config


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"feed_forward_proj": "double-gelu"}, r"`feed_forward_proj`.*double"),
        ({"feed_forward_proj": "gated-swoosh"}, r"`dense_act_fn`.*'swoosh'"),
        ({"is_decoder": True}, r"`is_decoder` must be false.*True"),
        ({"d_kv": 0}, r"`d_kv` must be an integer.*0"),
        ({"scale_decoder_outputs": 1}, r"`scale_decoder_outputs`.*1"),
        ({"num_decoder_layers": 3}, r"`num_decoder_layers` must be 2"),
        ({"num_layers": 3}, r"`num_layers` must be 2"),
        ({"vocab_size": 41}, r"`vocab_size` must be 40.*41"),
        ({"relative_attention_num_buckets": 16}, r"must be 32.*16"),
    ],
)
def test_wrong_values_are_named(
    keys: dict[str, Any], message: str, tmp_path: pathlib.Path
) -> None:
    write(tmp_path, tensors_of(build(), tmp_path), **keys)
    with pytest.raises(ValueError, match=message):
        model_folder.read_config(tmp_path)


def test_an_encoder_alone(tmp_path: pathlib.Path) -> None:
    """As sentence-t5: a T5EncoderModel, here a model of vectors."""
    stored = tensors_of(build(), tmp_path)
    encoder = {k: v for k, v in stored.items() if k.startswith("encoder.")}
    encoder[COPIES[0]] = stored["shared.weight"]
    write(tmp_path, encoder, architectures=["T5EncoderModel"])
    (tmp_path / "generation_config.json").unlink()
    task = model_folder.load(tmp_path)
    assert task.kind == "embedding"
    assert task.config.kind == "encoder"
    vectors = task({"token_ids": np.array([[5, 6, 7]], "int32")})["embedding"]
    assert vectors.shape == (1, 16)
    model_folder.save(task, tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["architectures"] == ["T5EncoderModel"]
    assert model_folder.load(tmp_path / "again").config == task.config
