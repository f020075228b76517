"""What every family in FAMILIES must do, at size tiny."""

import dataclasses
import json
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfllm.interop import weights
from tfllm.layers import (
    AttentionConfig,
    BlockConfig,
    DetectionHeadConfig,
    DynamicScaling,
    EmbeddingConfig,
    FeedForwardConfig,
    LearnedPositionsConfig,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    MaskedLMHeadConfig,
    NormConfig,
    OutputHeadConfig,
    PoolerConfig,
    RelativeBiasConfig,
    RotaryConfig,
    SinusoidalPositionsConfig,
    TaskHeadConfig,
    TransformerBlock,
    YarnScaling,
)
from tfllm.models import (
    FAMILIES,
    LanguageModel,
    PermutationModel,
    PretrainingModel,
    StackConfig,
    Transformer,
    TransformerConfig,
    blocks,
    create_body,
)
from tools.family_arguments import (
    off_default,
    pretraining_class,
    pretraining_task,
)

VOCAB = 101
LENGTH = 9


def tensorflow() -> Any:
    """Skips tests of what only TensorFlow has."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("needs the TensorFlow backend")
    return pytest.importorskip("tensorflow")


def tiny(family: str) -> TransformerConfig:
    config = FAMILIES[family].size("tiny", vocab_size=VOCAB)
    head = config.output_head
    if head is None or head.tied:
        return config
    # T5's own output table starts with a deviation of 1: logits would have the
    # size of the root of D, and rounding errors as well.
    head = dataclasses.replace(head, initializer_range=0.02)
    return dataclasses.replace(config, output_head=head)


def of_kind(kind: str) -> list[str]:
    return [name for name in FAMILIES if tiny(name).kind == kind]


ENCODERS, DECODERS = of_kind("encoder"), of_kind("decoder")
ENCODER_DECODERS = of_kind("encoder_decoder")


def build(config: TransformerConfig, cls: Any = None, **options: Any) -> Any:
    keras.utils.set_random_seed(0)
    if cls is None:
        cls = pretraining_class(config)
    model = cls(config, **options)
    model.build()
    return model


# Built once for the tests of a family, none of which changes the weights.
@pytest.fixture(scope="module", params=FAMILIES)
def family(request: Any) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(family: str) -> Any:
    return build(tiny(family))


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: Any) -> PretrainingModel:
    return build(tiny(request.param))


@pytest.fixture(scope="module", params=DECODERS)
def decoder(request: Any) -> LanguageModel:
    return build(tiny(request.param))


@pytest.fixture(scope="module")
def causal(family: str) -> Transformer:
    config = tiny(family).with_dropout(0.0)
    stack = config.stack
    attention = dataclasses.replace(stack.block.attention, causal=True)
    block = dataclasses.replace(stack.block, attention=attention)
    decoder = dataclasses.replace(stack, block=block)
    # Of an encoder-decoder, the encoder made causal.
    config = dataclasses.replace(config, encoder=None, decoder=decoder)
    return build(config, create_body)


def batch(model: Any = None) -> dict[str, np.ndarray]:
    """Three rows, padded on the right: what a model takes.

    An encoder-decoder reads the same rows on both sides.
    """
    rng = np.random.default_rng(0)
    lengths = np.array([[LENGTH], [6], [3]])
    mask = (np.arange(LENGTH) < lengths).astype("int32")
    tokens = rng.integers(5, VOCAB, (3, LENGTH)).astype("int32") * mask
    segments = (np.arange(LENGTH) >= 2).astype("int32") * mask
    positions = np.array([[0, 4, 8], [1, 5, 0], [2, 0, 0]], "int32")
    inputs = {"token_ids": tokens, "padding_mask": mask}
    if not isinstance(model, LanguageModel):
        inputs |= {"segment_ids": segments, "masked_positions": positions}
    elif model.config.kind == "encoder_decoder":
        inputs |= {"source_ids": tokens, "source_mask": mask}
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


def body_inputs(model: Any) -> dict[str, Any]:
    """Arguments of `hidden`: the body of a model, and tokens."""
    tokens = batch()["token_ids"]
    inputs = {"model": model.transformer, "tokens": tokens}
    if model.config.kind == "encoder_decoder":
        inputs["source_ids"] = tokens
    return inputs


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
        else {"plm": (3, 3, VOCAB)}
        if isinstance(model, PermutationModel)
        else {"mlm": (3, 3, VOCAB), "nsp": (3, 2)}
        if model.num_sequence_labels
        else {"mlm": (3, 3, VOCAB)}
    )
    assert {v.dtype for v in outputs.values()} == {np.dtype("float32")}
    width = model.config.hidden_size
    states = hidden(**body_inputs(model))
    assert states.shape == (3, LENGTH, width)


def test_without_masked_positions_all_are_predicted(
    encoder: PretrainingModel,
) -> None:
    if isinstance(encoder, PermutationModel):
        pytest.skip("its content stream sees the tokens")
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
    arguments = body_inputs(low)
    states = arguments.pop("model")(arguments.pop("tokens"), **arguments)
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


@pytest.mark.parametrize(
    "prefill",
    [
        4,
        pytest.param(1, marks=pytest.mark.wide),
        pytest.param(LENGTH, marks=pytest.mark.wide),
    ],
)
def test_cached_equals_full_forward(causal: Transformer, prefill: int) -> None:
    tokens = batch()["token_ids"]
    cache = causal.create_cache(3, LENGTH)
    parts = [tokens[:, :prefill]]
    parts += [tokens[:, i : i + 1] for i in range(prefill, LENGTH)]
    states = []
    for part in parts:
        x, cache = causal(part, cache=cache)
        states.append(ops.convert_to_numpy(x))
    assert int(cache.length) == LENGTH
    np.testing.assert_allclose(
        np.concatenate(states, 1), hidden(causal, tokens), atol=1e-5
    )


def test_published_config_round_trip(family: str) -> None:
    config = FAMILIES[family].config(**off_default(FAMILIES[family]))
    published = FAMILIES[family].to_published(config)
    assert published["model_type"] == family
    assert FAMILIES[family].from_published(published) == config


def test_layer_config_round_trip(model: Any) -> None:
    copy = type(model).from_config(model.get_config())
    assert copy.config == model.config
    assert copy.get_config() == model.get_config()


def stack_off_default(causal: bool, **changes: Any) -> StackConfig:
    """Every field off its default; a stack for tests below."""
    norm = NormConfig(12, kind="rms_norm", epsilon=0.1, affine=False)
    attention = AttentionConfig(
        hidden_size=12,
        num_heads=4,
        num_kv_heads=2,
        head_dim=5,
        use_bias=False,
        output_bias=True,
        scale=1.0,
        dropout=0.2,
        causal=causal,
        window=3 if causal else None,
        initializer_range=0.3,
        query_initializer_range=0.4,
        output_initializer_range=0.2,
    )
    values: dict[str, Any] = {
        "embeddings": EmbeddingConfig(
            vocab_size=7,
            hidden_size=12,
            embedding_size=8,
            projection="sum",
            projection_bias=False,
            scale=1.5,
            positions=LearnedPositionsConfig(8, 2, "mask", True),
            num_segments=3,
            norm=NormConfig(8, kind="rms_norm", epsilon=0.1, affine=False),
            dropout=0.1,
            initializer_range=0.3,
        ),
        "block": BlockConfig(
            attention=attention,
            feed_forward=FeedForwardConfig(
                hidden_size=12,
                intermediate_size=9,
                activation="silu",
                gated=True,
                use_bias=False,
                dropout=0.1,
                initializer_range=0.3,
                output_initializer_range=0.2,
            ),
            norm=norm,
            norm_placement="pre",
            dropout=0.4,
        ),
        "num_layers": 2,
        "num_groups": 1,
        "group_size": 2,
        "full_attention_layers": (1,) if causal else (),
        "final_norm": norm,
        "final_projection": 8 if causal else None,
        "final_dropout": 0.1,
    }
    return StackConfig(**{**values, **changes})


def off_default_config(**changes: Any) -> TransformerConfig:
    """Every field off its default but for those of `AT_DEFAULT`."""
    encoder = stack_off_default(False)
    decoder = stack_off_default(True)
    cross = dataclasses.replace(encoder.block.attention, num_kv_heads=1)
    block = dataclasses.replace(decoder.block, cross_attention=cross)
    values: dict[str, Any] = {
        "family": "any",
        "encoder": encoder,
        "decoder": dataclasses.replace(decoder, block=block),
        "share_embeddings": False,
        "max_length": 5,
        "pooler": PoolerConfig(12, "relu", 0.3, "last"),
        "masked_lm_head": MaskedLMHeadConfig(
            hidden_size=12,
            embedding_size=8,
            vocab_size=7,
            norm=NormConfig(8),
            activation="tanh",
            initializer_range=0.3,
        ),
        "detection_head": DetectionHeadConfig(
            12, activation="relu", initializer_range=0.3
        ),
        "output_head": OutputHeadConfig(
            hidden_size=8,
            vocab_size=7,
            tied=False,
            use_bias=True,
            trains_bias=False,
            scale=0.5,
            initializer_range=0.3,
        ),
        "task_head": TaskHeadConfig(
            dropout=0.5,
            token_dropout=0.4,
            span_dropout=0.3,
            drop_sequence=False,
            sequence_bias=False,
            initializer_range=0.3,
            sequence_dense="relu",
            choice_dropout=0.2,
        ),
        "pair_objective": "sop",
        "pad_token_id": 3,
        "bos_token_id": 4,
        "eos_token_id": 5,
        "decoder_start_token_id": 2,
    }
    return TransformerConfig(**{**values, **changes})


def decoder_off_default(**changes: Any) -> TransformerConfig:
    """The decoder alone, without dropout; `changes` are the stack's."""
    decoder = stack_off_default(True, **changes)
    config = off_default_config(encoder=None, decoder=decoder)
    return config.with_dropout(0.0)


