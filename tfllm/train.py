"""Trains a model: raw text in, a model folder out.

    python -m tfllm.train --flagfile=configs/bert_tiny_pretrain.flags

The same command resumes a run that was interrupted at any moment.
"""

import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfllm import flags, train_flags
from tfllm.data import shards, train_byte_bpe, train_wordpiece
from tfllm.data.causal import CausalData
from tfllm.data.corpus import ensure_docstring_corpus
from tfllm.data.open_data import Data, open_data
from tfllm.evaluation.evaluate import evaluate
from tfllm.evaluation.text_perplexity import text_perplexities
from tfllm.file_access import match_files
from tfllm.interop import model_folder
from tfllm.interop.config_file import check_vocabulary, resolve_model
from tfllm.tasks import CausalLM, MaskedLM, Task
from tfllm.tokenizers import Tokenizer, load_tokenizer
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
    tokenizer = load_tokenizer(config.tokenizer)
    with strategy.scope():
        task = create_task(config, tokenizer)
    trainer.check_metric(config.best_metric, [m.name for m in task.metrics])
    data, held_out = open_files(config, tokenizer)
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
        evaluation(config, task, held_out) if held_out else None,
        lambda: model_folder.save(task, best, tokenizer),
    )
    if config.best_metric and tf.io.gfile.exists(best):
        model_folder.load_weights(task.model, best)
    model_folder.save(task, config.model_dir, tokenizer)
    return record(folder, config, result, text_measures(config, held_out))


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
        train_byte_bpe.train(
            config.train_files,
            config.tokenizer,
            train_byte_bpe.ByteBPETrainingConfig(vocab_size=config.vocab_size),
        )
    else:
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


def open_files(
    config: RunConfig, tokenizer: Tokenizer
) -> tuple[Data, Data | None]:
    """Returns the training data and the held-out data, if any."""
    index_dir = os.path.join(config.model_dir, "data_index")
    data = open_data(config.train_files, tokenizer, config.data(), index_dir)
    logger.info(
        "%d training examples, %d steps per epoch.",
        data.num_examples,
        data.steps_per_epoch,
    )
    if not config.eval_files:
        return data, None
    return data, open_data(
        config.eval_files,
        tokenizer,
        config.evaluation_data(),
        index_dir,
        flag="eval_files",
    )


def create_task(config: RunConfig, tokenizer: Tokenizer) -> Task:
    """Returns the task, fresh or with the weights of --init_from."""
    # A size takes the vocabulary it is given; a config.json says its own.
    own = {}
    if not os.path.exists(config.model):
        own = {"vocab_size": tokenizer.vocab_size, **tokenizer.model_ids}
    model = resolve_model(config.model, **own)
    check_kind(config, model.family, model.is_causal)
    check_vocabulary(tokenizer, model)
    if model.max_length and config.seq_length > model.max_length:
        raise ValueError(
            f"`seq_length` must be at most {model.max_length}, the positions "
            f"of `model` {config.model}. Received: {config.seq_length}"
        )
    if config.dropout is not None:
        model = model.with_dropout(config.dropout)
    if config.initializer_range is not None:
        model = model.with_initializer_range(config.initializer_range)
    task: Task = (
        CausalLM(model)
        if config.task == "causal_lm"
        else MaskedLM(model, pair_objective=config.pair_objective)
    )
    if config.init_from:
        report = model_folder.init_from(task, config.init_from, partial=True)
        logger.info("Initialised from %s: %s", config.init_from, report)
    return task


def check_kind(config: RunConfig, family: str, is_causal: bool) -> None:
    """Raises ValueError if the model is not one for the task."""
    if is_causal != (config.task == "causal_lm"):
        fitting = "masked_lm" if not is_causal else "causal_lm"
        raise ValueError(
            f"`task` must be {fitting!r} for `model` {config.model}, of family "
            f"{family}. Received: {config.task!r}"
        )


def evaluation(
    config: RunConfig, task: Task, held_out: Data
) -> Callable[[], dict[str, float]]:
    """Returns what measures the task on the held-out data."""
    batches = held_out.evaluation_dataset(max_steps=config.eval_steps or None)
    return lambda: evaluate(task, batches)


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
        values = measure(values)
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
        ("clm_accuracy", "next-token accuracy"),
        ("perplexity", "perplexity per token"),
        ("word_perplexity", "perplexity per word"),
        ("bits_per_byte", "bits per byte"),
    ):
        if f"eval_{name}" in results:
            print(f"  held-out {label}: {results[f'eval_{name}']:.4f}")
    print(f"Model folder: {config.model_dir}")


if __name__ == "__main__":
    train_flags.define()
    flags.run(main)
