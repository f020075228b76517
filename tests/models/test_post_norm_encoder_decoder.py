"""Encoder-decoders as BART and Marian: config.json, folders, sinusoids."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from keras import ops

from tfllm.interop import model_folder
from tfllm.models import FAMILIES, LanguageModel, SequenceModel
from tools.family_arguments import off_default

# Keys of Transformers 4 in the config.json of OPUS-MT's models.
OPUS = {
    "model_type": "marian",
    "architectures": ["MarianMTModel"],
    "activation_dropout": 0.0,
    "activation_function": "swish",
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "attention_dropout": 0.0,
    "bad_words_ids": [[58100]],
    "bos_token_id": 0,
    "classif_dropout": 0.0,
    "d_model": 512,
    "decoder_attention_heads": 8,
    "decoder_ffn_dim": 2048,
    "decoder_layerdrop": 0.0,
    "decoder_layers": 6,
    "decoder_start_token_id": 58100,
    "dropout": 0.1,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
    "encoder_layerdrop": 0.0,
    "encoder_layers": 6,
    "eos_token_id": 0,
    "extra_pos_embeddings": 58101,
    "force_bos_token_to_be_generated": False,
    "init_std": 0.02,
    "is_encoder_decoder": True,
    "max_length": 512,
    "max_position_embeddings": 512,
    "normalize_before": False,
    "normalize_embedding": False,
    "num_beams": 6,
    "pad_token_id": 58100,
    "scale_embedding": True,
    "static_position_embeddings": True,
    "vocab_size": 58101,
}


def small(family: str, **changes: Any) -> Any:
    arguments = off_default(FAMILIES[family], **changes)
    return FAMILIES[family].config(**arguments)


def build(config: Any, cls: Any = LanguageModel, **options: Any) -> Any:
    model = cls(config, **options)
    model.build()
    rng = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(rng.normal(size=variable.shape) * 0.3)
    return model


def logits(model: LanguageModel, pad: int) -> np.ndarray:
    source = np.array([[7, 9, 8, 3], [9, 3, pad, pad]], "int32")
    outputs = model(
        np.array([[5, 6, 7], [5, 8, 9]], "int32"),
        source_ids=source,
        source_mask=(source != pad).astype("int32"),
    )
    return ops.convert_to_numpy(outputs["clm"])


def test_config_of_opus(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(OPUS))
    _, config = model_folder.read_config(path)
    expected = FAMILIES["marian"].size("base", bos_token_id=0)
    assert config == expected
    assert config.pad_token_id == config.decoder_start_token_id == 58100


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("marian", "normalize_before", True),
        ("marian", "tie_word_embeddings", False),
        ("marian", "static_position_embeddings", False),
        ("bart", "encoder_layerdrop", 0.1),
        ("bart", "normalize_embedding", False),
        ("fsmt", "decoder_layerdrop", 0.2),
    ],
)
def test_switches_that_are_not_built(
    family: str, key: str, value: Any, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": family, key: value}))
    with pytest.raises(ValueError, match=rf"`{key}`.*Received: {value}"):
        model_folder.read_config(path)


def test_two_vocabularies_do_not_share_a_table() -> None:
    with pytest.raises(ValueError, match=r"`decoder_vocab_size`.*30 and 50"):
        FAMILIES["marian"].size("tiny", vocab_size=50, decoder_vocab_size=30)


def test_the_decoder_starts_with_a_token_of_its_own() -> None:
    sizes = {"vocab_size": 50, "decoder_vocab_size": 30}
    with pytest.raises(ValueError, match=r"`decoder_start.* 30. Received: 49"):
        FAMILIES["marian"].size("tiny", **sizes, share_embeddings=False)


def test_a_bare_folder_without_bias_of_the_logits(
    tmp_path: pathlib.Path,
) -> None:
    """As of BART-Base: no prefix, copies of the table, and no head."""
    config = small("bart")
    model = build(config)
    model_folder.save(model, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = safetensors.numpy.load_file(path)
    del tensors["final_logits_bias"]
    bare = {name.removeprefix("model."): x for name, x in tensors.items()}
    for side in ("encoder", "decoder"):
        bare[f"{side}.embed_tokens.weight"] = bare["shared.weight"]
        bare[f"{side}.version"] = np.array([3.0], "float32")
    safetensors.numpy.save_file(bare, path)
    model.lm_head.bias.assign(np.zeros(config.vocab_size))
    expected = logits(model, config.pad_token_id)
    again = build(config)
    assert not model_folder.load_weights(again, tmp_path)
    found = logits(again, config.pad_token_id)
    np.testing.assert_array_equal(found, expected)


def test_the_bias_is_a_row_in_files(tmp_path: pathlib.Path) -> None:
    config = small("marian")
    model = build(config)
    model_folder.save(model, tmp_path)
    tensors = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    size = config.decoder.embeddings.vocab_size
    assert tensors["final_logits_bias"].shape == (1, size)
    assert "lm_head.weight" not in tensors
    # A tied copy that older files have.
    copy = tensors["model.decoder.embed_tokens.weight"]
    tensors["lm_head.weight"] = copy
    safetensors.numpy.save_file(tensors, tmp_path / "model.safetensors")
    again = build(config)
    assert not model_folder.load_weights(again, tmp_path)


def test_files_hold_the_sinusoids(tmp_path: pathlib.Path) -> None:
    config = small("fsmt")
    model = build(config)
    model_folder.save(model, tmp_path)
    tensors = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    for side in ("encoder", "decoder"):
        table = tensors[f"model.{side}.embed_positions.weight"]
        positions = getattr(model.transformer, side).embeddings.positions
        first = config.pad_token_id + 1
        np.testing.assert_allclose(
            table[first : first + 6],
            ops.convert_to_numpy(positions(length=6)),
            atol=1e-6,
        )
        assert table.shape[0] == config.max_length + first


def test_a_sequence_is_read_by_its_last_token() -> None:
    """The decoder reads the tokens shifted, as Lewis et al., section 3.1."""
    config = small("bart", dropout=0.0)
    model = build(config, SequenceModel, num_labels=3)
    start, pad, end = 5, config.pad_token_id, config.eos_token_id
    assert config.decoder_start_token_id == start
    ids = np.array([[7, 9, 8, end], [9, end, pad, pad]], "int32")
    mask = (ids != pad).astype("int32")
    states = model.transformer(
        np.array([[start, 7, 9, 8], [start, 9, end, pad]], "int32"),
        source_ids=ids,
        source_mask=mask,
    )
    last = ops.convert_to_numpy(states)[[0, 1], [3, 1]]
    dense, out = model.sequence_dense, model.sequence_classifier
    inner = np.tanh(last @ np.asarray(dense.kernel.value) + dense.bias.value)
    expected = inner @ np.asarray(out.kernel.value) + out.bias.value
    found = ops.convert_to_numpy(model(ids, padding_mask=mask))
    np.testing.assert_allclose(found, expected, atol=1e-5)