# Not off their defaults above: a block has a name in BLOCKS, an encoder looks
# both ways, a block of two stacks that share nothing has all its weights.
AT_DEFAULT = {
    "masked_lm_head.norm.affine",
    "masked_lm_head.norm.epsilon",
    "masked_lm_head.norm.kind",
    *(
        f"{stack}.{name}"
        for stack in ("encoder", "decoder")
        for name in (
            "block_kind",
            "embeddings.has_token_table",
            "scale_scores_by_layer",
            "two_stream",
        )
    ),
    "decoder.block.cross_attention.causal",
    "decoder.block.cross_attention.window",
    "encoder.block.attention.causal",
    "encoder.block.attention.window",
    "encoder.block.cross_attention",
    "encoder.final_projection",
    "encoder.full_attention_layers",
}
ROTARY = {
    "rotary_size": 4,
    "theta": 100.0,
}
# One of each kind, every field off its default.
POSITIONS = [
    LearnedPositionsConfig(8, 2, "mask", True),
    SinusoidalPositionsConfig("halves", 100.0, True, 3, "mask"),
    RotaryConfig(**ROTARY, scaling=LinearScaling(2.0)),
    RotaryConfig(**ROTARY, scaling=DynamicScaling(2.0, 16)),
    RotaryConfig(
        **ROTARY,
        scaling=YarnScaling(2.0, 16, 16.0, 2.0, 1.5, 0.5, 0.7, False),
    ),
    RotaryConfig(**ROTARY, scaling=Llama3Scaling(2.0, 16, 1.5, 3.0)),
    RotaryConfig(
        **ROTARY, scaling=LongRopeScaling(16, (1.0, 2.0), (3.0, 4.0), 1.2)
    ),
    RelativeBiasConfig(4, 8, 20, False, 0.3),
]


