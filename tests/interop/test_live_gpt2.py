"""GPT-2 beside an installed Transformers: folders, training, perplexity."""

import dataclasses
import math
import pathlib
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.causal.batches import CausalDataConfig, open_causal_data
from tfllm.data.vocabularies import byte_bpe
from tfllm.evaluation.evaluate import evaluate
from tfllm.interop import model_folder
from tfllm.learning import optimizers
from tfllm.models import FAMILIES
from tfllm.tasks import CausalLM
from tfllm.tokenizers import load_tokenizer

pytestmark = pytest.mark.live_parity

WIKITEXT = pathlib.Path(__file__).parents[3] / "shared/data/wikitext-2"
SIZE = {
    "num_layers": 3,
    "hidden_size": 48,
    "num_heads": 4,
    "max_position_embeddings": 64,
    "dropout": 0.0,
}
STEPS, BATCH, LENGTH, RATE = 50, 8, 32, 3e-3


@pytest.fixture(name="torch", scope="module")
def _torch() -> Any:
    pytest.importorskip("transformers")
    return pytest.importorskip("torch")


def build(vocab_size: int, **changes: Any) -> CausalLM:
    keras.utils.set_random_seed(0)
    config = FAMILIES["gpt2"].config(
        vocab_size=vocab_size,
        **{"initializer_range": 0.1, **SIZE, **changes},
    )
    return CausalLM(config)


def theirs_of(task: CausalLM, folder: pathlib.Path) -> Any:
    """Our folder in Transformers, where every name must be known."""
    import transformers

    model_folder.save(task, folder)
    model, info = transformers.GPT2LMHeadModel.from_pretrained(
        folder, output_loading_info=True
    )
    assert not any(info[k] for k in info if k.endswith("_keys"))
    return model.eval()


@pytest.mark.parametrize("side", ["left", "right"])
def test_folders_both_ways(
    side: str, torch: Any, tmp_path: pathlib.Path
) -> None:
    task = build(53)
    model = theirs_of(task, tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs")
    again = model_folder.load(tmp_path / "theirs")
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 53, (3, 9)).astype("int32")
    mask = (np.arange(9) < np.array([[9], [5], [1]])).astype("int32")
    if side == "left":
        mask = mask[:, ::-1].copy()
    positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
    with torch.no_grad():
        expected = model(
            input_ids=torch.tensor(ids).long(),
            attention_mask=torch.tensor(mask),
            position_ids=torch.tensor(positions),
        ).logits.numpy()
    for one in (task, again):
        found = one({"token_ids": ids, "padding_mask": mask})["clm"].numpy()
        np.testing.assert_allclose(
            found[mask == 1], expected[mask == 1], atol=1e-5, rtol=0
        )


def batches() -> list[np.ndarray]:
    """Token ids [B, T + 1] with something to learn."""
    rng = np.random.default_rng(1)
    steps = rng.integers(1, 4, (STEPS, BATCH, LENGTH + 1))
    return [(np.cumsum(s, axis=1) % 53).astype("int32") for s in steps]


def their_losses(model: Any, torch: Any) -> list[float]:
    """Losses of a plain loop with the optimizer's settings of ours."""
    settings = optimizers.OptimizerConfig()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        lr=RATE,
        betas=(settings.options["beta_1"], settings.options["beta_2"]),
        eps=settings.options["epsilon"],
    )
    found = []
    model.train()
    for tokens in batches():
        ids = torch.tensor(tokens).long()
        logits = model(input_ids=ids[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten()
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        optimizer.step()
        found.append(float(loss.detach()))
    return found


def our_losses(task: CausalLM) -> list[float]:
    """Losses of `fit`, one per step."""
    tokens = np.stack(batches())
    data = tf.data.Dataset.from_tensor_slices(
        (
            {"token_ids": tokens[..., :-1]},
            {"clm": tokens[..., 1:]},
            {"clm": np.ones((STEPS, BATCH, LENGTH), "float32")},
        )
    )
    settings = optimizers.OptimizerConfig(name="adamw")
    task.compile(optimizers.create(settings, RATE))
    found = []

    class Losses(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            found.append(float(logs["loss"]))
            self.model.reset_metrics()

    task.fit(data, shuffle=False, verbose=0, callbacks=[Losses()])
    return found


def test_fifty_steps_follow_torch(torch: Any, tmp_path: pathlib.Path) -> None:
    task = build(53)
    expected = their_losses(theirs_of(task, tmp_path), torch)
    found = our_losses(task)
    assert expected[-1] < 0.7 * expected[0]
    difference = np.abs(np.subtract(found, expected)).max()
    print(
        f"losses {expected[0]:.4f} to {expected[-1]:.4f}, "
        f"largest difference {difference:.1e}"
    )
    assert difference < 1e-3


@pytest.mark.skipif(not WIKITEXT.is_dir(), reason="no ../shared/data")
@pytest.mark.parametrize("stride", [64, 16])
def test_perplexity_of_wikitext(
    stride: int, torch: Any, tmp_path: pathlib.Path
) -> None:
    """Strided windows of the first 100 kB, from one folder."""
    import transformers

    text = (WIKITEXT / "test.txt").read_text(encoding="utf-8")[:100_000]
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    tokenizer = byte_bpe.train(
        str(WIKITEXT / "valid.txt"),
        str(tmp_path / "tokenizer"),
        byte_bpe.ByteBPETrainingConfig(vocab_size=1000),
    )
    # Random weights of this spread predict far worse than chance, so that
    # an error in a window could not hide in a flat distribution.
    task = build(tokenizer.vocab_size, **tokenizer.model_ids)
    model_folder.save(task, tmp_path / "model", tokenizer)

    folder = str(tmp_path / "model")
    data = open_causal_data(
        str(tmp_path / "text.txt"),
        load_tokenizer(folder),
        CausalDataConfig(
            seq_length=64, batch_size=8, document_per="file", stride=stride
        ),
    )
    loaded = model_folder.load(folder)
    loaded.compile("sgd")
    found = evaluate(loaded, data.evaluation_dataset())["perplexity"]

    model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    ids = transformers.AutoTokenizer.from_pretrained(folder)(
        text, return_tensors="pt"
    ).input_ids[0]
    assert dataclasses.asdict(data.counts)["tokens"] == len(ids)
    total, end = 0.0, 0
    for start in range(0, len(ids), stride):
        stop = min(start + 64, len(ids) - 1)
        with torch.no_grad():
            logits = model(input_ids=ids[None, start:stop]).logits[0]
        losses = torch.nn.functional.cross_entropy(
            logits.double(), ids[start + 1 : stop + 1], reduction="none"
        )
        total += float(losses[max(end - start, 0) :].sum())
        end = stop
        if stop == len(ids) - 1:
            break
    expected = math.exp(total / (len(ids) - 1))
    print(f"stride {stride}: tfllm {found:.4f}, Transformers {expected:.4f}")
    assert found == pytest.approx(expected, rel=1e-4)
