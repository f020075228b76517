"""Numbers of config.json that no model can have, each refused by its key."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.interop.small_folder import tensors_of, write_tensors
from tests.tasks import labelled
from tfllm.interop import model_folder
from tfllm.interop.config_file import read_config
from tfllm.models import FAMILIES, LanguageModel, SequenceModel

NAN = float("nan")
KEYS = [
    (family, key)
    for family in FAMILIES
    for key, value in FAMILIES[family]
    .to_published(FAMILIES[family].size("tiny", pad_token_id=0))
    .items()
    if isinstance(value, (int, float)) and not isinstance(value, bool)
]

# Values that are published: LLaMA 3 has several ids that end a text, XLNet
# writes -1 for no limit.
PUBLISHED = [("eos_token_id", [1, 2]), ("clamp_len", -1)]


def write_config(folder: pathlib.Path, family: str, **changes: Any) -> None:
    values = FAMILIES[family].to_published(FAMILIES[family].size("tiny"))
    text = json.dumps({**values, **changes})
    (folder / "config.json").write_text(text)


def change_config(folder: pathlib.Path, **changes: Any) -> None:
    path = folder / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, **changes}))


@pytest.mark.parametrize("value", [NAN, float("inf"), -1, True, "12", [1, 2]])
@pytest.mark.parametrize(("family", "key"), KEYS)
def test_a_value_that_cannot_be(
    family: str, key: str, value: Any, tmp_path: pathlib.Path
) -> None:
    if (key, value) in PUBLISHED:
        pytest.skip("a published value")
    write_config(tmp_path, family, **{key: value})
    with pytest.raises(ValueError, match=rf"config\.json.*`{key}`") as error:
        read_config(tmp_path)
    assert repr(value) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("bert", "vocab_size", 10**9),
        ("bert", "num_hidden_layers", 10**6),
        ("bert", "num_hidden_layers", 0),
        ("bert", "hidden_size", 768.0),
        ("bert", "hidden_size", None),
        ("bert", "hidden_dropout_prob", 1.5),
        # 0 in float32.
        ("bert", "layer_norm_eps", 1e-60),
        ("bert", "layer_norm_eps", 0),
        ("bert", "pad_token_id", 10**6),
        ("bert", "num_attention_heads", 5),
        ("gpt2", "n_layer", 10**6),
        ("gpt2", "n_positions", 10**9),
        ("gpt2", "n_head", 5),
        ("gpt2", "layer_norm_epsilon", 1e300),
        ("gpt2", "scale_attn_weights", "yes"),
    ],
)
def test_a_value_outside_its_range(
    family: str, key: str, value: Any, tmp_path: pathlib.Path
) -> None:
    write_config(tmp_path, family, **{key: value})
    with pytest.raises(ValueError, match=f"`{key}`") as error:
        read_config(tmp_path)
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("family", "key", "value", "message"),
    [
        ("qwen2", "use_sliding_window", 1, "1"),
        ("qwen2", "layer_types", ["sliding_attention"] * 2, "'sliding_att"),
        ("mistral", "layer_types", ["full_attention"] * 2, "'full_attention'"),
        ("mistral", "layer_types", ["sliding_attention"], "sliding_attention"),
        ("mistral", "sliding_window", 0, "0"),
        ("llama", "layer_types", "chunked_attention", "'chunked_attention'"),
        (
            "qwen2",
            "rope_parameters",
            {"full_attention": {"rope_type": "default", "rope_theta": 1e6}},
            "`full_attention`",
        ),
    ],
)
def test_layers_that_differ(
    family: str, key: str, value: Any, message: str, tmp_path: pathlib.Path
) -> None:
    write_config(tmp_path, family, **{key: value})
    with pytest.raises(ValueError, match=rf"`{key}` must .*{message}"):
        read_config(tmp_path)


# Of LlamaConfig and Qwen2Config, in Transformers 4.57 and 5.
LLAMA_DEFAULTS = {
    "num_layers": 32,
    "hidden_size": 4096,
    "num_heads": 32,
    "num_kv_heads": 32,
    "head_dim": 128,
    "intermediate_size": 11008,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
    "theta": 10000.0,
    "epsilon": 1e-6,
    "tied": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
QWEN2_DEFAULTS = {
    **LLAMA_DEFAULTS,
    "intermediate_size": 22016,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "bos_token_id": None,
    "eos_token_id": None,
}


@pytest.mark.parametrize(
    ("family", "expected"),
    [("llama", LLAMA_DEFAULTS), ("qwen2", QWEN2_DEFAULTS)],
)
def test_missing_keys_are_those_of_transformers(
    family: str, expected: dict[str, Any], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": family}))
    _, config = read_config(tmp_path)
    assert config == FAMILIES[family].config(**expected)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_heads_of_rotary_decoders(family: str, tmp_path: pathlib.Path) -> None:
    size = {"hidden_size": 192, "num_attention_heads": 16}
    write_config(tmp_path, family, **size, num_key_value_heads=4, head_dim=10)
    attention = read_config(tmp_path)[1].block.attention
    assert (attention.kv_heads, attention.head_size) == (4, 10)
    write_config(
        tmp_path, family, **size, num_key_value_heads=None, head_dim=None
    )
    attention = read_config(tmp_path)[1].block.attention
    assert (attention.kv_heads, attention.head_size) == (16, 12)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_padding_is_null_where_there_is_none(
    family: str, tmp_path: pathlib.Path
) -> None:
    arguments = {**labelled.NUMBERS, "eos_token_id": 7, "pad_token_id": None}
    config = FAMILIES[family].config(**arguments)
    model_folder.save(LanguageModel(config), tmp_path / "none")
    stored = json.loads((tmp_path / "none/config.json").read_text())
    assert stored["pad_token_id"] is None
    assert read_config(tmp_path / "none")[1] == config
    # With null, Transformers classifies only one text at a time.
    model_folder.save(SequenceModel(config, num_labels=2), tmp_path / "labels")
    stored = json.loads((tmp_path / "labels/config.json").read_text())
    assert stored["pad_token_id"] == 7
    config = FAMILIES[family].config(**{**arguments, "pad_token_id": 5})
    assert FAMILIES[family].to_published(config)["pad_token_id"] == 5


def test_more_parameters_than_a_machine_holds(tmp_path: pathlib.Path) -> None:
    write_config(tmp_path, "bert", vocab_size=2**24, hidden_size=2**20)
    # 2 ** 24 rows of 2 ** 20, and 2 layers of 4 * 2 ** 40 and some.
    with pytest.raises(ValueError, match=r"parameters.*2\.6e\+13"):
        read_config(tmp_path)


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [
        ("bert", "vocab_size", 10**7),
        ("bert", "num_hidden_layers", 900),
        ("bert", "num_hidden_layers", 2),
        ("bert", "hidden_size", 32),
        ("bert", "intermediate_size", 48),
        ("bert", "max_position_embeddings", 512),
        ("bert", "type_vocab_size", 1),
        ("gpt2", "vocab_size", 50257),
        ("gpt2", "n_layer", 12),
        ("gpt2", "n_embd", 768),
        ("gpt2", "n_positions", 1024),
        ("gpt2", "n_inner", 48),
    ],
)
def test_sizes_are_those_of_the_tensors(
    family: str, key: str, value: int, tmp_path: pathlib.Path
) -> None:
    """As published files have them, and as those of bare encoders."""
    model_folder.save(labelled.create("tagging", family), tmp_path)
    prefix = FAMILIES[family].prefix
    stored = json.loads((tmp_path / "config.json").read_text())[key]
    change_config(tmp_path, **{key: value})
    for _ in range(2):
        with pytest.raises(ValueError, match=f"`{key}` must be") as error:
            read_config(tmp_path)
        assert f"must be {stored}, as the tensors" in str(error.value)
        assert f"Received: {value}." in str(error.value)
        tensors = tensors_of(tmp_path)
        write_tensors(
            tmp_path, {n.removeprefix(prefix): t for n, t in tensors.items()}
        )
    # A model of these sizes is one without those tensors.
    if key in ("num_hidden_layers", "n_layer"):
        assert read_config(tmp_path / "config.json")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(
    value: float, tmp_path: pathlib.Path
) -> None:
    task = labelled.create("tagging", "bert")
    model_folder.save(task, tmp_path)
    tensors = tensors_of(tmp_path)
    name = "bert.encoder.layer.0.output.dense.weight"
    tensors[name][3, 5] = value
    write_tensors(tmp_path, tensors)
    before = [v.numpy() for v in task.model.trainable_variables]
    with pytest.raises(ValueError, match="finite numbers") as error:
        model_folder.load_weights(task, tmp_path)
    assert f"{value} in {name}[3, 5]" in str(error.value)
    after = [v.numpy() for v in task.model.trainable_variables]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