def position_name(positions: Any) -> str:
    scaling = getattr(positions, "scaling", None)
    return scaling.type if scaling else positions.type


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
    assert set(at_default(config)) == AT_DEFAULT
    text = json.dumps(config.to_dict())
    assert TransformerConfig.from_dict(json.loads(text)) == config


@pytest.mark.parametrize("positions", POSITIONS, ids=position_name)
def test_every_kind_of_positions(positions: Any) -> None:
    """Round trip; and token by token gives what the whole row gives."""
    assert at_default(positions) == []
    embeddings = dataclasses.replace(
        stack_off_default(True).embeddings, positions=positions
    )
    config = decoder_off_default(embeddings=embeddings)
    causal = build(config, Transformer)
    assert Transformer.from_config(causal.get_config()).config == config
    tokens = np.random.default_rng(0).integers(0, 7, (2, 5)).astype("int32")
    # One row is padded on the left.
    mask = np.array([[1] * 5, [0, 0, 1, 1, 1]], "int32")
    whole = hidden(causal, tokens, padding_mask=mask)
    assert_steps_equal(causal, tokens, mask, whole)
    if positions.type == "learned":
        return
    alone = hidden(causal, tokens[1:, 2:])
    np.testing.assert_allclose(whole[1:, 2:], alone, atol=1e-5)


