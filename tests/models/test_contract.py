"""What every family in FAMILIES must do, at size tiny."""

import dataclasses
import inspect
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfllm.interop import weights
from tfllm.layers.config import (
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    NormConfig,
)
from tfllm.layers.heads import (
    MaskedLMHeadConfig,
    PoolerConfig,
    TaskHeadConfig,
)
from tfllm.models import (
    FAMILIES,
    LanguageModel,
    PretrainingModel,
    Transformer,
    TransformerConfig,
)

VOCAB = 101
LENGTH = 9

# Per family: every argument of `config` off its default.
OFF_DEFAULT: dict[str, dict[str, Any]] = {
    "bert": {
        "num_layers": 3,
        "hidden_size": 24,
        "num_heads": 3,
        "intermediate_size": 56,
        "vocab_size": 53,
        "max_position_embeddings": 19,
        "num_segments": 3,
        "activation": "gelu_tanh",
        "dropout": 0.2,
        "attention_dropout": 0.3,
        "classifier_dropout": 0.4,
        "epsilon": 1e-5,
        "initializer_range": 0.1,
        "pad_token_id": 4,
    },
    "gpt2": {
        "num_layers": 3,
        "hidden_size": 24,
        "num_heads": 3,
        "intermediate_size": 56,
        "vocab_size": 53,
        "max_position_embeddings": 19,
        "activation": "relu",
        "dropout": 0.2,
        "attention_dropout": 0.3,
        "embedding_dropout": 0.4,
        "classifier_dropout": 0.5,
        "epsilon": 1e-4,
        "initializer_range": 0.1,
        "scale_scores": False,
        "scale_scores_by_layer": True,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 4,
    },
}
# Published parameters of one size, with all heads.
PARAMETERS = {"bert": ("base", 110_106_428), "gpt2": ("small", 124_439_808)}


def tensorflow() -> Any:
    """Skips tests of what only TensorFlow has."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs the TensorFlow backend")
    return pytest.importorskip("tensorflow")


def tiny(family: str) -> TransformerConfig:
    return FAMILIES[family].size("tiny", vocab_size=VOCAB)


ENCODERS = [name for name in FAMILIES if not tiny(name).is_causal]
DECODERS = [name for name in FAMILIES if tiny(name).is_causal]


def build(config: TransformerConfig, cls: Any = None, **options: Any) -> Any:
    keras.utils.set_random_seed(0)
    if cls is None:
        cls = LanguageModel if config.is_causal else PretrainingModel
    model = cls(config, **options)
    model.build()
    return model


@pytest.fixture(params=FAMILIES)
def family(request: Any) -> str:
    return request.param


@pytest.fixture
def model(family: str) -> Any:
    return build(tiny(family))


@pytest.fixture(params=ENCODERS)
def encoder(request: Any) -> PretrainingModel:
    return build(tiny(request.param))


@pytest.fixture(params=DECODERS)
def decoder(request: Any) -> LanguageModel:
    return build(tiny(request.param))


@pytest.fixture
def causal(family: str) -> Transformer:
    config = tiny(family).with_dropout(0.0)
    attention = dataclasses.replace(config.block.attention, causal=True)
    block = dataclasses.replace(config.block, attention=attention)
    return build(dataclasses.replace(config, block=block), Transformer)


def batch(model: Any = None) -> dict[str, np.ndarray]:
    """Three rows, padded on the right; for a decoder what it takes."""
    rng = np.random.default_rng(0)
    lengths = np.array([[LENGTH], [6], [3]])
    mask = (np.arange(LENGTH) < lengths).astype("int32")
    tokens = rng.integers(5, VOCAB, (3, LENGTH)).astype("int32") * mask
    segments = (np.arange(LENGTH) >= 2).astype("int32") * mask
    positions = np.array([[0, 4, 8], [1, 5, 0], [2, 0, 0]], "int32")
    inputs = {"token_ids": tokens, "padding_mask": mask}
    if not isinstance(model, LanguageModel):
        inputs |= {"segment_ids": segments, "masked_positions": positions}
    return inputs


def run(model: Any, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """Returns the logits; a decoder's of real tokens only."""
    outputs = model(**inputs)
    found = {
        k: ops.convert_to_numpy(v)
        for k, v in outputs.items()
        if k != "hidden_states"
    }
    if "clm" in found:
        real = inputs["padding_mask"].astype(bool)
        found["clm"] = np.where(real[..., None], found["clm"], 0.0)
    return found


