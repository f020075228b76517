"""Trains a model: raw text in, a model folder out.

    python -m tfllm.train --flagfile=configs/bert_tiny_pretrain.flags

The same command resumes a run that was interrupted at any moment.
"""

import contextlib
import dataclasses
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import tfllm.lean_keras  # noqa: F401

# isort: split
import keras
import tensorflow as tf

from tfllm import flags, starting_point, train_flags
from tfllm.data import fingerprints
from tfllm.data.corpus.builder import ensure_docstring_corpus
from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.open_data import Data, open_data
from tfllm.data.pretraining import prepared_folder
from tfllm.data.pretraining.causal import CausalData
from tfllm.data.tables.rows import TFDS_PREFIX
from tfllm.data.vocabularies import byte_bpe, wordpiece
from tfllm.evaluation.evaluate import evaluate
from tfllm.evaluation.labelled import evaluate_labelled, metric_names
from tfllm.evaluation.text_perplexity import text_perplexities
from tfllm.file_access import match_files
from tfllm.interop import model_folder
from tfllm.run_config import RunConfig
from tfllm.starting_point import StartingPoint
from tfllm.tasks import Task
from tfllm.training import distribution, run_folder, seed_runs, trainer

# Not __name__, which is __main__ for the verb.
logger = logging.getLogger("tfllm.train")

# Held-out figures that are printed at the end, of those that there are.
SHOWN = {
    "mlm_accuracy": "masked-token accuracy",
    "nsp_accuracy": "sentence-pair accuracy",
    "clm_accuracy": "next-token accuracy",
    "perplexity": "perplexity per token",
    "word_perplexity": "perplexity per word",
    "bits_per_byte": "bits per byte",
    "accuracy": "accuracy",
    "exact_match": "exact match",
    "f1": "F1",
    "macro_f1": "macro F1",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "recall_at_1": "recall at 1",
}


def main() -> None:
    """Trains what the flags say."""
    config = train_flags.read()
    set_up_logging()
    try:
        if config.seed_list:
            show_seeds(config, run_seeds(config))
        else:
            show(config, run(config))
    except trainer.Terminated as stop:
        print(stop, file=sys.stderr)
        # As the shell reports a program that the signal killed.
        sys.exit(128 + stop.number)


def set_up_logging() -> None:
    """Shows our messages, and none of TensorFlow's."""
    for name in ("absl", "tensorflow"):
        # Not its errors either: they are raised as well.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    own = logging.getLogger("tfllm")
    own.setLevel(logging.INFO)
    own.addHandler(handler)
    own.propagate = False


def run(config: RunConfig) -> dict[str, Any]:
    """Runs from text to model folder; returns the results.

    Args:
        config: RunConfig.

    Returns:
        Contents of train_results.json and eval_results.json, merged.
    """
    strategy = distribution.create_strategy(config.strategy)
    workers = distribution.Workers(strategy)
    folder = run_folder.RunFolder(config.model_dir, writes=workers.is_chief)
    with contextlib.closing(folder), workers.noticing_loss():
        with workers.chief_first():
            folder.open(config.settings, config.overwrite)
            ensure_text(config)
        return run_in(folder, config, strategy, workers)


def run_in(
    folder: run_folder.RunFolder,
    config: RunConfig,
    strategy: tf.distribute.Strategy,
    workers: distribution.Workers,
) -> dict[str, Any]:
    """Runs in a folder that is open; see `run`."""
    # What is quick to find wrong comes first: opening text reads all of it.
    check_files(config)
    prepare_backend(config)
    distribution.check(
        strategy,
        config.batch_size,
        config.accumulation_steps,
        config.jit_compile,
    )
    with starting_point.opened(config) as start:
        tokenizer = start.tokenizer
        inputs = fingerprints_of(config, start)
        if not config.overwrite:
            folder.check_inputs(inputs)
        # A task needs the names of its labels.
        opened = None
        if config.is_labelled:
            with workers.chief_first():
                opened = open_files(config, start)
        with strategy.scope():
            task = start.create_task(opened[0].labels if opened else ())
        trainer.check_metric(
            config.best_metric,
            measured_names(task, opened[1] if opened else None),
        )
        if opened is None:
            with workers.chief_first():
                opened = open_files(config, start)
        data, held_out = opened
    settings = config.trainer(
        config.train_steps or data.steps(config.epochs or 1.0)
    )
    trainer.compile_task(task, settings)
    folder.start(config.settings, config.values, config.overwrite, inputs)
    best = os.path.join(config.model_dir, "best")
    result = trainer.train(
        task,
        settings,
        data,
        evaluation(config, task, held_out) if held_out else None,
        lambda: model_folder.save(task, best, tokenizer),
    )
    if workers.is_chief:
        values = result.evaluation
        if config.best_metric and tf.io.gfile.exists(best):
            model_folder.load_weights(task.model, best)
            values = result.best_evaluation
        if "null_threshold" in values:
            # The one that was tuned for these weights.
            task.null_threshold = values["null_threshold"]
        model_folder.save(task, config.model_dir, tokenizer)
    return record(
        folder,
        config,
        result,
        text_measures(config, held_out),
        skipped_of(held_out),
    )