def assert_steps_equal(
    causal: Transformer, tokens: Any, mask: Any, whole: Any
) -> None:
    cache = causal.create_cache(*tokens.shape)
    states = []
    for i in range(tokens.shape[1]):
        x, cache = causal(tokens[:, i : i + 1], padding_mask=mask, cache=cache)
        states.append(ops.convert_to_numpy(x))
    # A padding query sees no key that counts: its output is not defined, and
    # nothing reads it.
    real = mask.astype(bool)
    np.testing.assert_allclose(
        np.concatenate(states, 1)[real], whole[real], atol=1e-5
    )


SWITCHES: dict[str, dict[str, Any]] = {
    "groups": {"num_groups": 1, "group_size": 1, "num_layers": 4},
    "groups of two": {"num_groups": 2, "num_layers": 8},
    "windows": {"full_attention_layers": ()},
    "scale by layer": {
        "num_groups": None,
        "group_size": 1,
        "scale_scores_by_layer": True,
    },
}


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_keeps_the_cache_right(name: str) -> None:
    config = decoder_off_default(**SWITCHES[name])
    assert TransformerConfig.from_dict(config.to_dict()) == config
    causal = build(config, Transformer)
    assert len(causal.blocks) == config.stack.num_blocks
    tokens = np.random.default_rng(0).integers(0, 7, (2, 5)).astype("int32")
    mask = np.ones((2, 5), "int32")
    assert_steps_equal(causal, tokens, mask, hidden(causal, tokens))


def test_the_mask_of_a_window() -> None:
    decoder = stack_off_default(True)
    assert [decoder.window_of(i) for i in range(2)] == [3, None]
    model = Transformer(decoder_off_default())
    mask = np.array([[1] * 5, [0, 1, 1, 1, 1]])
    visible = [
        ops.convert_to_numpy(
            model._mask_penalty(mask[:, :keys], queries, keys, start, None, 3)
        )[:, 0]
        == 0.0
        for queries, keys, start in ((5, 5, 0), (2, 5, 3))
    ]
    expected = np.zeros((2, 5, 5), bool)
    for row, query, key in np.ndindex(2, 5, 5):
        near = query - 3 < key <= query
        expected[row, query, key] = near and mask[row, key]
    np.testing.assert_array_equal(visible[0], expected)
    np.testing.assert_array_equal(visible[1], expected[:, 3:])
    with pytest.raises(ValueError, match=r"`window`.*causal.* 3"):
        AttentionConfig(12, 4, window=3)
    with pytest.raises(ValueError, match=r"`full_attention_layers`.*\[2\]"):
        stack_off_default(True, full_attention_layers=(2,))


def test_final_projection() -> None:
    model = build(decoder_off_default(), Transformer)
    plain = build(decoder_off_default(final_projection=None), Transformer)
    kernel = np.asarray(model.final_projection.kernel.value)
    assert kernel.shape == (12, 8)
    plain.set_weights([w for w in model.get_weights() if w.shape != (12, 8)])
    tokens = np.array([[1, 2, 3]], "int32")
    np.testing.assert_allclose(
        hidden(model, tokens), hidden(plain, tokens) @ kernel, atol=1e-5
    )
    encoder = stack_off_default(False, final_projection=8)
    with pytest.raises(ValueError, match=r"`encoder.final_projection`.* 8"):
        off_default_config(encoder=encoder)


class OwnBlock(TransformerBlock):
    """As a family with a block of its own would have it."""

    def call(self, x: Any, **options: Any) -> Any:
        return x + 1.0, options["cache"]


def test_a_family_brings_its_own_block(monkeypatch: Any) -> None:
    monkeypatch.setitem(blocks.BLOCKS, "own", OwnBlock)
    config = decoder_off_default(
        block_kind="own", final_norm=None, final_projection=None
    )
    model = build(config, Transformer)
    tokens = np.array([[1, 2, 3]], "int32")
    np.testing.assert_allclose(
        hidden(model, tokens), hidden(model.embeddings, tokens) + 2, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"`block_kind`.*'other'"):
        Transformer(decoder_off_default(block_kind="other"))


