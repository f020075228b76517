"""What every encoder-decoder must do: one as T5, and those of FAMILIES."""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfllm.layers import (
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    NormConfig,
    OutputHeadConfig,
    RelativeBiasConfig,
)
from tfllm.models import (
    FAMILIES,
    LanguageModel,
    StackConfig,
    TransformerConfig,
)
from tools.family_arguments import off_default

VOCAB, WIDTH, HEADS = 37, 16, 4
SOURCE, TARGET = 7, 6


def stack(decodes: bool) -> StackConfig:
    def attention(causal: bool) -> AttentionConfig:
        return AttentionConfig(
            WIDTH,
            HEADS,
            head_dim=3,
            use_bias=False,
            scale=1.0,
            dropout=0.1,
            causal=causal,
            initializer_range=0.3,
        )

    norm = NormConfig(WIDTH, kind="rms_norm", epsilon=1e-6)
    return StackConfig(
        embeddings=EmbeddingConfig(
            VOCAB,
            WIDTH,
            positions=RelativeBiasConfig(
                HEADS, 8, 20, not decodes, initializer_range=0.5
            ),
            dropout=0.1,
            initializer_range=1.0,
        ),
        block=BlockConfig(
            attention=attention(decodes),
            feed_forward=FeedForwardConfig(
                WIDTH,
                20,
                activation="gelu_tanh",
                gated=True,
                use_bias=False,
                initializer_range=0.3,
            ),
            norm=norm,
            norm_placement="pre",
            dropout=0.1,
            cross_attention=attention(False) if decodes else None,
        ),
        num_layers=3 if decodes else 2,
        final_norm=norm,
        final_dropout=0.1,
    )


def config(**changes: Any) -> TransformerConfig:
    """As T5 1.0, but small; `changes` make others of it."""
    values: dict[str, Any] = {
        "encoder": stack(False),
        "decoder": stack(True),
        "output_head": OutputHeadConfig(WIDTH, VOCAB, scale=WIDTH**-0.5),
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }
    return TransformerConfig("t5_like", **{**values, **changes})


VARIANTS = {
    "tied": config(),
    "untied": config(output_head=OutputHeadConfig(WIDTH, VOCAB, tied=False)),
    "two tables": config(share_embeddings=False),
}


def build(settings: TransformerConfig, **options: Any) -> LanguageModel:
    keras.utils.set_random_seed(0)
    model = LanguageModel(settings, **options)
    model.build()
    return model


def settings_of(name: str) -> TransformerConfig:
    """One of VARIANTS, or a family with weights that show."""
    if name in VARIANTS:
        return VARIANTS[name]
    arguments = off_default(FAMILIES[name], vocab_size=VOCAB)
    if "decoder_vocab_size" in arguments:
        arguments["decoder_vocab_size"] = VOCAB
    return FAMILIES[name].config(**arguments)


CASES = [*VARIANTS]
CASES += [
    n for n, f in FAMILIES.items() if f.config().kind == "encoder_decoder"
]


@pytest.fixture(name="model", scope="module", params=CASES)
def _model(request: Any) -> LanguageModel:
    return build(settings_of(request.param))


@pytest.fixture(scope="module")
def tied() -> LanguageModel:
    """For what test_contract.py checks of each family."""
    return build(VARIANTS["tied"])


def batch() -> dict[str, np.ndarray]:
    """Three rows; both sides are padded on the right."""
    rng = np.random.default_rng(0)
    inputs = {}
    for prefix, mask_name, length, lengths in (
        ("token_ids", "padding_mask", TARGET, [6, 4, 2]),
        ("source_ids", "source_mask", SOURCE, [7, 3, 5]),
    ):
        mask = (np.arange(length) < np.array(lengths)[:, None]).astype("int32")
        ids = rng.integers(2, VOCAB, (3, length)).astype("int32")
        inputs |= {prefix: ids * mask, mask_name: mask}
    return inputs


def logits(model: Any, inputs: dict[str, Any]) -> np.ndarray:
    """Returns the logits of real tokens, zero elsewhere."""
    found = ops.convert_to_numpy(model(**inputs)["clm"])
    return np.where(inputs["padding_mask"][..., None] > 0, found, 0.0)


def test_kind_and_shapes(model: LanguageModel) -> None:
    settings = model.config
    assert settings.kind == "encoder_decoder"
    assert settings.generates
    assert settings.reads_both_sides
    outputs = model(**batch())
    assert outputs["clm"].shape == (3, TARGET, VOCAB)
    width = settings.hidden_size
    assert outputs["hidden_states"].shape == (3, TARGET, width)
    count = sum(stack.num_blocks for stack in settings.stacks)
    assert len(model.transformer.blocks) == count


