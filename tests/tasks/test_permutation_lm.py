"""The loss, what fills masks, and that training learns."""

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.tasks import PermutationLM

VOCAB, LENGTH, ROWS = 40, 12, 8


def create(**arguments: Any) -> PermutationLM:
    keras.utils.set_random_seed(0)
    config = FAMILIES["xlnet"].config(
        num_layers=2,
        hidden_size=16,
        num_heads=2,
        vocab_size=VOCAB,
        dropout=0.0,
        initializer_range=0.2,
        **arguments,
    )
    return PermutationLM(config)


def batch(seed: int = 0) -> tuple[dict[str, Any], ...]:
    """Rows that count up: each token follows from any other."""
    rng = np.random.default_rng(seed)
    first = rng.integers(6, VOCAB - LENGTH, (ROWS, 1))
    tokens = (first + np.arange(LENGTH)).astype("int32")
    positions = np.sort(
        np.stack([rng.permutation(LENGTH)[:3] for _ in range(ROWS)]), axis=1
    )
    order = np.zeros_like(tokens)
    ranks = np.stack([1 + rng.permutation(3) for _ in range(ROWS)])
    np.put_along_axis(order, positions, ranks.astype("int32"), axis=1)
    x = {
        "token_ids": tokens,
        "masked_positions": positions.astype("int32"),
        "factorization_order": order,
    }
    labels = np.take_along_axis(tokens, positions, axis=1)
    return x, {"plm": labels}, {"plm": np.ones(positions.shape, "float32")}


def test_the_loss() -> None:
    task = create()
    x, y, weights = batch()
    weights["plm"][0, 1] = 0.0
    logits = task(x)["plm"].numpy()
    assert logits.shape == (ROWS, 3, VOCAB)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    right = np.take_along_axis(p, y["plm"][..., None], axis=-1)[..., 0]
    loss, hits = task.objective_sums(
        {"plm": tf.constant(y["plm"])},
        {"plm": tf.constant(logits)},
        {"plm": tf.constant(weights["plm"])},
    )["plm"]
    np.testing.assert_allclose(
        loss, -(np.log(right) * weights["plm"]).sum(), rtol=1e-5
    )
    best = logits.argmax(-1) == y["plm"]
    assert float(hits) == (best * weights["plm"]).sum()


def test_training_learns_what_follows_from_the_order() -> None:
    task = create()
    task.compile(keras.optimizers.Adam(1e-2))
    data = tf.data.Dataset.from_generator(
        lambda: (batch(seed) for seed in range(150)),
        output_signature=tf.nest.map_structure(
            lambda v: tf.TensorSpec(v.shape, v.dtype), batch()
        ),
    )
    x, y, _ = batch(1000)

    def accuracy() -> float:
        guesses = task(x)["plm"].numpy().argmax(-1)
        return float((guesses == y["plm"]).mean())

    assert accuracy() < 0.2
    task.fit(data.repeat(), steps_per_epoch=150, shuffle=False, verbose=0)
    assert accuracy() > 0.5


def test_masks_are_seen_by_no_token() -> None:
    task = create()
    x = {"token_ids": batch()[0]["token_ids"].copy()}
    mask = 3
    x["token_ids"][:, [4, 7]] = mask
    filled = task(task.with_masks(x, mask))["plm"].numpy()
    other = {"token_ids": x["token_ids"].copy()}
    other["token_ids"][:, [4, 7]] = mask + 1
    order = task.with_masks(x, mask)["factorization_order"]
    assert order.numpy().tolist()[0] == [0] * 4 + [1, 0, 0, 1] + [0] * 4
    same = task({**other, "factorization_order": order})["plm"].numpy()
    np.testing.assert_array_equal(filled, same)
    positions = np.array([[4, 7]] * ROWS, "int32")
    few = {**task.with_masks(x, mask), "masked_positions": positions}
    np.testing.assert_allclose(
        task(few)["plm"].numpy(), filled[:, [4, 7]], atol=1e-5
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [("XLNetLMHeadModel", "permutation_lm"), ("XLNetModel", "embedding")],
)
def test_folders_of_others(
    name: str, kind: str, tmp_path: pathlib.Path
) -> None:
    model_folder.save(create(), tmp_path)
    path = tmp_path / "config.json"
    text = path.read_text().replace("XLNetLMHeadModel", name)
    path.write_text(text.replace('"tfllm"', '"other"'))
    assert model_folder.load(tmp_path).kind == kind


def test_a_family_without_two_streams_does_not_fit() -> None:
    assert not PermutationLM.fits(FAMILIES["bert"].config())
    assert "permutation_lm" not in FAMILIES["bert"].architectures
    with pytest.raises(ValueError, match="two_stream"):
        PermutationLM(FAMILIES["bert"].size("tiny", vocab_size=VOCAB))
