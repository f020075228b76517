"""Replaced-token detection: draws, losses, gradients, what is shared."""

import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tasks.tiny_task import dataset, difference
from tfllm.interop import model_folder
from tfllm.learning.optimizers import OptimizerConfig, create
from tfllm.learning.schedules import ScheduleConfig
from tfllm.models import FAMILIES
from tfllm.models.generator import generator_config
from tfllm.tasks import MaskedLM, ReplacedTokenDetection
from tfllm.tasks.replaced_token_detection import draw_tokens
from tfllm.training.checkpoints import Checkpoints

ROWS, LENGTH, SLOTS, VOCABULARY = 4, 8, 3, 40
MASK = 4
Batch = tuple[dict[str, Any], dict[str, Any], dict[str, Any]]


def new_task(dropout: float = 0.0, **settings: Any) -> ReplacedTokenDetection:
    keras.utils.set_random_seed(1)
    config = FAMILIES["electra"].config(
        num_layers=1,
        hidden_size=16,
        num_heads=4,
        embedding_size=12,
        vocab_size=VOCABULARY,
        max_position_embeddings=LENGTH,
        dropout=dropout,
        initializer_range=0.3,
    )
    return ReplacedTokenDetection(config, **settings)


def batch(seed: int = 0) -> Batch:
    """Rows with one to three masks, the first of them at any position."""
    rng = np.random.default_rng(seed)
    original = rng.integers(5, VOCABULARY, (ROWS, LENGTH)).astype("int32")
    lengths = rng.integers(4, LENGTH + 1, (ROWS, 1))
    real = (np.arange(LENGTH) < lengths).astype("int32")
    positions = np.zeros((ROWS, SLOTS), "int32")
    weights = np.zeros((ROWS, SLOTS), "float32")
    choices = np.full((ROWS, LENGTH), -1, "int32")
    for row in range(ROWS):
        count = 1 + row % SLOTS
        places = np.sort(rng.choice(int(lengths[row, 0]), count, replace=False))
        positions[row, :count], weights[row, :count] = places, 1.0
        choices[row, places] = rng.integers(0, 2**24, count)
    x = {
        "token_ids": np.where(choices >= 0, MASK, original).astype("int32"),
        "padding_mask": real,
        "segment_ids": np.zeros_like(real),
        "masked_positions": positions,
        "choices": choices,
    }
    labels = np.take_along_axis(original, positions, 1)
    y = {"mlm": np.where(weights > 0, labels, 0), "rtd": original}
    return x, y, {"mlm": weights, "rtd": real.astype("float32")}


def fitted(steps: int = 3, **options: Any) -> ReplacedTokenDetection:
    task = new_task()
    task.compile(
        create(OptimizerConfig("adamw"), ScheduleConfig(1e-2, steps)),
        **options,
    )
    data = dataset([batch(seed) for seed in range(steps)])
    task.fit(data, verbose=0, shuffle=False)
    return task


def of_generator_alone(task: ReplacedTokenDetection) -> list[Any]:
    own = {id(v) for v in task.model.variables}
    return [v for v in task.generator.trainable_variables if id(v) not in own]