def test_tables(model: LanguageModel) -> None:
    paths = [v.path for v in model.trainable_variables]
    tables = [p for p in paths if p.endswith("token_table")]
    assert len(tables) == (1 if model.config.share_embeddings else 2)
    assert len(paths) == len(set(paths))
    biases = [p for p in paths if "relative_bias" in p]
    kind = model.config.embeddings.positions.type
    assert len(biases) == (2 if kind == "relative_bias" else 0)


def test_no_look_ahead(model: LanguageModel) -> None:
    inputs = batch()
    changed = {**inputs, "token_ids": inputs["token_ids"].copy()}
    changed["token_ids"][:, 3] += 1
    before, after = logits(model, inputs), logits(model, changed)
    np.testing.assert_allclose(before[:, :3], after[:, :3], atol=1e-5)
    assert np.abs(before[0, 3:] - after[0, 3:]).max(-1).min() > 1e-4


def test_every_token_reads_the_whole_source(model: LanguageModel) -> None:
    inputs = batch()
    changed = {**inputs, "source_ids": inputs["source_ids"].copy()}
    changed["source_ids"][0, -1] += 1
    difference = np.abs(logits(model, inputs) - logits(model, changed))
    assert difference[0].max(-1).min() > 1e-4
    np.testing.assert_array_equal(difference[1:], 0.0)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(model: LanguageModel, side: str) -> None:
    positions = model.config.embeddings.positions
    is_absolute = positions.type in ("learned", "sinusoidal")
    if side == "left" and is_absolute and positions.counted_from == "start":
        pytest.skip("positions count padding on the left")
    inputs = batch()
    expected = logits(model, inputs)
    pads = ((0, 0), (2, 0) if side == "left" else (0, 2))
    longer = {}
    for name, value in inputs.items():
        longer[name] = np.pad(value, pads)
        if name.endswith("_ids"):
            mask = longer[name] == 0
            longer[name] = np.where(mask, 5, longer[name])
    longer |= {
        name: np.pad(inputs[name], pads)
        for name in ("padding_mask", "source_mask")
    }
    found = logits(model, longer)
    found = found[:, 2:] if side == "left" else found[:, :-2]
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("prefill", [1, 4])
def test_cached_equals_full_forward(model: LanguageModel, prefill: int) -> None:
    inputs = batch()
    cache = model.create_cache(
        3, TARGET, inputs["source_ids"], inputs["source_mask"]
    )
    read_once = cache.memory
    tokens = inputs["token_ids"]
    parts = [tokens[:, :prefill]]
    parts += [tokens[:, i : i + 1] for i in range(prefill, TARGET)]
    found = []
    for part in parts:
        outputs, cache = model(
            part, padding_mask=inputs["padding_mask"], cache=cache
        )
        found.append(ops.convert_to_numpy(outputs["clm"]))
    assert int(cache.length) == TARGET
    assert cache.memory[0].keys is read_once[0].keys
    whole = np.concatenate(found, 1) * inputs["padding_mask"][..., None]
    np.testing.assert_allclose(whole, logits(model, inputs), atol=2e-5)


def test_config_round_trip(model: LanguageModel) -> None:
    copy = LanguageModel.from_config(model.get_config())
    assert copy.config == model.config
    other = model.config.with_vocab_size(50).with_dropout(0.2)
    assert other.encoder.embeddings.vocab_size == 50
    assert other.decoder.block.cross_attention.dropout == 0.2
    assert other.output_head.vocab_size == 50


@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")
def test_mixed_precision(tied: LanguageModel) -> None:
    low = build(tied.config, dtype="mixed_bfloat16")
    low.set_weights(tied.get_weights())
    assert {v.dtype for v in low.trainable_variables} == {"float32"}
    outputs = low(**batch())
    assert outputs["clm"].dtype == "float32"
    exact = logits(tied, batch())
    difference = np.abs(logits(low, batch()) - exact)
    assert difference.mean() < 0.05 * np.abs(exact).mean()


def test_every_weight_has_a_finite_gradient(tied: LanguageModel) -> None:
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tied(**batch(), training=True)["clm"] ** 2)
    variables = tied.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert gradient is not None, variable.path
        gradient = tf.convert_to_tensor(gradient).numpy()
        assert np.isfinite(gradient).all(), variable.path
        assert gradient.any(), variable.path