def test_unknown_field_is_refused() -> None:
    values = off_default_config().to_dict()
    values["encoder"]["block"]["norm"]["axis"] = 1
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
    for variable in model.weights:
        spans = sorted(parts.pop(id(variable)))
        edges = [0, *(stop for _, stop in spans)]
        assert [start for start, _ in spans] == edges[:-1], variable.path
        assert edges[-1] == variable.shape[-1], variable.path
    assert not parts


def num_parameters(config: TransformerConfig) -> int:
    """Counts by arithmetic: tables, blocks, norms, heads of pretraining."""
    d, v, e = (
        config.hidden_size,
        config.vocab_size,
        config.embeddings.table_size,
    )
    tables = 1 if config.share_embeddings else len(config.stacks)
    stacks = tables * v * e + sum(map(num_in_stack, config.stacks))
    heads = 0
    if config.output_head is not None and not config.output_head.tied:
        heads = v * d
    if config.output_head is not None and config.output_head.use_bias:
        heads += v
    if config.masked_lm_head is not None:
        heads = d * e + e + 2 * e + v
    if config.pair_objective != "none":
        heads += (d * d + d) + (2 * d + 2)
    heads += d * (config.stack.two_stream is not None)  # Of the queries.
    return stacks + heads


def num_in_stack(stack: StackConfig) -> int:
    """Counts the parameters of a stack without its token table."""
    d, inner, embeddings = (
        stack.hidden_size,
        stack.block.feed_forward,
        stack.embeddings,
    )
    f, per_width = inner.intermediate_size, 1
    per_width += stack.block.norm.kind == "layer_norm"
    block = (2 + inner.gated) * d * f + per_width * d
    block += ((1 + inner.gated) * f + d) * inner.use_bias
    for attention in (stack.block.attention, stack.block.cross_attention):
        if attention is not None:
            h = attention.head_size
            queries, keys = attention.num_heads * h, 2 * attention.kv_heads * h
            block += d * (queries + keys) + queries * d + per_width * d
            block += (queries + keys) * attention.use_bias
            block += d * attention.has_output_bias
    if stack.two_stream is not None:
        # Distances; biases of content, distance and segment; two segments.
        attention = stack.block.attention
        block += (d + 5) * attention.num_heads * attention.head_size
    e, positions = embeddings.table_size, embeddings.positions
    rows = embeddings.num_segments + getattr(positions, "rows", 0)
    outside = rows * e
    outside += (
        getattr(positions, "num_buckets", 0) * stack.block.attention.num_heads
    )
    outside += per_width * e * (embeddings.norm is not None)
    outside += per_width * d * (stack.final_norm is not None)
    outside += (e * d + d) * (embeddings.projection is not None)
    return outside + stack.num_blocks * block


def test_parameter_count(family: str, model: Any) -> None:
    assert model.count_params() == num_parameters(model.config)
    size, expected = FAMILIES[family].parameters
    assert num_parameters(FAMILIES[family].size(size)) == expected


def test_projections_onto_the_residual_start_as_published() -> None:
    # GPT-2 scales what is added to the residual by its number of terms.
    for family, expected in ("bert", None), ("gpt2", 0.02 / 4**0.5):
        block = tiny(family).block
        for part in block.attention, block.feed_forward:
            assert part.output_initializer_range == expected


def test_initial_values_are_the_published_ones(model: Any) -> None:
    if model.config.kind == "encoder_decoder":
        pytest.skip("the file of each family's tests has its deviations")
    block = model.config.block
    residual = {
        "output_projection/kernel": block.attention.output_initializer_range,
        "down/kernel": block.feed_forward.output_initializer_range,
    }
    for variable in model.trainable_variables:
        value = ops.convert_to_numpy(ops.stop_gradient(variable))
        if variable.name == "bias":
            assert not value.any(), variable.path
        elif variable.name == "scale":
            assert (value == 1).all(), variable.path
        else:
            end = "/".join(variable.path.split("/")[-2:])
            spread = residual.get(end) or 0.02
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
    task = pretraining_task(model.config)
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