def hidden(model: Any, tokens: np.ndarray, **options: Any) -> np.ndarray:
    return ops.convert_to_numpy(model(tokens, **options))


def assert_close(
    first: dict[str, np.ndarray], second: dict[str, np.ndarray], atol: float
) -> None:
    assert set(first) == set(second)
    for name, value in first.items():
        np.testing.assert_allclose(
            value, second[name], atol=atol, rtol=0, err_msg=name
        )


def test_shapes_and_dtypes(model: Any) -> None:
    outputs = run(model, batch(model))
    assert {k: v.shape for k, v in outputs.items()} == (
        {"clm": (3, LENGTH, VOCAB)}
        if isinstance(model, LanguageModel)
        else {"mlm": (3, 3, VOCAB), "nsp": (3, 2)}
    )
    assert {v.dtype for v in outputs.values()} == {np.dtype("float32")}
    width = model.config.hidden_size
    states = hidden(model.transformer, batch()["token_ids"])
    assert states.shape == (3, LENGTH, width)


def test_without_masked_positions_all_are_predicted(
    encoder: PretrainingModel,
) -> None:
    inputs = batch()
    positions = inputs.pop("masked_positions")
    everywhere = run(encoder, inputs)["mlm"]
    assert everywhere.shape == (3, LENGTH, VOCAB)
    chosen = run(encoder, batch())["mlm"]
    expected = np.take_along_axis(everywhere, positions[..., None], axis=1)
    np.testing.assert_allclose(chosen, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "atol"), [("bfloat16", 0.05), ("float16", 0.005)]
)
@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")
def test_mixed_precision(
    family: str, model: Any, dtype: str, atol: float
) -> None:
    low = build(tiny(family), dtype=f"mixed_{dtype}")
    low.set_weights(model.get_weights())
    assert {v.dtype for v in low.trainable_variables} == {"float32"}
    states = low.transformer(batch()["token_ids"])
    assert keras.backend.standardize_dtype(states.dtype) == dtype
    outputs = run(low, batch(model))
    assert {v.dtype for v in outputs.values()} == {np.dtype("float32")}
    assert_close(outputs, run(model, batch(model)), atol=atol)


def test_every_weight_has_a_finite_gradient(model: Any) -> None:
    tf = tensorflow()
    with tf.GradientTape() as tape:
        outputs = model(**batch(model), training=True)
        outputs.pop("hidden_states", None)
        # Not a plain sum: that of a softmax is constant.
        loss = tf.add_n([tf.reduce_sum(v**2) for v in outputs.values()])
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(gradient).all(), variable.path
        assert gradient.any(), variable.path


def test_no_look_ahead(causal: Transformer) -> None:
    tokens = batch()["token_ids"]
    changed = tokens.copy()
    changed[:, 5] += 1
    before, after = hidden(causal, tokens), hidden(causal, changed)
    np.testing.assert_allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert (np.abs(before[:, 5:] - after[:, 5:]).max(-1) > 1e-5).all()


def test_an_encoder_looks_both_ways(encoder: PretrainingModel) -> None:
    tokens = batch()["token_ids"]
    changed = tokens.copy()
    changed[:, 5] += 1
    difference = hidden(encoder.transformer, tokens) - hidden(
        encoder.transformer, changed
    )
    assert (np.abs(difference).max(-1) > 1e-6).all()


