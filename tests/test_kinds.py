"""A kind of task is a class and three entries: data, prediction, serving.

All that stand have them, and a kind that only this file knows of goes from
its table through training, figures and predictions to an export.
"""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm import tasks, train
from tfllm.data.kinds import data_kind, kinds_of_tasks
from tfllm.data.labelled.kinds import LABELLED_KINDS, LabelledKind
from tfllm.data.labelled.labels import Labels
from tfllm.data.open_data import open_data
from tfllm.evaluation.figures import Figures
from tfllm.interop import model_folder
from tfllm.models import FAMILIES, SequenceModel, TransformerConfig
from tfllm.outputs.predictions import Predictions
from tfllm.prediction import jobs
from tfllm.prediction.kinds import KINDS, LabelledPrediction
from tfllm.prediction.measure import measure
from tfllm.prediction.pipelines import PIPELINES
from tfllm.runs.run_config import RunConfig
from tfllm.serving.export import export
from tfllm.serving.export_config import ExportConfig
from tfllm.serving.signatures.sequence_labels import (
    SequenceOutput,
    SequenceServing,
)
from tfllm.serving.signatures.signatures import SERVED_KINDS, ServedKind
from tfllm.tasks import Task
from tfllm.tasks.batches import Sums, Tensors, model_inputs
from tfllm.tasks.targets import Target
from tfllm.tokenizers import WordPieceTokenizer

LEVELS = 4
WORDS = ("bad", "dull", "fair", "good")


@pytest.mark.parametrize("kind", sorted(tasks.TASKS))
def test_every_kind_has_its_three_entries(kind: str) -> None:
    task = tasks.TASKS[kind]
    data = data_kind(kind)
    assert data.is_labelled == task.is_labelled
    assert set(data.flags) <= {*RunConfig().values}
    assert isinstance(KINDS[kind], LabelledPrediction) == task.is_labelled
    assert KINDS[kind].main
    assert callable(SERVED_KINDS[kind].serve)
    assert task.pipeline is None or task.pipeline in PIPELINES


def test_no_entry_is_of_an_unknown_kind() -> None:
    kinds = {*tasks.TASKS}
    assert {*kinds_of_tasks()} == {*KINDS} == {*SERVED_KINDS} == kinds


@pytest.mark.parametrize("kind", sorted(LABELLED_KINDS))
def test_a_function_of_an_entry_is_there(kind: str) -> None:
    """They are imported when they are called: a wrong name would wait."""
    entry = LABELLED_KINDS[kind]
    for function in (entry.rows, entry.read, entry.gold, entry.encode):
        if function is not None:
            # One argument too many, so that it does nothing.
            with pytest.raises(TypeError, match="argument"):
                function(*range(9))