def test_draws_follow_the_distribution() -> None:
    count = 4096
    shares = np.array([0.5, 0.0, 0.25, 0.125, 0.125])
    logits = np.log(np.maximum(shares, 1e-30)).astype("float32")
    # Each choice once, so that the counts are those of the shares.
    choices = np.arange(count) * (2**24 // count)
    drawn = draw_tokens(
        tf.tile(logits[np.newaxis], [count, 1]), tf.constant(choices, tf.int32)
    )
    found = np.bincount(drawn.numpy(), minlength=len(shares))
    np.testing.assert_array_equal(found, shares * count)


def test_the_last_token_is_drawn_by_the_largest_choice() -> None:
    logits = np.zeros((1, 3), "float32")
    drawn = draw_tokens(tf.constant(logits), tf.constant([2**24 - 1]))
    assert drawn.numpy().tolist() == [2]


def test_tokens_are_replaced_at_masks_alone() -> None:
    task, (x, _, weights) = new_task(), batch()
    outputs = {k: v.numpy() for k, v in task(x).items()}
    assert outputs["mlm"].shape == (ROWS, SLOTS, VOCABULARY)
    assert outputs["rtd"].shape == (ROWS, LENGTH)
    expected = x["token_ids"].copy()
    for row in range(ROWS):
        for slot, place in enumerate(x["masked_positions"][row]):
            if weights["mlm"][row, slot]:
                logits = outputs["mlm"][row, slot].astype("float64")
                shares = np.exp(logits - logits.max())
                level = x["choices"][row, place] / 2**24 * shares.sum()
                drawn = np.searchsorted(np.cumsum(shares), level, "right")
                expected[row, place] = drawn
    np.testing.assert_array_equal(outputs["token_ids"], expected)
    # The model reads these tokens.
    alone = {**x, "token_ids": expected}
    del alone["masked_positions"], alone["choices"]
    read = task(alone)
    assert set(read) == {"rtd"}
    np.testing.assert_allclose(read["rtd"], outputs["rtd"], atol=1e-6)


def test_losses_and_figures() -> None:
    task, (x, y, weights) = new_task(), batch()
    task.compile("sgd")
    outputs = {k: v.numpy() for k, v in task(x).items()}
    # One mask has the right token: it is original.
    place = x["masked_positions"][0, 0]
    y["rtd"][0, place] = outputs["token_ids"][0, place]
    values = task.evaluate(dataset([(x, y, weights)]), verbose=0)
    found = dict(zip(task.metrics_names, values, strict=True))

    logits = outputs["rtd"].astype("float64")
    replaced = outputs["token_ids"] != y["rtd"]
    assert replaced.sum() == weights["mlm"].sum() - 1
    losses = np.log1p(np.exp(np.where(replaced, -logits, logits)))
    real = x["padding_mask"] == 1
    mlm = outputs["mlm"].astype("float64")
    chosen = np.take_along_axis(mlm, y["mlm"][..., None], 2)[..., 0]
    of_masks = np.log(np.exp(mlm).sum(-1)) - chosen
    detected = logits > 0
    hits = (replaced & detected & real).sum()
    expected = {
        "mlm_loss": of_masks[weights["mlm"] > 0].mean(),
        "rtd_loss": losses[real].mean(),
        "rtd_accuracy": (detected == replaced)[real].mean(),
        "replaced_precision": hits / (detected & real).sum(),
        "replaced_recall": hits / (replaced & real).sum(),
    }
    expected["loss"] = expected["mlm_loss"] + 50 * expected["rtd_loss"]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-4), name


def test_no_gradient_from_the_detection_to_the_generator() -> None:
    task, (x, y, weights) = new_task(), batch()
    generator = of_generator_alone(task)
    assert generator
    with tf.GradientTape(persistent=True) as tape:
        sums = task.objective_sums(y, task(x), weights)
    slopes = tape.gradient(sums["rtd"][0], [v.value for v in generator])
    assert all(slope is None for slope in slopes)
    slopes = tape.gradient(sums["mlm"][0], [v.value for v in generator])
    assert all(slope is not None for slope in slopes)
    # Both learn the embeddings.
    table = task.model.transformer.embeddings.token_table.value
    for name in ("mlm", "rtd"):
        slope = tf.convert_to_tensor(tape.gradient(sums[name][0], table))
        assert np.abs(slope.numpy()).max() > 0.0


def test_embeddings_are_shared_but_for_the_projection() -> None:
    task = new_task()
    one = task.model.transformer.embeddings
    other = task.generator.transformer.embeddings
    assert one.token_table is other.token_table
    assert one.segment_table is other.segment_table
    assert one.positions is other.positions
    assert one.norm is other.norm
    assert one.projection is not other.projection
    assert len(task.variables) == len({id(v) for v in task.variables})


@pytest.mark.parametrize(("size", "share"), [("base", 1 / 3), ("large", 1 / 4)])
def test_generators_of_the_paper(size: str, share: float) -> None:
    """Table 6: a third and a quarter of the width."""
    family = FAMILIES["electra"]
    found = generator_config(family.size(size), share)
    assert found == family.size(f"{size}_generator")
    small = generator_config(family.size("small"), 1 / 4)
    assert small.hidden_size == 64
    assert small.block.feed_forward.intermediate_size == 256
    assert generator_config(family.size("small"), 1.0) == family.size("small")


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_size_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match=f"`generator_size`.*{share}"):
        new_task(generator_size=share)


def test_accumulation_is_exact() -> None:
    """The draws come with the batch, however it is split."""
    whole, split = fitted(), fitted(accumulation_steps=2)
    assert difference(whole, split, key_bias=False) < 1e-5