def test_padding_changes_nothing(model: Any) -> None:
    inputs = batch(model)
    expected = run(model, inputs)
    junk = {**inputs, "token_ids": inputs["token_ids"].copy()}
    junk["token_ids"][inputs["padding_mask"] == 0] = 7
    if "segment_ids" in inputs:
        junk["segment_ids"] = np.where(
            inputs["padding_mask"] == 0, 1, inputs["segment_ids"]
        )
    # Row 0 has no padding, and no slot points at padding.
    assert_close(run(model, junk), expected, atol=1e-5)
    longer = {
        name: value
        if name == "masked_positions"
        else np.pad(value, ((0, 0), (0, 4)))
        for name, value in inputs.items()
    }
    found = run(model, longer)
    if "clm" in found:
        found["clm"] = found["clm"][:, :LENGTH]
    assert_close(found, expected, atol=1e-5)


def test_padding_on_the_left_changes_nothing(decoder: LanguageModel) -> None:
    inputs = batch(decoder)
    expected = run(decoder, inputs)["clm"]
    lengths = inputs["padding_mask"].sum(axis=1)
    left = {
        name: np.stack(
            [
                np.roll(row, LENGTH - n)
                for row, n in zip(value, lengths, strict=True)
            ]
        )
        for name, value in inputs.items()
    }
    found = run(decoder, left)["clm"]
    for row, (n, logits) in enumerate(zip(lengths, found, strict=True)):
        np.testing.assert_allclose(
            logits[LENGTH - n :], expected[row, :n], atol=1e-5
        )
    last = ops.convert_to_numpy(decoder(**left, last_only=True)["clm"])
    np.testing.assert_allclose(last, found[:, -1:], atol=1e-5)


def test_documents_in_one_row_do_not_see_each_other(
    decoder: LanguageModel,
) -> None:
    tokens = batch()["token_ids"][:1]
    cuts = [0, 2, 6, LENGTH]
    numbers = np.repeat([0, 1, 2], np.diff(cuts))[None].astype("int32")
    positions = np.concatenate([np.arange(n) for n in np.diff(cuts)])
    packed = decoder(
        tokens,
        document_ids=numbers,
        position_ids=positions[None].astype("int32"),
    )["clm"]
    alone = [
        ops.convert_to_numpy(decoder(tokens[:, start:stop])["clm"])
        for start, stop in zip(cuts[:-1], cuts[1:], strict=True)
    ]
    np.testing.assert_allclose(
        ops.convert_to_numpy(packed), np.concatenate(alone, 1), atol=1e-5
    )


def test_batch_of_one_equals_a_row(model: Any) -> None:
    whole = run(model, batch(model))
    for i in range(3):
        row = {name: v[i : i + 1] for name, v in batch(model).items()}
        one = run(model, row)
        assert_close(one, {k: v[i : i + 1] for k, v in whole.items()}, 1e-5)


@pytest.mark.parametrize("prefill", [1, 4, LENGTH])
def test_cached_equals_full_forward(causal: Transformer, prefill: int) -> None:
    tokens = batch()["token_ids"]
    cache = causal.create_cache(3, LENGTH)
    parts = [tokens[:, :prefill]]
    parts += [tokens[:, i : i + 1] for i in range(prefill, LENGTH)]
    states = []
    for part in parts:
        x, cache = causal(part, cache=cache)
        states.append(ops.convert_to_numpy(x))
    assert int(cache[0].index) == LENGTH
    np.testing.assert_allclose(
        np.concatenate(states, 1), hidden(causal, tokens), atol=1e-5
    )


def test_published_config_round_trip(family: str) -> None:
    arguments = inspect.signature(FAMILIES[family].config).parameters
    values = OFF_DEFAULT[family]
    assert set(values) == set(arguments)
    assert not [
        name for name, p in arguments.items() if values[name] == p.default
    ]
    config = FAMILIES[family].config(**values)
    published = FAMILIES[family].to_published(config)
    assert published["model_type"] == family
    assert FAMILIES[family].from_published(published) == config