def run_seeds(config: RunConfig) -> dict[str, Any]:
    """Runs once per seed; returns the figures, their mean and deviation."""

    def run_one(seed: int, model_dir: str) -> dict[str, Any]:
        logger.info("Seed %d, in %s.", seed, model_dir)
        # Nothing of the run before, not even its names.
        keras.utils.clear_session()
        return run(
            dataclasses.replace(
                config, seed=seed, seeds="", model_dir=model_dir
            )
        )

    with contextlib.closing(run_folder.RunFolder(config.model_dir)) as folder:
        folder.open(config.settings, config.overwrite)
        folder.start(config.settings, config.values, config.overwrite)
        found = seed_runs.run_seeds(config.seed_list, config.model_dir, run_one)
        folder.write(
            seed_runs.RESULTS_FILE, {**found, **run_folder.environment()}
        )
    return found


def check_files(config: RunConfig) -> None:
    """Raises ValueError unless every pattern matches files or a folder."""
    for flag in ("train_files", "eval_files"):
        files = getattr(config, flag)
        if not files or files.startswith(TFDS_PREFIX):
            continue
        if config.is_labelled or not prepared_folder.is_prepared(files):
            match_files(files, flag)


def fingerprints_of(
    config: RunConfig, start: StartingPoint
) -> dict[str, dict[str, str]]:
    """Returns what tells whether a run goes on with what it began with."""
    origin = config.tokenizer or config.init_from
    found = {"tokenizer": {origin: start.tokenizer.vocab_hash()[:16]}}
    for flag in ("train_files", "eval_files"):
        if files := getattr(config, flag):
            found[flag] = fingerprints.of_files(files, flag)
    return found


def ensure_text(config: RunConfig) -> None:
    """Builds a corpus and a vocabulary that are missing, if allowed."""
    if config.corpus_source != "docstrings":
        return
    files = [f for f in (config.train_files, config.eval_files) if f]
    if not all(tf.io.gfile.exists(file) for file in files):
        corpus = os.path.dirname(config.train_files)
        logger.info(
            "No corpus in %s: building it from the docstrings of the "
            "installed packages.",
            corpus,
        )
        ensure_docstring_corpus(corpus)
    if not tf.io.gfile.exists(config.tokenizer):
        logger.info(
            "No vocabulary in %s: training one of %d entries on %s.",
            config.tokenizer,
            config.vocab_size,
            config.train_files,
        )
        train_vocabulary(config)


def train_vocabulary(config: RunConfig) -> None:
    """Trains the kind of vocabulary that the task needs."""
    if config.task == "causal_lm":
        byte_bpe.train(
            config.train_files,
            config.tokenizer,
            byte_bpe.ByteBPETrainingConfig(vocab_size=config.vocab_size),
        )
    else:
        wordpiece.train(
            config.train_files,
            config.tokenizer,
            wordpiece.WordPieceTrainingConfig(vocab_size=config.vocab_size),
        )


def prepare_backend(config: RunConfig) -> None:
    """Sets seeds, determinism and precision."""
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.precision)


def open_files(
    config: RunConfig, start: StartingPoint
) -> tuple[Any, Any | None]:
    """Returns the training data and the held-out data, if any."""
    index_dir = os.path.join(config.model_dir, "data_index")
    data = open_train_files(config, start, index_dir)
    logger.info(
        "%d training examples, %d steps per epoch.",
        data.num_examples,
        data.steps_per_epoch,
    )
    if not config.eval_files:
        return data, None
    settings = config.evaluation_data()
    if isinstance(settings, LabelledDataConfig):
        settings = dataclasses.replace(settings, labels=data.labels)
    held_out = open_data(
        config.eval_files,
        start.tokenizer,
        settings,
        index_dir,
        flag="eval_files",
    )
    log_skipped(skipped_of(held_out))
    return data, held_out


