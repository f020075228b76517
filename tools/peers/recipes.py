"""Turns the config of a run into plain data for another library."""

import dataclasses
from typing import Any

import numpy as np

from tfllm.data.labelled.batches import open_labelled_data
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.kinds import QUESTION_STRIDE
from tfllm.data.labelled.records.record import Record
from tfllm.evaluation import metrics, squad
from tfllm.evaluation.entity_figures import entity_metrics
from tfllm.runs.run_config import RunConfig
from tfllm.tokenizers import load_tokenizer

# Task -> figures to compare. Other tasks cannot be compared.
FIGURES = {
    "classification": ("accuracy", "macro_f1"),
    "regression": ("spearman", "pearson"),
    "embedding": ("spearman", "pearson"),
    "tagging": ("f1", "precision", "recall"),
    "question_answering": ("f1", "exact_match"),
}
# Settings that the other library lacks; they must be at their defaults.
_UNSUPPORTED = (
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
    "final_learning_rate",
    "decay_steps",
)
_PRECISIONS = ("float32", "mixed_bfloat16")
_EQUAL = {"optimizer": "adamw", "schedule": "linear", "pooling": "mean"}


def from_run(config: RunConfig) -> dict[str, Any]:
    """Returns records and settings of a run as JSON values.

    Args:
        config: Config of a task in FIGURES, initialized from a BERT folder.

    Raises:
        ValueError: The task or a setting cannot be compared.
    """
    _check_comparable(config)
    tokenizer = load_tokenizer(config.model.init_from)
    data_config = config.data_config()
    held_out_config = config.evaluation_data()
    assert isinstance(data_config, LabelledDataConfig)
    assert isinstance(held_out_config, LabelledDataConfig)
    data = open_labelled_data(config.data.train_files, tokenizer, data_config)
    held_out = open_labelled_data(
        config.data.eval_files,
        tokenizer,
        dataclasses.replace(held_out_config, labels=data.labels),
        "eval_files",
    )
    trainer = config.trainer_config(
        config.schedule.train_steps or data.steps(config.schedule.epochs or 1.0)
    )
    optimizer = trainer.optimizer.options
    return {
        "task": config.task,
        "init_from": config.model.init_from,
        "seed": config.seed,
        "seq_length": config.data.seq_length,
        "stride": config.labelled.stride or QUESTION_STRIDE,
        "question_length": config.labelled.question_length,
        "label_scale": config.labelled.label_scale,
        "batch_size": config.data.batch_size,
        "steps": trainer.total_steps,
        "warmup_steps": trainer.schedule.warmup_steps,
        "learning_rate": config.schedule.learning_rate,
        "weight_decay": config.optimizer.weight_decay,
        "clip_norm": config.optimizer.clip_norm,
        "betas": [optimizer["beta_1"], optimizer["beta_2"]],
        "epsilon": optimizer["epsilon"],
        "precision": config.computation.precision,
        "labels": list(data.labels),
        "train": [_record(record) for record in data.records],
        "eval": [_record(record) for record in held_out.records],
    }


def _check_comparable(config: RunConfig) -> None:
    """Raises ValueError for settings that the other library lacks."""
    if config.task not in FIGURES:
        raise ValueError(
            f"`task` must be one of {', '.join(FIGURES)} to be compared. "
            f"Received: {config.task}"
        )
    values = config.values
    for name in ("init_from", "eval_files"):
        if not values[name]:
            raise ValueError(
                f"`{name}` is needed to compare. Received: nothing."
            )
    if config.computation.precision not in _PRECISIONS:
        raise ValueError(
            f"`precision` must be one of {', '.join(_PRECISIONS)} to be "
            f"compared. Received: {config.computation.precision}"
        )
    defaults = RunConfig().values
    required = {name: defaults[name] for name in _UNSUPPORTED} | _EQUAL
    for name, value in required.items():
        if values[name] != value:
            raise ValueError(
                f"`{name}` must be {value!r} to be compared. "
                f"Received: {values[name]!r}"
            )


def _record(record: Record) -> dict[str, Any]:
    text = record.texts[0]
    return {
        "texts": list(record.texts),
        # For answers: pairs of text and first character.
        "gold": record.gold,
        "words": [text[start:end] for start, end in record.words],
    }


def figures(recipe: dict[str, Any], predictions: list[Any]) -> dict[str, float]:
    """Returns FIGURES of predictions on the held-out records.

    Args:
        recipe: Result of `from_run`.
        predictions: One per record. Classification: a probability per label.
            Regression and embedding: a number. Tagging: a tag per word.
            Question answering: `answer` and `null_difference`.
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
    """Returns SQuAD figures, at the best null threshold if there is one."""
    questions = [
        squad.Judged(tuple(text for text, _ in answers), prediction["answer"])
        for answers, prediction in zip(gold, predictions, strict=True)
    ]
    if all(gold):
        return squad.squad_metrics(questions)
    differences = [prediction["null_difference"] for prediction in predictions]
    threshold = squad.tune_null_threshold(questions, differences)
    chosen = [
        question
        if difference <= threshold
        else dataclasses.replace(question, answer="")
        for question, difference in zip(questions, differences, strict=True)
    ]
    return squad.squad_metrics(chosen)
