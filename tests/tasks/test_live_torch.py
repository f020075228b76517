"""Every task with labels beside Transformers and torch, both installed."""

import pathlib
from typing import Any

import keras
import numpy as np
import pytest

from tests.tasks import labelled, torch_tasks
from tests.tasks.tiny_task import dataset
from tfllm.interop import model_folder
from tfllm.learning.optimizers import OptimizerConfig, create
from tfllm.models import FAMILIES

STEPS = 50
RATE, DECAY, EPSILON, CLIP = 5e-3, 0.01, 1e-8, 1.0
# What the classes in torch have no setting for is at its default.
SETTINGS: dict[str, dict[str, Any]] = {
    "classification": {"label_smoothing": 0.0},
    "multi_label": {"label_smoothing": 0.0},
    "regression": {},
    "tagging": {"label_smoothing": 0.0},
    "question_answering": {},
    "multiple_choice": {"label_smoothing": 0.0},
    "embedding": {
        "pooling": "mean",
        "normalize": True,
        "loss": "contrastive",
        "temperature": 0.05,
    },
}
CASES = [
    "classification",
    "multi_label",
    "regression",
    "tagging",
    "question_answering",
    "question_answering, no mask",
    "embedding",
    "embedding, similarity",
    "multiple_choice",
]

pytestmark = pytest.mark.live_parity


@pytest.fixture(autouse=True)
def references() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")


def batch(name: str, seed: int, rows: int = 8) -> labelled.Batch:
    """A batch as torch can weigh it: each row one, or a token one or zero."""
    x, y, weights = labelled.batch(name, seed, rows)
    ones = {k: (v > 0).astype("float32") for k, v in weights.items()}
    return x, y, ones


def assert_same_outputs(name: str, task: Any, model: Any) -> None:
    import torch

    x = batch(name, seed=0)[0]
    x.pop("answer_mask", None)
    with torch.no_grad():
        theirs = torch_tasks.outputs_of(name, model.eval(), x)
    ours = task(x)
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        first, second = ours[key].numpy(), value.numpy()
        if name in ("tagging", "question_answering"):
            real = x["padding_mask"].astype(bool)
            first, second = first[real], second[real]
        np.testing.assert_allclose(first, second, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "family"), labelled.PARAMS)
def test_folders_both_ways(
    name: str, family: str, tmp_path: pathlib.Path
) -> None:
    task = labelled.create(name, family, **SETTINGS[name])
    model_folder.save(task, tmp_path / "ours")
    model, info = torch_tasks.from_folder(name, family, tmp_path / "ours")
    assert not any(info[k] for k in info if k.endswith("_keys"))
    assert_same_outputs(name, task, model)
    if task.labels:
        assert tuple(model.config.id2label.values()) == task.labels
    # Not the same weights again.
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "theirs")
    options = SETTINGS[name] if name == "embedding" else {}
    if name == "embedding" and task.config.generates:
        # The folder of a bare decoder says it is a language model.
        again = labelled.create(name, family, **options)
        assert not model_folder.load_weights(again, tmp_path / "theirs")
    else:
        again = model_folder.load(tmp_path / "theirs", **options)
    assert again.kind == name
    assert getattr(again, "labels", None) == getattr(task, "labels", None)
    assert_same_outputs(name, again, model)


class Losses(keras.callbacks.Callback):
    """Keeps the loss of every step."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.found.append(float(logs["loss"]))
        self.model.reset_metrics()


@pytest.mark.parametrize(
    ("case", "family"),
    [
        (case, family)
        for case in CASES
        for family in FAMILIES
        if (case.partition(",")[0], family) in labelled.CASES
    ],
)
def test_fifty_steps_follow_torch(
    case: str, family: str, tmp_path: pathlib.Path, record_property: Any
) -> None:
    """Same weights, batches and AdamW, no dropout: the same losses."""
    name, _, variant = case.partition(", ")
    settings = dict(SETTINGS[name])
    if variant == "similarity":
        settings["loss"] = variant
    task = labelled.create(name, family, **settings)
    model_folder.save(task, tmp_path)
    model, _ = torch_tasks.from_folder(name, family, tmp_path)
    found = []
    for step in range(STEPS):
        # Few batches, seen again and again: there is something to learn.
        x, y, weights = batch(name, seed=step % 3)
        if case == "embedding":
            y = {name: np.zeros(y[name].shape, "int32")}
        if variant == "no mask":
            # Of the class itself, which also sees padding, if there is any.
            del x["answer_mask"]
            x["padding_mask"] = np.ones_like(x["padding_mask"])
            x["token_ids"] = np.maximum(x["token_ids"], 5)
        found.append((x, y, weights))
    task.compile(
        create(
            OptimizerConfig(
                "adamw", weight_decay=DECAY, clip_norm=CLIP, epsilon=EPSILON
            ),
            RATE,
        )
    )
    losses = Losses()
    task.fit(dataset(found), verbose=0, shuffle=False, callbacks=[losses])
    theirs = torch_tasks.train(name, model, found, RATE, DECAY, EPSILON, CLIP)
    apart = float(np.abs(np.subtract(losses.found, theirs)).max())
    record_property("largest_difference", apart)
    print(
        f"\n{family} {case}: loss {theirs[0]:.4f} -> "
        f"{theirs[-1]:.4f}, largest difference {apart:.1e}"
    )
    assert len(losses.found) == STEPS
    assert theirs[-1] < 0.9 * theirs[0]
    assert apart < 1e-3