def skipped_of(data: Data | None) -> dict[str, int]:
    """Returns the number of bad records by file, of labelled data."""
    return data.skipped if isinstance(data, LabelledData) else {}


def log_skipped(skipped: dict[str, int]) -> None:
    """Says how many records of each file were passed over."""
    for file, count in sorted(skipped.items()):
        logger.info("Skipped %d bad records of %s.", count, file)


def open_train_files(
    config: RunConfig, start: StartingPoint, index_dir: str
) -> Any:
    """Returns the training data, its labels in the order of the model's."""
    settings = config.data()
    data = open_data(config.train_files, start.tokenizer, settings, index_dir)
    if not isinstance(data, LabelledData):
        return data
    assert isinstance(settings, LabelledDataConfig)
    log_skipped(data.skipped)
    labels = start.label_order(data.labels)
    if config.labels or labels == data.labels:
        return data
    return LabelledData(
        data.records,
        start.tokenizer,
        dataclasses.replace(settings, labels=labels),
        data.skipped,
    )


def measured_names(task: Task, held_out: LabelledData | None) -> list[str]:
    """Returns the names of what an evaluation measures."""
    if held_out is not None:
        return list(metric_names(task, held_out.records))
    return [metric.name for metric in task.metrics]


def evaluation(
    config: RunConfig, task: Task, held_out: Data
) -> trainer.Evaluate:
    """Returns what measures the task on the held-out data."""
    if isinstance(held_out, LabelledData):
        return lambda before_batch: evaluate_labelled(
            task,
            held_out,
            config.eval_steps or None,
            before_batch=before_batch,
        )
    batches = held_out.evaluation_dataset(max_steps=config.eval_steps or None)
    return lambda before_batch: evaluate(task, batches, before_batch)


def text_measures(
    config: RunConfig, held_out: Data | None
) -> Callable[[dict[str, float]], dict[str, float]]:
    """Returns what adds the measures of the whole held-out text."""

    def measure(values: dict[str, float]) -> dict[str, float]:
        # A part of the batches is not the text that was counted.
        if not isinstance(held_out, CausalData) or config.eval_steps:
            return values
        loss = values["clm_loss"]
        return values | text_perplexities(loss, held_out.counts)

    return measure


def record(
    folder: run_folder.RunFolder,
    config: RunConfig,
    result: trainer.RunResult,
    measure: Callable[[dict[str, float]], dict[str, float]],
    skipped: dict[str, int],
) -> dict[str, Any]:
    """Writes train_results.json and eval_results.json; returns both.

    `skipped` are held-out records by file: `skipped_records`, where there
    are any. `seconds` is the time in training and evaluation, over all
    restarts; means and rates (`examples_per_second`, ...) are those of the
    last report, without evaluation and compilation.
    """
    shared = {"seed": config.seed, **run_folder.environment()}
    results = dict(folder.read("train_results.json") or {})
    if not result.already_finished or not results:
        results = {
            "steps": result.steps,
            "best_step": result.best_step,
            "seconds": round(result.seconds, 1),
            **result.train,
            **shared,
        }
        folder.write("train_results.json", results)
    # The model in the folder is the best one, or that after the last step.
    step, values = result.steps, result.evaluation
    if config.best_metric and result.best_step:
        step, values = result.best_step, result.best_evaluation
    if values:
        values = measure(values)
        folder.write(
            "eval_results.json",
            {
                **values,
                "steps": step,
                "eval_files": config.eval_files,
                **({"skipped_records": skipped} if skipped else {}),
                **shared,
            },
        )
        results |= {f"eval_{name}": value for name, value in values.items()}
    return {**results, "already_finished": result.already_finished}


def show(config: RunConfig, results: dict[str, Any]) -> None:
    """Prints what came out."""
    if results["already_finished"]:
        print(f"This run was finished before, at step {results['steps']}.")
    else:
        print(f"Trained {results['steps']} steps.")
    if config.best_metric and results.get("best_step"):
        print(f"The model kept is that of step {results['best_step']}.")
    for name, label in SHOWN.items():
        if f"eval_{name}" in results:
            print(f"  held-out {label}: {results[f'eval_{name}']:.4f}")
    print(f"Model folder: {config.model_dir}")


def show_seeds(config: RunConfig, found: dict[str, Any]) -> None:
    """Prints the figures of all seeds."""
    print(f"Held-out figures of {len(found['seeds'])} seeds:")
    print(seed_runs.table(found))
    path = os.path.join(config.model_dir, seed_runs.RESULTS_FILE)
    print(f"Results: {path}")


if __name__ == "__main__":
    train_flags.define()
    flags.run(main)