def test_a_run_resumes_with_its_generator(tmp_path: pathlib.Path) -> None:
    data = [batch(seed) for seed in range(4)]

    def compiled() -> ReplacedTokenDetection:
        task = new_task(dropout=0.2)
        task.compile(create(OptimizerConfig("adamw"), ScheduleConfig(1e-2, 4)))
        return task

    whole = compiled()
    whole.fit(dataset(data), verbose=0, shuffle=False)
    first = compiled()
    first.fit(dataset(data[:2]), verbose=0, shuffle=False)
    checkpoints = Checkpoints(str(tmp_path), first, keep=1)
    checkpoints.save()
    checkpoints.wait()
    again = compiled()
    assert Checkpoints(str(tmp_path), again, keep=1).restore()
    again.fit(dataset(data[2:]), verbose=0, shuffle=False)
    assert of_generator_alone(again)
    assert difference(whole, again) == 0.0


@pytest.fixture(scope="module")
def trained() -> ReplacedTokenDetection:
    return fitted()


def test_folder(
    trained: ReplacedTokenDetection, tmp_path: pathlib.Path
) -> None:
    model_folder.save(trained, tmp_path)
    loaded = model_folder.load(tmp_path)
    assert isinstance(loaded, ReplacedTokenDetection)
    assert difference(trained, loaded) == 0.0
    x = batch()[0]
    for name, value in trained(x).items():
        np.testing.assert_array_equal(value, loaded(x)[name])
    generator = model_folder.load(tmp_path / "generator")
    assert isinstance(generator, MaskedLM)
    assert generator.config == trained.generator.config
    del x["choices"]
    np.testing.assert_array_equal(
        generator(x)["mlm"], trained(batch()[0])["mlm"]
    )


def test_a_folder_without_a_generator(
    trained: ReplacedTokenDetection, tmp_path: pathlib.Path, caplog: Any
) -> None:
    model_folder.save(trained.model, tmp_path)
    loaded = model_folder.load(tmp_path)
    assert loaded.kind == "replaced_token_detection"
    assert "no folder `generator`" in caplog.text
    x = {"token_ids": batch()[0]["token_ids"]}
    np.testing.assert_array_equal(loaded(x)["rtd"], trained(x)["rtd"])


def test_the_embeddings_of_the_model_count(
    trained: ReplacedTokenDetection, tmp_path: pathlib.Path, caplog: Any
) -> None:
    model_folder.save(trained, tmp_path)
    model_folder.save(fitted(1).generator, tmp_path / "generator")
    loaded = model_folder.load(tmp_path)
    assert "has other weights" in caplog.text
    np.testing.assert_array_equal(
        loaded.generator.transformer.embeddings.token_table.numpy(),
        trained.model.transformer.embeddings.token_table.numpy(),
    )


def test_a_generator_of_another_size(
    trained: ReplacedTokenDetection, tmp_path: pathlib.Path
) -> None:
    model_folder.save(trained, tmp_path)
    with pytest.raises(ValueError, match="generator' must match the model"):
        model_folder.load(tmp_path, generator_size=0.5)


@pytest.mark.live_parity
def test_both_models_load_in_transformers(
    trained: ReplacedTokenDetection, tmp_path: pathlib.Path
) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model_folder.save(trained, tmp_path)
    x = batch()[0]
    outputs = trained(x)
    for cls, folder, ids, ours in (
        ("ElectraForPreTraining", tmp_path, outputs["token_ids"], "rtd"),
        ("ElectraForMaskedLM", tmp_path / "generator", x["token_ids"], "mlm"),
    ):
        theirs, info = getattr(transformers, cls).from_pretrained(
            folder, output_loading_info=True
        )
        assert not any(v for k, v in info.items() if k.endswith("_keys"))
        with torch.no_grad():
            logits = theirs(
                torch.tensor(np.array(ids)).long(),
                attention_mask=torch.tensor(x["padding_mask"]),
            ).logits.numpy()
        if ours == "mlm":
            places = x["masked_positions"][..., None]
            logits = np.take_along_axis(logits, places, axis=1)
            real = batch()[2]["mlm"] > 0
        else:
            real = x["padding_mask"] == 1
        np.testing.assert_allclose(
            outputs[ours].numpy()[real], logits[real], atol=1e-5
        )
