"""The sequence-to-sequence task: its loss, `fit`, what it takes."""

import dataclasses
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.models import test_encoder_decoder as tiny
from tfllm import tasks
from tfllm.tasks import CausalLM, Seq2SeqLM
from tfllm.tasks.targets import IGNORED


def config(dropout: float = 0.0) -> Any:
    return tiny.config().with_dropout(dropout)


def create(dropout: float = 0.0) -> Seq2SeqLM:
    keras.utils.set_random_seed(0)
    return Seq2SeqLM(config(dropout))


def features() -> dict[str, np.ndarray]:
    return tiny.batch()


def labels() -> np.ndarray:
    rng = np.random.default_rng(3)
    values = rng.integers(2, tiny.VOCAB, (3, tiny.TARGET)).astype("int32")
    return np.where(features()["padding_mask"] > 0, values, IGNORED)


def test_the_loss_is_the_mean_over_labels_that_count() -> None:
    task = create()
    task.compile("sgd")
    x, y = features(), labels()
    y[0, 2] = IGNORED
    logits = np.float64(task.predict_on_batch(x)["seq2seq"])
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    counts = y != IGNORED
    chosen = np.take_along_axis(logits, np.maximum(y, 0)[..., None], 2)[..., 0]
    expected = -chosen[counts].mean()
    values = task.test_on_batch(x, y, return_dict=True)
    np.testing.assert_allclose(values["loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(values["seq2seq_loss"], expected, rtol=1e-5)
    np.testing.assert_allclose(
        values["perplexity"], np.exp(expected), rtol=1e-5
    )
    hits = (logits.argmax(-1) == y)[counts].mean()
    np.testing.assert_allclose(values["seq2seq_accuracy"], hits, rtol=1e-5)


def test_fit_learns_and_accumulation_is_exact() -> None:
    def train(**options: Any) -> tuple[list[float], list[np.ndarray]]:
        task = create()
        # Three rows in three parts: each part has another number of labels.
        task.compile(keras.optimizers.Adam(0.01), **options)
        history = task.fit(
            features(), labels(), batch_size=3, epochs=8, verbose=0
        )
        return history.history["loss"], task.get_weights()

    losses, weights = train()
    assert losses[-1] < losses[0] - 0.5
    others, same = train(accumulation_steps=3)
    np.testing.assert_allclose(losses, others, rtol=1e-4)
    for one, other in zip(weights, same, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"r_drop": 1.0}, marks=pytest.mark.wide),
        {"adversarial": "fgm", "adversarial_epsilon": 1.0},
    ],
)
def test_methods_and_a_dataset(options: dict[str, Any]) -> None:
    task = create(dropout=0.1)
    task.compile("adam", **options)
    batches = tf.data.Dataset.from_tensors((features(), labels())).repeat(3)
    task.fit(batches, verbose=0, shuffle=False)
    assert np.isfinite(task.evaluate(batches, verbose=0)).all()


def test_a_copy_has_the_same_config() -> None:
    task = create()
    again = Seq2SeqLM.from_config(task.get_config())
    again.set_weights(task.get_weights())
    np.testing.assert_array_equal(
        again.predict_on_batch(features())["seq2seq"],
        task.predict_on_batch(features())["seq2seq"],
    )


def test_each_kind_of_decoder_has_its_task() -> None:
    both = config()
    alone = dataclasses.replace(both, encoder=None, decoder=decoder())
    assert Seq2SeqLM.fits(both)
    assert not CausalLM.fits(both)
    assert CausalLM.fits(alone)
    assert not Seq2SeqLM.fits(alone)
    assert tasks.TASKS["seq2seq_lm"] is Seq2SeqLM


def decoder() -> Any:
    stack = tiny.stack(True)
    block = dataclasses.replace(stack.block, cross_attention=None)
    return dataclasses.replace(stack, block=block)


def test_what_fit_does_not_take() -> None:
    task = create()
    task.compile("sgd")
    x, y = features(), labels()
    with pytest.raises(ValueError, match="takes no texts.*source.*target"):
        task.fit(["a text"])
    with pytest.raises(ValueError, match="takes no texts"):
        task.fit(["a text"], y[:1])
    short = {**x, "source_mask": x["source_mask"][:, 1:]}
    with pytest.raises(ValueError, match="`source_mask`.*`source_ids`"):
        task.fit(short, y)
    with pytest.raises(ValueError, match="`source_ids` must be from 0 to 36"):
        task.fit({**x, "source_ids": x["source_ids"] + 40}, y)
    bare = {k: v for k, v in x.items() if not k.startswith("source")}
    with pytest.raises(ValueError, match="x must have `source_ids`"):
        task.fit(bare, y)
    with pytest.raises(ValueError, match="needs a tokenizer"):
        task.generate(["a text"])
