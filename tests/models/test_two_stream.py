"""What the two streams see, and memory of the segments before."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tfllm.models import FAMILIES, PermutationModel
from tfllm.models.two_stream import factorization_mask

FAMILY, VOCAB, LENGTH = "xlnet", 53, 9
# Tokens 2, 4 and 7 are predicted, 4 first and 2 last.
ORDER = np.array([[0, 0, 3, 0, 1, 0, 0, 2, 0]], "int32")
TARGETS = np.array([[2, 4, 7]], "int32")
SEES = {2: {4, 7}, 4: set(), 7: {4}}


def create(**arguments: Any) -> PermutationModel:
    keras.utils.set_random_seed(0)
    config = FAMILIES[FAMILY].config(
        **{
            "num_layers": 3,
            "hidden_size": 16,
            "num_heads": 2,
            "vocab_size": VOCAB,
            "initializer_range": 0.3,
            **arguments,
        }
    )
    model = PermutationModel(config)
    model.build()
    return model


@pytest.fixture(scope="module")
def model() -> PermutationModel:
    return create()


@pytest.fixture
def tokens() -> np.ndarray:
    return np.random.default_rng(0).integers(6, VOCAB, (1, LENGTH))


def gradients(model: Any, tokens: Any, targets: Any) -> np.ndarray:
    """float [outputs, T]: how far each output depends on each token."""
    tf = pytest.importorskip("tensorflow")
    table = tf.convert_to_tensor(model.transformer.embeddings.token_table.value)
    shift = tf.Variable(tf.zeros((1, LENGTH, table.shape[1])))
    with (
        tf.GradientTape() as tape,
        model.transformer.embeddings.shifted(shift),
    ):
        x = model.transformer(
            tokens,
            attention_mask=factorization_mask(ORDER),
            target_positions=targets,
        )
        # Not the sum of a normalized vector, which is constant.
        outputs = tf.reduce_sum(x**3, axis=-1)[0]
    slopes = tape.jacobian(outputs, shift)[:, 0]  # [outputs, T, D]
    return np.abs(slopes.numpy()).max(axis=-1)


def test_a_predicted_token_sees_neither_itself_nor_later_ones(
    model: PermutationModel, tokens: np.ndarray
) -> None:
    slopes = gradients(model, tokens, TARGETS)
    given = {*range(LENGTH)} - {*SEES}
    for row, target in zip(slopes, TARGETS[0], strict=True):
        seen = {i for i, slope in enumerate(row) if slope > 0}
        assert seen == given | SEES[target]


def test_the_content_stream_sees_itself(
    model: PermutationModel, tokens: np.ndarray
) -> None:
    slopes = gradients(model, tokens, None)
    given = {*range(LENGTH)} - {*SEES}
    for position, row in enumerate(slopes):
        seen = {i for i, slope in enumerate(row) if slope > 0}
        assert seen == given | {position} | SEES.get(position, set())


def test_the_token_to_predict_changes_nothing(
    model: PermutationModel, tokens: np.ndarray
) -> None:
    def logits(ids: np.ndarray) -> np.ndarray:
        outputs = model(
            ids,
            masked_positions=TARGETS,
            attention_mask=factorization_mask(ORDER),
        )
        return ops.convert_to_numpy(outputs["plm"])[0]

    other = tokens.copy()
    other[0, 7] += 1
    before, after = logits(tokens), logits(other)
    np.testing.assert_array_equal(before[1:], after[1:])
    assert np.abs(before[0] - after[0]).max() > 1e-4


@pytest.mark.parametrize("memory", [None, 4])
def test_memory_of_the_segments_before(
    memory: int | None, tokens: np.ndarray
) -> None:
    """A past of all tokens, or of enough, is as one row that sees it."""
    model = create(num_layers=1, memory_length=memory)
    cut = 5
    past = model.create_past(1)
    _, past = model(tokens[:, :cut], past=past)
    assert past[0].shape[1] == (memory or cut)
    outputs, past = model(tokens[:, cut:], past=past)
    assert past[0].shape[1] == (memory or LENGTH)
    # In one row: what comes later sees what came before.
    first = cut - (memory or cut)
    whole = ops.convert_to_numpy(model(tokens[:, first:])["plm"])
    np.testing.assert_allclose(
        ops.convert_to_numpy(outputs["plm"]),
        whole[:, cut - first :],
        atol=1e-5,
    )


def test_reused_tokens_of_a_segment(tokens: np.ndarray) -> None:
    model = create(memory_length=4, reuse_length=3)
    past = model.create_past(1)
    for _ in range(2):
        before = past
        _, past = model(tokens, past=past)
        kept = np.concatenate(
            [
                before[0],
                ops.convert_to_numpy(model.transformer.embeddings(tokens))[
                    :, :3
                ],
            ],
            axis=1,
        )[:, -4:]
        np.testing.assert_allclose(past[0], kept, atol=1e-6)


def test_the_past_has_no_gradient() -> None:
    tf = pytest.importorskip("tensorflow")
    model = create(num_layers=1)
    ids = np.array([[7, 8, 9]])
    table = model.transformer.embeddings.token_table.value
    with tf.GradientTape() as tape:
        _, past = model(ids, past=model.create_past(1))
        total = tf.reduce_sum(past[0])
    assert tape.gradient(total, table) is None


def test_streams_do_not_go_with_a_cache(model: PermutationModel) -> None:
    ids = np.array([[7, 8, 9]], "int32")
    cache = model.transformer.create_cache(1, 4)
    with pytest.raises(ValueError, match=r"tokens and their.*\['cache'\]"):
        model.transformer(ids, cache=cache, target_positions=ids * 0)
    with pytest.raises(ValueError, match="`segment_ids`.*`cache`"):
        model.transformer(ids, cache=cache, segment_ids=ids * 0)


def test_a_model_needs_two_streams() -> None:
    with pytest.raises(ValueError, match="`two_stream`.*'bert'"):
        PermutationModel(FAMILIES["bert"].size("tiny", vocab_size=VOCAB))
    stack = create().config.stack
    with pytest.raises(ValueError, match="`two_stream` and `block_kind`"):
        dataclasses.replace(stack, two_stream=None)


REFUSED = {
    "attn_type": "uni",
    "bi_data": True,
    "same_length": True,
    "untie_r": False,
    "summary_type": "first",
    "summary_use_proj": False,
    "d_head": 7,
}


@pytest.mark.parametrize("key", REFUSED)
def test_a_switch_that_is_not_built_is_refused(key: str) -> None:
    family = FAMILIES[FAMILY]
    values = family.to_published(family.size("tiny"))
    assert family.from_published({**values, "d_head": 64})
    with pytest.raises(ValueError, match=f"`{key}`.*{REFUSED[key]}"):
        family.from_published({**values, key: REFUSED[key]})


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("clamp_len", -1, "clamp_distance"),
        ("clamp_len", 0, "clamp_distance"),
        ("mem_len", None, "memory_length"),
        ("mem_len", 0, "memory_length"),
        ("reuse_len", 0, "reuse_length"),
    ],
)
def test_values_that_mean_no_limit(key: str, value: Any, field: str) -> None:
    family = FAMILIES[FAMILY]
    config = family.from_published({key: value})
    assert getattr(config.stack.two_stream, field) is None
    assert family.from_published(family.to_published(config)) == config


@pytest.mark.live_parity
def test_memory_and_order_equal_transformers(tmp_path: Any) -> None:
    torch = pytest.importorskip("torch")
    from tools import parity_cases, parity_compare

    arguments = parity_cases.configs(FAMILY)["off default"]
    model = parity_cases.create(FAMILY, "permutation_lm", arguments)
    theirs = parity_compare.to_transformers(model, tmp_path)
    rng = np.random.default_rng(0)
    order = np.repeat(ORDER, 2, axis=0)
    targets = np.repeat(TARGETS, 2, axis=0)
    visible = ops.convert_to_numpy(factorization_mask(order))
    fixed = {
        "perm_mask": torch.tensor(~visible).float(),
        "target_mapping": torch.tensor(np.eye(LENGTH)[targets]).float(),
        "use_mems": True,
    }
    past, mems = model.create_past(2), None
    for _ in range(3):
        ids = rng.integers(6, VOCAB, (2, LENGTH))
        segments = rng.integers(0, 4, (2, LENGTH))
        ours, past = model(
            ids,
            segment_ids=segments,
            masked_positions=targets,
            attention_mask=visible,
            past=past,
        )
        with torch.no_grad():
            reference = theirs(
                torch.tensor(ids),
                token_type_ids=torch.tensor(segments),
                mems=mems,
                **fixed,
            )
        mems = reference.mems
        pairs = [(ours["plm"], reference.logits.numpy())]
        for x, y in zip(past, mems, strict=True):
            pairs.append((x, y.numpy().transpose(1, 0, 2)))
        for x, y in pairs:
            np.testing.assert_allclose(
                ops.convert_to_numpy(x), y, atol=1e-5, rtol=0
            )


@pytest.mark.live_parity
@pytest.mark.parametrize("name", ["default", "off default"])
def test_an_encoder_with_memory_equals_transformers(
    name: str, tmp_path: Any
) -> None:
    """Segments in a row, some of them padded on the left."""
    torch = pytest.importorskip("torch")
    from tools import parity_cases, parity_compare

    arguments = parity_cases.configs(FAMILY)[name] | {"memory_length": 7}
    model = parity_cases.create(FAMILY, "encoder", arguments)
    theirs = parity_compare.to_transformers(model, tmp_path)
    rng = np.random.default_rng(0)
    past, mems = model.create_past(2), None
    for padding in ([0, 3], [2, 0], [0, 0]):
        ids = rng.integers(6, VOCAB, (2, LENGTH))
        mask = (np.arange(LENGTH) >= np.array(padding)[:, None]).astype(int)
        ours, past = model(ids, padding_mask=mask, past=past)
        with torch.no_grad():
            reference = theirs(
                torch.tensor(ids),
                attention_mask=torch.tensor(mask),
                mems=mems,
                use_mems=True,
            )
        mems = reference.mems
        np.testing.assert_allclose(
            ops.convert_to_numpy(ours)[mask == 1],
            reference.last_hidden_state.numpy()[mask == 1],
            atol=1e-5,
            rtol=0,
        )
    assert past[0].shape == (2, 7, arguments["hidden_size"])
