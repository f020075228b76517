"""The recipe of a run as plain data, for a library that knows no tfllm."""

import dataclasses
from typing import Any

import numpy as np

from tfllm.data.labelled.batches import open_labelled_data
from tfllm.data.labelled.config import QUESTION_STRIDE, LabelledDataConfig
from tfllm.data.labelled.records.record import Record
from tfllm.evaluation import metrics, squad
from tfllm.evaluation.entities import entity_metrics
from tfllm.run_config import RunConfig
from tfllm.tokenizers import load_tokenizer

# Task -> the figures that are compared; the tasks that there are.
FIGURES = {
    "classification": ("accuracy", "macro_f1"),
    "regression": ("spearman", "pearson"),
    "embedding": ("spearman", "pearson"),
    "tagging": ("f1", "precision", "recall"),
    "question_answering": ("f1", "exact_match"),
}
# What the other side has not; these stay at their defaults.
_LEFT_OUT = (
    "model",
    "tokenizer",
    "dropout",
    "freeze",
    "class_weights",
    "class_balanced",
    "label_smoothing",
    "r_drop",
    "adversarial",
    "accumulation_steps",
    "layer_decay",
    "l1",
    "l2",
    "best_metric",
    "early_stopping_patience",
    "pad_to_max",
)
_PRECISIONS = ("float32", "mixed_bfloat16")
_EQUAL = {"optimizer": "adamw", "schedule": "linear", "pooling": "mean"}


def from_run(config: RunConfig) -> dict[str, Any]:
    """Returns records and settings as JSON holds them.

    Args:
        config: Of a task in FIGURES, from a folder of BERT.

    Raises:
        ValueError: It is another one, or a setting has no counterpart.
    """
    _check(config)
    tokenizer = load_tokenizer(config.init_from)
    data_config = config.data()
    held_out_config = config.evaluation_data()
    assert isinstance(data_config, LabelledDataConfig)
    assert isinstance(held_out_config, LabelledDataConfig)
    data = open_labelled_data(config.train_files, tokenizer, data_config)
    held_out = open_labelled_data(
        config.eval_files,
        tokenizer,
        dataclasses.replace(held_out_config, labels=data.labels),
        "eval_files",
    )
    trainer = config.trainer(
        config.train_steps or data.steps(config.epochs or 1.0)
    )
    return {
        "task": config.task,
        "init_from": config.init_from,
        "seed": config.seed,
        "seq_length": config.seq_length,
        "stride": config.stride or QUESTION_STRIDE,
        "question_length": config.question_length,
        "label_scale": config.label_scale,
        "batch_size": config.batch_size,
        "steps": trainer.total_steps,
        "warmup_steps": trainer.schedule.warmup_steps,
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "clip_norm": config.clip_norm,
        "betas": [trainer.optimizer.beta_1, trainer.optimizer.beta_2],
        "epsilon": trainer.optimizer.epsilon,
        "precision": config.precision,
        "labels": list(data.labels),
        "train": [_record(record) for record in data.records],
        "eval": [_record(record) for record in held_out.records],
    }


def _check(config: RunConfig) -> None:
    """Raises ValueError for what cannot be run on the other side."""
    if config.task not in FIGURES:
        raise ValueError(
            f"`task` must be one of {', '.join(FIGURES)} to be compared. "
            f"Received: {config.task}"
        )
    for name in ("init_from", "eval_files"):
        if not getattr(config, name):
            raise ValueError(
                f"`{name}` is needed to compare. Received: nothing."
            )
    if config.precision not in _PRECISIONS:
        raise ValueError(
            f"`precision` must be one of {', '.join(_PRECISIONS)} to be "
            f"compared. Received: {config.precision}"
        )
    defaults = {f.name: f.default for f in dataclasses.fields(RunConfig)}
    wanted = {name: defaults[name] for name in _LEFT_OUT} | _EQUAL
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise ValueError(
                f"`{name}` must be {value!r} to be compared. "
                f"Received: {getattr(config, name)!r}"
            )


def _record(record: Record) -> dict[str, Any]:
    text = record.texts[0]
    return {
        "texts": list(record.texts),
        # Of an answer its text and first character.
        "gold": record.gold,
        "words": [text[start:end] for start, end in record.words],
    }


def figures(recipe: dict[str, Any], predictions: list[Any]) -> dict[str, float]:
    """Returns FIGURES of predictions on the held-out records.

    Args:
        recipe: What `from_run` returned.
        predictions: One per record: classification: a probability per label.
            regression, embedding: a number. tagging: a tag per word.
            question_answering: `answer` and `null_difference`.
    """
    task = recipe["task"]
    gold = [record["gold"] for record in recipe["eval"]]
    if task == "classification":
        ids = {name: i for i, name in enumerate(recipe["labels"])}
        values = metrics.classification_metrics(
            np.array([ids[name] for name in gold]), np.array(predictions)
        )
    elif task == "tagging":
        values = entity_metrics([list(tags) for tags in gold], predictions)
    elif task == "question_answering":
        values = _answer_metrics(gold, predictions)
    else:
        values = metrics.regression_metrics(
            np.array(gold), np.array(predictions)
        )
    return {name: values[name] for name in FIGURES[task]}


def _answer_metrics(
    gold: list[Any], predictions: list[dict[str, Any]]
) -> dict[str, float]:
    """Returns those at the best threshold, if there are questions for it."""
    questions = [
        squad.Judged(tuple(text for text, _ in answers), found["answer"])
        for answers, found in zip(gold, predictions, strict=True)
    ]
    if all(gold):
        return squad.squad_metrics(questions)
    differences = [found["null_difference"] for found in predictions]
    threshold = squad.tune_null_threshold(questions, differences)
    chosen = [
        question
        if difference <= threshold
        else dataclasses.replace(question, answer="")
        for question, difference in zip(questions, differences, strict=True)
    ]
    return squad.squad_metrics(chosen)