def test_layer_config_round_trip(model: Any) -> None:
    copy = type(model).from_config(model.get_config())
    assert copy.config == model.config
    assert copy.get_config() == model.get_config()


def off_default_config() -> TransformerConfig:
    norm = NormConfig(12, kind="rms_norm", epsilon=0.1)
    return TransformerConfig(
        family="any",
        embeddings=EmbeddingConfig(
            vocab_size=7,
            hidden_size=12,
            max_position_embeddings=5,
            num_segments=3,
            norm=norm,
            dropout=0.1,
            initializer_range=0.3,
        ),
        block=BlockConfig(
            attention=AttentionConfig(
                hidden_size=12,
                num_heads=4,
                num_kv_heads=2,
                head_dim=5,
                use_bias=False,
                scale=1.0,
                dropout=0.2,
                causal=True,
                initializer_range=0.3,
                output_initializer_range=0.2,
            ),
            feed_forward=FeedForwardConfig(
                hidden_size=12,
                intermediate_size=9,
                activation="silu",
                gated=True,
                use_bias=False,
                initializer_range=0.3,
                output_initializer_range=0.2,
            ),
            norm=norm,
            norm_placement="pre",
            dropout=0.4,
        ),
        num_layers=2,
        final_norm=norm,
        pooler=PoolerConfig(12, activation="relu", initializer_range=0.3),
        masked_lm_head=MaskedLMHeadConfig(
            hidden_size=12,
            embedding_size=12,
            vocab_size=7,
            norm=norm,
            activation="tanh",
            initializer_range=0.3,
        ),
        task_head=TaskHeadConfig(
            dropout=0.5,
            drop_sequence=False,
            sequence_bias=False,
            initializer_range=0.3,
        ),
        pad_token_id=3,
        bos_token_id=4,
        eos_token_id=5,
        scale_scores_by_layer=True,
    )


def at_default(config: Any, path: str = "") -> list[str]:
    """Returns the fields, at any depth, that hold their default."""
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            names += at_default(value, f"{path}{field.name}.")
        elif value == field.default:
            names.append(path + field.name)
    return names


def test_config_round_trip_with_every_field_off_its_default() -> None:
    config = off_default_config()
    assert at_default(config) == []
    assert TransformerConfig.from_dict(config.to_dict()) == config
    layer = build(config, Transformer)
    assert Transformer.from_config(layer.get_config()).config == config
    assert np.isfinite(hidden(layer, np.ones((2, 4), "int32"))).all()


def test_every_switch_keeps_the_cache_right() -> None:
    causal = build(off_default_config().with_dropout(0.0), Transformer)
    tokens = np.random.default_rng(0).integers(0, 7, (2, 5)).astype("int32")
    cache = causal.create_cache(2, 5)
    states = []
    for i in range(5):
        x, cache = causal(tokens[:, i : i + 1], cache=cache)
        states.append(ops.convert_to_numpy(x))
    np.testing.assert_allclose(
        np.concatenate(states, 1), hidden(causal, tokens), atol=1e-5
    )


def test_unknown_field_is_refused() -> None:
    values = off_default_config().to_dict()
    values["block"]["norm"]["axis"] = 1
    with pytest.raises(ValueError, match=r"`NormConfig`.*\['axis'\]"):
        TransformerConfig.from_dict(values)


def test_unknown_size_is_refused(family: str) -> None:
    with pytest.raises(ValueError, match="tiny.*Received: 'gigantic'"):
        FAMILIES[family].size("gigantic")


