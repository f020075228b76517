"""Trains a model: raw text in, a model folder out.

    python -m tfllm.train --flagfile=configs/bert_tiny_pretrain.flags

The same command resumes a run that was interrupted at any moment.
"""

import logging
import os
import sys
from typing import Any

import keras
import tensorflow as tf

from tfllm import flags, train_flags
from tfllm.data import shards
from tfllm.data.corpus import ensure_docstring_corpus
from tfllm.data.pipeline import TrainingData, open_training_data
from tfllm.file_access import match_files
from tfllm.interop import model_folder
from tfllm.interop.config_file import check_vocabulary, resolve_model
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import WordPieceTokenizer
from tfllm.train_flags import RunConfig
from tfllm.training import distribution, run_folder, trainer

# Not __name__, which is __main__ for the verb.
logger = logging.getLogger("tfllm.train")


def main() -> None:
    """Trains what the flags say."""
    config = RunConfig.from_flags()
    set_up_logging()
    try:
        result = run(config)
    except trainer.Terminated as stop:
        print(stop, file=sys.stderr)
        # As the shell reports a program that the signal killed.
        sys.exit(128 + stop.number)
    show(config, result)


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
    folder = run_folder.RunFolder(config.model_dir)
    folder.open(config.settings, config.overwrite)
    ensure_text(config)
    # What is quick to find wrong comes first: opening text reads all of it.
    check_files(config)
    prepare_backend(config)
    strategy = distribution.create_strategy(config.strategy)
    distribution.check(
        strategy,
        config.batch_size,
        config.accumulation_steps,
        config.jit_compile,
    )
    tokenizer = WordPieceTokenizer.from_file(config.tokenizer)
    with strategy.scope():
        task = create_task(config, tokenizer)
    trainer.check_metric(config.best_metric, task)
    data, held_out = open_data(config, tokenizer)
    settings = config.trainer(
        config.train_steps or data.steps(config.epochs or 1.0)
    )
    trainer.compile_task(task, settings)
    folder.start(config.settings, config.values, config.overwrite)
    best = os.path.join(config.model_dir, "best")
    result = trainer.train(
        task,
        settings,
        data,
        held_out,
        lambda: model_folder.save(task, best, tokenizer),
    )
    if config.best_metric and tf.io.gfile.exists(best):
        model_folder.load_weights(task.model, best)
    model_folder.save(task, config.model_dir, tokenizer)
    return record(folder, config, result)


def check_files(config: RunConfig) -> None:
    """Raises ValueError unless every pattern matches files or a folder."""
    for flag in ("train_files", "eval_files"):
        files = getattr(config, flag)
        if files and not shards.is_shards_folder(files):
            match_files(files, flag)


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
        # Only here: it loads the `tokenizers` package.
        from tfllm.data import train_wordpiece

        logger.info(
            "No vocabulary in %s: training one of %d entries on %s.",
            config.tokenizer,
            config.vocab_size,
            config.train_files,
        )
        train_wordpiece.train(
            config.train_files,
            config.tokenizer,
            train_wordpiece.WordPieceTrainingConfig(
                vocab_size=config.vocab_size
            ),
        )


def prepare_backend(config: RunConfig) -> None:
    """Sets seeds, determinism and precision."""
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.precision)


def open_data(
    config: RunConfig, tokenizer: WordPieceTokenizer
) -> tuple[TrainingData, tf.data.Dataset | None]:
    """Returns the training data and the held-out batches, if any."""
    data = open_training_data(
        config.train_files,
        tokenizer,
        config.data(),
        index_dir=os.path.join(config.model_dir, "data_index"),
    )
    logger.info(
        "%d training examples, %d steps per epoch.",
        data.num_examples,
        data.steps_per_epoch,
    )
    if not config.eval_files:
        return data, None
    held_out = open_training_data(
        config.eval_files,
        tokenizer,
        config.evaluation_data(),
        index_dir=os.path.join(config.model_dir, "data_index"),
        flag="eval_files",
    )
    return data, held_out.evaluation_dataset(
        max_steps=config.eval_steps or None
    )


def create_task(config: RunConfig, tokenizer: WordPieceTokenizer) -> MaskedLM:
    """Returns the task, fresh or with the weights of --init_from."""
    # A size takes the vocabulary it is given; a config.json says its own.
    own = {}
    if not os.path.exists(config.model):
        own = {
            "vocab_size": tokenizer.vocab_size,
            "pad_token_id": tokenizer.pad_id,
        }
    model = resolve_model(config.model, **own)
    check_vocabulary(tokenizer, model)
    if model.max_length and config.seq_length > model.max_length:
        raise ValueError(
            f"`seq_length` must be at most {model.max_length}, the positions "
            f"of `model` {config.model}. Received: {config.seq_length}"
        )
    if config.dropout is not None:
        model = model.with_dropout(config.dropout)
    task = MaskedLM(model, pair_objective=config.pair_objective)
    if config.init_from:
        report = model_folder.init_from(task, config.init_from, partial=True)
        logger.info("Initialised from %s: %s", config.init_from, report)
    return task


def record(
    folder: run_folder.RunFolder,
    config: RunConfig,
    result: trainer.RunResult,
) -> dict[str, Any]:
    """Writes train_results.json and eval_results.json; returns both.

    `seconds` is the time in training and evaluation, over all restarts;
    means and rates (`examples_per_second`, ...) are those of the last
    report, without evaluation and compilation.
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
        folder.write(
            "eval_results.json",
            {
                **values,
                "steps": step,
                "eval_files": config.eval_files,
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
    for name, label in (
        ("mlm_accuracy", "masked-token accuracy"),
        ("nsp_accuracy", "sentence-pair accuracy"),
        ("perplexity", "masked-token perplexity"),
    ):
        if f"eval_{name}" in results:
            print(f"  held-out {label}: {results[f'eval_{name}']:.4f}")
    print(f"Model folder: {config.model_dir}")


if __name__ == "__main__":
    train_flags.define()
    flags.run(main)