def test_saved_model_equals_keras(
    tied: LanguageModel, tmp_path: pathlib.Path
) -> None:
    tf = pytest.importorskip("tensorflow")
    signature = {
        name: tf.TensorSpec([None, None], tf.int32, name=name)
        for name in batch()
    }
    module = tf.Module()
    module.variables_of_model = [v.value for v in tied.variables]
    module.serve = tf.function(
        lambda inputs: tied(**inputs)["clm"], input_signature=[signature]
    )
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    inputs = {name: tf.constant(value) for name, value in batch().items()}
    np.testing.assert_allclose(
        loaded.serve(inputs).numpy(), tied(**batch())["clm"], atol=1e-5
    )


def test_stacks_must_fit() -> None:
    decoder = stack(True)
    block = dataclasses.replace(decoder.block, cross_attention=None)
    with pytest.raises(ValueError, match=r"`block.cross_attention`.*none"):
        config(decoder=dataclasses.replace(decoder, block=block))
    with pytest.raises(ValueError, match=r"`encoder` must not be causal"):
        config(encoder=stack(True))
    with pytest.raises(ValueError, match=r"`decoder` must be causal"):
        config(decoder=stack(False))
    with pytest.raises(ValueError, match=r"neither"):
        config(encoder=None, decoder=None)


PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11]]


def greedy(model: LanguageModel, prompt: list[int], count: int) -> list[int]:
    """Without a cache, and without padding."""
    ids = [model.config.decoder_start_token_id]
    for _ in range(count):
        outputs = model(np.array([ids]), source_ids=np.array([prompt]))
        ids.append(int(ops.convert_to_numpy(outputs["clm"])[0, -1].argmax()))
    return ids[1:]


def test_generation_reads_the_prompt_with_the_encoder(
    model: LanguageModel,
) -> None:
    pytest.importorskip("tensorflow")
    from tfllm.generation import GenerationConfig
    from tfllm.generation.generate import generate

    output = generate(model, PROMPTS, GenerationConfig(max_new_tokens=6))
    found = [ids for (ids,) in output.sequences]
    assert found == [greedy(model, prompt, 6) for prompt in PROMPTS]


@pytest.mark.parametrize(
    "dtype",
    [
        "mixed_float16",
        pytest.param("mixed_bfloat16", marks=pytest.mark.wide),
    ],
)
@pytest.mark.filterwarnings("ignore:__array__ impl:DeprecationWarning")
def test_generation_in_half_precision(tied: LanguageModel, dtype: str) -> None:
    """Each token is the best of the exact model, but for rounding."""
    pytest.importorskip("tensorflow")
    from tfllm.generation import GenerationConfig
    from tfllm.generation.generate import generate

    low = build(tied.config, dtype=dtype)
    low.set_weights(tied.get_weights())
    for beams in (1, 3):
        settings = GenerationConfig(max_new_tokens=5, num_beams=beams)
        output = generate(low, PROMPTS, settings)
        assert np.isfinite(output.scores).all()
        for prompt, (ids,) in zip(PROMPTS, output.sequences, strict=True):
            assert len(ids) == 5
            row = np.array([[tied.config.decoder_start_token_id, *ids[:-1]]])
            found = tied(row, source_ids=np.array([prompt]))["clm"]
            exact = ops.convert_to_numpy(found)[0]
            chosen = exact[np.arange(5), ids]
            # Beams may begin with another token than the best.
            if beams == 1:
                tolerance = 0.05 * np.abs(exact).max()
                assert (chosen > exact.max(-1) - tolerance).all()


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3},
        pytest.param(
            {"penalty_alpha": 0.4, "top_k": 3}, marks=pytest.mark.wide
        ),
        {"draft": True},
    ],
    ids=str,
)
def test_every_way_of_generating(options: dict[str, Any]) -> None:
    """Compiled equals eager, and a row alone the row of a batch."""
    pytest.importorskip("tensorflow")
    from tfllm.generation import GenerationConfig
    from tfllm.generation.generate import generate

    model = build(VARIANTS["tied"])
    options = dict(options)
    draft = build(VARIANTS["two tables"]) if options.pop("draft", 0) else None
    settings = GenerationConfig(max_new_tokens=5, eos_token_id=1, **options)
    first = generate(model, PROMPTS, settings, draft=draft)
    eager = generate(model, PROMPTS, settings, draft=draft, compiled=False)
    assert first.sequences == eager.sequences
    alone = generate(model, PROMPTS[:1], settings, draft=draft)
    assert alone.sequences == first.sequences[:1]
    if draft is not None:
        plain = generate(model, PROMPTS, settings)
        assert plain.sequences == first.sequences