def test_weight_map_covers_every_variable_once(family: str, model: Any) -> None:
    rows = weights.weights_of(model, FAMILIES[family])
    names = [weight.published for weight, _ in rows]
    assert len(names) == len(set(names))
    parts: dict[int, list[tuple[int, int]]] = {}
    for weight, variable in rows:
        whole = (0, variable.shape[-1])
        parts.setdefault(id(variable), []).append(weight.columns or whole)
    for variable in model.trainable_variables:
        spans = sorted(parts.pop(id(variable)))
        edges = [0, *(stop for _, stop in spans)]
        assert [start for start, _ in spans] == edges[:-1], variable.path
        assert edges[-1] == variable.shape[-1], variable.path
    assert not parts


def num_parameters(config: TransformerConfig) -> int:
    """Counts by arithmetic: tables, norm, blocks, pooler, both heads."""
    d, v = config.hidden_size, config.vocab_size
    f = config.block.feed_forward.intermediate_size
    rows = v + config.max_length + config.embeddings.num_segments
    attention = 4 * (d * d + d)
    feed_forward = d * f + f + f * d + d
    block = attention + feed_forward + 2 * 2 * d
    heads = (d * d + d) + (d * d + d + 2 * d + v) + (2 * d + 2)
    if config.is_causal:
        heads = 0
    return rows * d + 2 * d + config.num_layers * block + heads


def test_parameter_count(family: str, model: Any) -> None:
    assert model.count_params() == num_parameters(model.config)
    size, expected = PARAMETERS[family]
    assert num_parameters(FAMILIES[family].size(size)) == expected


def test_initial_values_are_the_published_ones(model: Any) -> None:
    # GPT-2 scales what is added to the residual by its number of terms.
    terms = 2 * model.config.num_layers if model.config.is_causal else 1
    for variable in model.trainable_variables:
        value = ops.convert_to_numpy(ops.stop_gradient(variable))
        if variable.name == "bias":
            assert not value.any(), variable.path
        elif variable.name == "scale":
            assert (value == 1).all(), variable.path
        else:
            added = ("output_projection/kernel", "down/kernel")
            spread = 0.02
            if variable.path.endswith(added):
                spread /= terms**0.5
            assert np.abs(value).max() <= 2 * spread + 1e-6, variable.path
            # A normal cut at two deviations has 0.88 of its deviation.
            if value.size > 10_000:
                assert abs(value.std() - spread * 0.88) < 5e-4, variable.path


def test_one_trace_for_equal_shapes(model: Any) -> None:
    tf = tensorflow()
    function = tf.function(lambda inputs: model(**inputs, training=True))
    for _ in range(2):
        function({k: tf.constant(v) for k, v in batch(model).items()})
    assert function.experimental_get_tracing_count() == 1


# Keras itself, with NumPy 2, for variables outside the autocast.
@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")
def test_save_and_restore(model: Any, tmp_path: pathlib.Path) -> None:
    tensorflow()
    from tfllm.tasks import CausalLM, MaskedLM

    causal = model.config.is_causal
    task = (CausalLM if causal else MaskedLM)(model.config)
    path = tmp_path / "task.keras"
    task.save(path)
    restored = keras.saving.load_model(path, compile=False)
    inputs = batch(model)
    first, second = task(inputs), restored(inputs)
    for name, value in first.items():
        np.testing.assert_array_equal(value.numpy(), second[name].numpy())


def test_saved_model_equals_keras(model: Any, tmp_path: pathlib.Path) -> None:
    tf = tensorflow()
    signature = {
        name: tf.TensorSpec([None, None], tf.int32, name=name)
        for name in batch(model)
    }
    module = tf.Module()
    module.variables_of_model = [v.value for v in model.variables]
    module.serve = tf.function(
        lambda inputs: model(**inputs), input_signature=[signature]
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    outputs = run(
        lambda **inputs: loaded.serve(
            {k: tf.constant(v) for k, v in inputs.items()}
        ),
        batch(model),
    )
    assert_close(outputs, run(model, batch(model)), atol=1e-6)