@keras.saving.register_keras_serializable("tests")
class Rating(Task):
    """A level from 0 to 3: for each threshold, whether it lies above.

    Reference: Frank and Hall, 2001, section 2.
    """

    kind = "rating"
    objectives = ("rating",)

    def __init__(self, config: TransformerConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.config = config
        self.model = SequenceModel(
            config, LEVELS - 1, name="model", dtype=self.dtype_policy
        )
        self.model.build()
        self.create_metrics()
        self.built = True

    def call(self, inputs: Tensors, training: bool = False) -> Tensors:
        return {"rating": self.model(**model_inputs(inputs), training=training)}

    def targets(self) -> dict[str, Target]:
        return {"rating": Target(size=LEVELS)}

    def objective_sums(
        self, y: Tensors, outputs: Tensors, sample_weight: Tensors
    ) -> Sums:
        levels, logits = y["rating"], outputs["rating"]
        above = tf.cast(levels[:, None] > tf.range(LEVELS - 1), tf.float32)
        losses = tf.nn.sigmoid_cross_entropy_with_logits(above, logits)
        hits = tf.reduce_sum(tf.cast(logits > 0.0, tf.int32), 1) == levels
        weights = sample_weight["rating"]
        return {
            "rating": (
                tf.reduce_sum(tf.reduce_sum(losses, 1) * weights),
                tf.reduce_sum(tf.cast(hits, tf.float32) * weights),
            )
        }


class RatingFigures(Figures):
    """The mean distance of the predicted level from the right one."""

    main: ClassVar[tuple[str, ...]] = ("level_error",)

    def __init__(self, found: Predictions, tune: bool = False) -> None:
        gold = np.array([record.gold for record in found.records])
        self._errors = np.abs(levels_of(np.stack(found.outputs)) - gold)

    @staticmethod
    def names(task: Any, records: Sequence[Any]) -> tuple[str, ...]:
        return RatingFigures.main

    def values(self) -> dict[str, float]:
        return self.sample(np.arange(len(self._errors)))

    def sample(self, rows: np.ndarray) -> dict[str, float]:
        return {"level_error": float(self._errors[rows].mean())}


def levels_of(logits: np.ndarray) -> np.ndarray:
    """int32 [...]: the number of thresholds that lie below."""
    return (logits > 0.0).sum(axis=-1).astype(np.int32)


def encode(gold: Sequence[int], labels: Labels) -> np.ndarray:
    return np.array(gold, np.int32)


DATA = LabelledKind(gold=lambda value, config: int(value), encode=encode)
PREDICTION = LabelledPrediction(
    RatingFigures,
    lambda task, record, output, top_k: {
        "text": record.texts[0],
        "level": int(levels_of(output)),
    },
)
SERVING = ServedKind(
    functools.partial(
        SequenceServing,
        output=SequenceOutput(
            {"level": "int32 [B]", "logits": "float32 [B, 3]"},
            "logits",
            lambda task, logits: {
                "level": tf.reduce_sum(tf.cast(logits > 0.0, tf.int32), 1),
                "logits": logits,
            },
            lambda task, logits: {
                "level": levels_of(logits),
                "logits": logits,
            },
        ),
    )
)


@pytest.fixture
def rating(monkeypatch: pytest.MonkeyPatch) -> None:
    """The class and the three entries."""
    monkeypatch.setitem(tasks.TASKS, "rating", Rating)
    monkeypatch.setitem(LABELLED_KINDS, "rating", DATA)
    monkeypatch.setitem(KINDS, "rating", PREDICTION)
    monkeypatch.setitem(SERVED_KINDS, "rating", SERVING)


def test_a_new_kind_goes_from_its_table_to_an_export(
    rating: None, tmp_path: pathlib.Path
) -> None:
    rows = [(f"the {WORDS[i % 4]} one", i % 4) for i in range(16)]
    table = tmp_path / "rows.csv"
    table.write_text(
        "text,label\n" + "".join(f"{text},{level}\n" for text, level in rows)
    )
    vocabulary = tmp_path / "words.txt"
    vocabulary.write_text(
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\none\n" + "\n".join(WORDS)
    )
    tokenizer = WordPieceTokenizer.from_file(str(vocabulary))
    keras.utils.set_random_seed(1)
    model = FAMILIES["bert"].size(
        "tiny", vocab_size=tokenizer.vocab_size, initializer_range=0.1
    )
    start, folder = str(tmp_path / "start"), str(tmp_path / "run")
    model_folder.save(Rating(model), start, tokenizer)
    config = RunConfig.of(
        task="rating",
        init_from=start,
        train_files=str(table),
        eval_files=str(table),
        model_dir=folder,
        seq_length=8,
        batch_size=8,
        train_steps=40,
        learning_rate=1e-3,
        dropout=0.0,
        eval_every=20,
        log_every=20,
        best_metric="level_error",
        deterministic=False,
    )
    config.check()
    with pytest.raises(ValueError, match="`labels` goes with --task="):
        RunConfig.of(**{**config.values, "labels": "a,b"}).check()
    trained = train.run(config)

    task = model_folder.load(folder)
    assert isinstance(task, Rating)
    held_out = open_data(
        "rating", str(table), task.tokenizer, config.evaluation_data()
    )
    measured = measure(task, held_out)
    assert measured.values["level_error"] == trained["eval_level_error"]
    assert measured.values["level_error"] == 0.0
    written = json.loads(pathlib.Path(folder, "eval_results.json").read_text())
    assert written["main_figures"] == ["level_error", "loss"]

    settings = jobs.labelled_config(task, config.values, {}, as_lines=False)
    job = jobs.labelled_job(task, folder, str(table), settings, top_k=1)
    levels = [line["level"] for line in job.predict([*job.items])]
    errors = np.abs(np.array(levels) - [level for _, level in rows])
    assert errors.mean() == measured.values["level_error"]

    report = export(ExportConfig(folder, str(tmp_path / "export")))
    served = tf.saved_model.load(report.folder).signatures["serving_default"]
    texts = tf.constant([text for text, _ in rows])
    assert served(text=texts)["level"].numpy().tolist() == levels
