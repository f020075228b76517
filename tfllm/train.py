r"""Trains a model: raw text in, a model folder out.

    python -m tfllm.train --flagfile=configs/bert_tiny_pretrain.flags
    python -m tfllm.train --task=classification --init_from=my_model \
        --train_files=train.csv --eval_files=test.csv \
        --model_dir=my_classifier --epochs=3 --learning_rate=5e-5

The same command resumes a run that was interrupted at any moment.
"""

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

from tfllm.runs import flags, train_flags

if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(train_flags.define, train_flags.read)

import tfllm.lean_keras  # noqa: F401

# isort: split
import keras
import tensorflow as tf

from tfllm.data.open_data import Data
from tfllm.interop import model_card, model_folder
from tfllm.runs import held_out, results, run_data, starting_point
from tfllm.runs.run_config import RunConfig
from tfllm.runs.starting_point import StartingPoint
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer
from tfllm.training import (
    distribution,
    loss_curve,
    run_folder,
    seed_runs,
    trainer,
)

# Not __name__, which is __main__ for the verb.
logger = logging.getLogger("tfllm.train")


def main() -> None:
    """Trains what the flags say."""
    config = train_flags.read(starting_point.pair_objective)
    set_up_logging()
    try:
        if config.seed_list:
            results.show_seeds(config, run_seeds(config))
        else:
            results.show(config, run(config))
    except distribution.WorkerLost as loss:
        print(f"error: {loss}", file=sys.stderr)
        sys.stdout.flush()
        # At a usual exit TensorFlow waits for the lost worker.
        os._exit(1)
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
    handler.setFormatter(flags.MessageFormatter())
    package_logger = logging.getLogger("tfllm")
    package_logger.setLevel(logging.INFO)
    package_logger.addHandler(handler)
    package_logger.propagate = False


def run_seeds(config: RunConfig) -> dict[str, Any]:
    """Runs once per seed; returns the figures, their mean and deviation."""

    def run_seed(seed: int, model_dir: str) -> dict[str, Any]:
        logger.info("Seed %d, in %s.", seed, model_dir)
        # Nothing of the run before, not even its names.
        keras.utils.clear_session()
        return run(config.replace(seed=seed, seeds="", model_dir=model_dir))

    with contextlib.closing(run_folder.RunFolder(config.model_dir)) as folder:
        folder.open(config.settings, config.overwrite)
        folder.start(config.settings, config.values, config.overwrite)
        summary = seed_runs.run_seeds(
            config.seed_list, config.model_dir, run_seed
        )
        folder.write(
            seed_runs.RESULTS_FILE, {**summary, **run_folder.environment()}
        )
    return summary


def run(config: RunConfig) -> dict[str, Any]:
    """Runs from text to model folder; returns the results.

    Args:
        config: RunConfig.

    Returns:
        Contents of train_results.json and eval_results.json, merged.
    """
    strategy = distribution.create_strategy(config.computation.strategy)
    workers = distribution.Workers(strategy)
    folder = run_folder.RunFolder(config.model_dir, writes=workers.is_chief)
    with contextlib.closing(folder), workers.noticing_loss():
        with workers.chief_first():
            folder.open(config.settings, config.overwrite)
            run_data.ensure_text(config)
        return run_in(folder, config, strategy, workers)


def run_in(
    folder: run_folder.RunFolder,
    config: RunConfig,
    strategy: tf.distribute.Strategy,
    workers: distribution.Workers,
) -> dict[str, Any]:
    """Runs in a folder that is open; returns what `run` does."""
    run_data.check_files(config)
    prepare_backend(config)
    distribution.check(
        strategy,
        config.data.batch_size,
        config.learning.accumulation_steps,
        config.computation.jit_compile,
    )
    with starting_point.opened(config) as start:
        tokenizer = start.tokenizer
        inputs = run_data.fingerprints_of(config, start)
        if not config.overwrite:
            folder.check_inputs(inputs)
        task, data, held_out_data = open_task(config, start, strategy, workers)
    settings = config.trainer_config(
        config.schedule.train_steps or data.steps(config.schedule.epochs or 1.0)
    )
    trainer.compile_task(task, settings)
    folder.start(config.settings, config.values, config.overwrite, inputs)
    with drawing_losses(config, task, workers):
        result = trainer.train(
            task,
            settings,
            data,
            evaluation(config, task, held_out_data),
            lambda: model_folder.save(task, best_folder(config), tokenizer),
        )
    if workers.is_chief:
        save_model(config, task, tokenizer, result)
    figures = results.record(folder, config, result, held_out_data)
    if workers.is_chief:
        model_card.update(config.model_dir, config.license)
    return figures


def prepare_backend(config: RunConfig) -> None:
    """Sets seeds, determinism and precision."""
    keras.utils.set_random_seed(config.seed)
    if config.computation.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.computation.precision)


def open_task(
    config: RunConfig,
    start: StartingPoint,
    strategy: tf.distribute.Strategy,
    workers: distribution.Workers,
) -> tuple[Task, Data, Data | None]:
    """Creates the task, and opens training data and held-out data."""

    def create_task(labels: tuple[str, ...] = ()) -> Task:
        with strategy.scope():
            return start.create_task(labels)

    def open_files() -> tuple[Data, Data | None]:
        with workers.chief_first():
            return run_data.open_files(config, start)

    def check_metric(task: Task, held_out_data: Data | None) -> None:
        names = held_out.metric_names(task, held_out_data)
        trainer.check_metric(config.trainer.best_metric, names)

    if config.is_labelled:
        # The head needs the names of the labels.
        data, held_out_data = open_files()
        task = create_task(data.labels if data.is_labelled else ())
        check_metric(task, held_out_data)
        return task, data, held_out_data
    task = create_task()
    check_metric(task, None)
    # Last, because it reads all the text: other errors come before.
    return task, *open_files()


def evaluation(
    config: RunConfig, task: Task, held_out_data: Data | None
) -> trainer.Evaluate | None:
    """Returns what evaluates the task; None without held-out data."""
    if held_out_data is None:
        return None
    return held_out.evaluation(task, held_out_data, config.data.eval_steps)


@contextlib.contextmanager
def drawing_losses(
    config: RunConfig, task: Task, workers: distribution.Workers
) -> Iterator[None]:
    """Draws the losses when the block ends, or is stopped by a signal."""
    stop = None
    try:
        yield
    except trainer.Terminated as error:
        stop = error
    if workers.is_chief:
        loss_curve.draw(config.model_dir, task.loss_unit)
    if stop:
        raise stop


def save_model(
    config: RunConfig,
    task: Task,
    tokenizer: Tokenizer,
    result: trainer.RunResult,
) -> None:
    """Saves the best model, or that after the last step, as model folder."""
    figures = result.evaluation
    if config.trainer.best_metric and tf.io.gfile.exists(best_folder(config)):
        model_folder.load_weights(task, best_folder(config))
        figures = result.best_evaluation
    if "null_threshold" in figures:
        # The one that was tuned for these weights.
        task.null_threshold = figures["null_threshold"]
    model_folder.save(task, config.model_dir, tokenizer)


def best_folder(config: RunConfig) -> str:
    """Returns the folder of the best model so far."""
    return os.path.join(config.model_dir, "best")


if __name__ == "__main__":
    flags.run(main)
