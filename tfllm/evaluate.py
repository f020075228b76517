"""Evaluates a model folder on held-out text or labelled files.

    python -m tfllm.evaluate --model_dir=runs/bert_tiny

The settings of the data are those of the run that made the folder, so its
last figures come out again. Of labelled files there are confidence intervals,
tables and charts as well.
"""

import dataclasses
import os
import sys
from typing import Any

import tfllm.lean_keras  # noqa: F401

# isort: split
import keras
import tensorflow as tf
from absl import flags as absl_flags

from tfllm import flags, labelled_flags
from tfllm.data.corpus.sources import DOCUMENT_PER
from tfllm.data.labelled import named_settings
from tfllm.data.labelled.batches import LabelledData, open_labelled_data
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.open_data import open_data
from tfllm.data.pretraining.causal import CausalData, CausalDataConfig
from tfllm.data.pretraining.pipeline import DataConfig
from tfllm.evaluation.evaluate import evaluate
from tfllm.evaluation.labelled import FIGURES, Evaluated, measure
from tfllm.evaluation.report import report
from tfllm.evaluation.text_perplexity import text_perplexities
from tfllm.interop import model_folder
from tfllm.run_config import RunConfig
from tfllm.tasks import CausalLM, MaskedLM, Task
from tfllm.tokenizers import Tokenizer, load_tokenizer
from tfllm.training.run_folder import RunFolder, environment

FLAGS = absl_flags.FLAGS


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Evaluation")
    group.string("model_dir", "", "Model folder, or hub id.")
    group.choice(
        "document_per",
        "",
        ("", *DOCUMENT_PER),
        "What a document of a text file is [as in the run].",
    )
    group.integer("seq_length", None, "Tokens per window [as in the run].")
    group.string("eval_files", "", "Text globs or shards [those of the run].")
    group.integer("batch_size", None, "Examples at a time [as in the run].")
    group.string(
        "output_dir",
        "",
        "For results and charts [--model_dir; its eval_other for files or "
        "settings that are not the run's].",
    )
    group.integer(
        "bootstrap_samples",
        1000,
        "Samples behind a confidence interval; 0: none.",
    )
    labelled_flags.define(
        flags.Group("Labelled files [as in the run]"), as_in_run=True
    )


def main() -> None:
    """Evaluates what the flags say."""
    if not FLAGS.model_dir:
        raise ValueError("`model_dir` is needed. Received: nothing")
    if FLAGS.batch_size == 0:
        raise ValueError("`batch_size` must be at least 1. Received: 0")
    record = RunFolder(FLAGS.model_dir).read("run.json") or {}
    config = RunConfig.from_record(record)
    if FLAGS.eval_files:
        config = dataclasses.replace(config, eval_files=FLAGS.eval_files)
    for flag, field in (
        ("batch_size", "batch_size"),
        ("document_per", "document_per"),
        ("stride", "eval_stride"),
    ):
        if FLAGS[flag].value not in (None, ""):
            config = dataclasses.replace(config, **{field: FLAGS[flag].value})
    if not config.eval_files:
        raise ValueError(
            f"`eval_files` is needed: {FLAGS.model_dir} has no run.json that "
            "says which. Received: nothing"
        )
    output_dir = output_folder()
    # The figures in the folder itself are those of the run.
    if not FLAGS.output_dir and differs(record, config):
        output_dir = os.path.join(FLAGS.model_dir, "eval_other")
    task, tokenizer = load(config, FLAGS.model_dir)
    length = task.row_length(FLAGS.seq_length or record.get("seq_length"))
    config = dataclasses.replace(config, seq_length=length)
    if not tf.io.gfile.isdir(output_dir):
        tf.io.gfile.makedirs(output_dir)
    if task.kind in FIGURES:
        data = open_labelled(config, task, tokenizer)
        found = run_labelled(config, task, data)
        values = found.values
        beside = report(found, output_dir, FLAGS.bootstrap_samples, config.seed)
        if data.skipped:
            beside["skipped_records"] = data.skipped
    else:
        values, beside = run(config, task, tokenizer), {}
    path = os.path.join(output_dir, "eval_results.json")
    RunFolder(output_dir).write(
        "eval_results.json",
        {
            **values,
            **beside,
            "model_dir": FLAGS.model_dir,
            "eval_files": config.eval_files,
            "seed": config.seed,
            **environment(),
        },
    )
    show(values, beside.get("intervals", {}))
    print(f"Results: {path}")


def output_folder() -> str:
    """Returns where results go; ValueError if there is no such place."""
    if FLAGS.output_dir:
        return FLAGS.output_dir
    if not tf.io.gfile.isdir(FLAGS.model_dir):
        raise ValueError(
            "`output_dir` is needed for a model of the hub: `model_dir` must "
            "be a folder to take results. Received: no folder "
            f"{FLAGS.model_dir!r}. Add --output_dir=..., or mend the name."
        )
    return FLAGS.model_dir


def differs(record: dict[str, Any], config: RunConfig) -> bool:
    """Returns whether something is evaluated as the run did not.

    Args:
        record: Contents of run.json; empty: there is no run to differ from.
        config: RunConfig, with what was given in the place of the run's.
    """
    run = RunConfig.from_record(record)
    given: dict[str, Any] = {
        "batch_size": config.batch_size,
        "document_per": config.document_per,
        "seq_length": FLAGS.seq_length or run.seq_length,
    }
    # A run without held-out files has no figures to be replaced.
    if run.eval_files:
        given["eval_files"] = config.eval_files
    if run.is_labelled:
        given |= labelled_flags.given()
    else:
        given["eval_stride"] = config.eval_stride
    return bool(record) and any(
        getattr(run, name) != value for name, value in given.items()
    )


def load(config: RunConfig, model_dir: str) -> tuple[Task, Tokenizer]:
    """Returns the task and the tokenizer of a model folder.

    Args:
        config: RunConfig with seed and precision.
        model_dir: Model folder, or hub id.
    """
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.precision)
    task = model_folder.load(model_dir)
    with model_folder.local_folder(model_dir) as folder:
        tokenizer = load_tokenizer(str(folder))
    task.compile("sgd", jit_compile=config.jit_compile)
    return task, tokenizer


def run(
    config: RunConfig, task: Task, tokenizer: Tokenizer
) -> dict[str, float]:
    """Returns the figures of a language model.

    Args:
        config: RunConfig with the held-out files and how they are read.
        task: A MaskedLM or CausalLM.
        tokenizer: That of the task.
    """
    data = open_data(
        config.eval_files,
        tokenizer,
        data_config(config, task),
        flag="eval_files",
    )
    batches = data.evaluation_dataset(max_steps=config.eval_steps or None)
    values = evaluate(task, batches)
    if isinstance(data, CausalData) and not config.eval_steps:
        values |= text_perplexities(values["clm_loss"], data.counts)
    return values


def open_labelled(
    config: RunConfig, task: Task, tokenizer: Tokenizer
) -> LabelledData:
    """Reads labelled files; says how many records it skipped.

    Args:
        config: RunConfig with the held-out files.
        task: Of a kind in FIGURES.
        tokenizer: That of the task.
    """
    settings = {**config.values, **labelled_flags.given()}
    reading = named_settings.task_config(task, settings)
    named_settings.check_label_column(task.kind, reading.label_column)
    named_settings.check_pair_column(task.kind, reading.text_pair_column)
    data = open_labelled_data(
        config.eval_files, tokenizer, reading, flag="eval_files"
    )
    for path, count in sorted(data.skipped.items()):
        print(f"{path}: {count} bad records skipped", file=sys.stderr)
    return data


def run_labelled(
    config: RunConfig, task: Task, data: LabelledData
) -> Evaluated:
    """Returns what there is to say about a task on labelled data.

    The null threshold of a task that has one stays as it was trained.

    Args:
        config: RunConfig with the number of batches.
        task: Of a kind in FIGURES.
        data: Of its kind, with gold labels.
    """
    tune = getattr(task, "null_threshold", None) is None
    return measure(task, data, config.eval_steps, tune)


def show(
    values: dict[str, float], intervals: dict[str, tuple[float, float]]
) -> None:
    """Prints figures, with the intervals of those that have one."""
    for name, value in sorted(values.items()):
        low, high = intervals.get(name, (None, None))
        span = "" if low is None else f" [{low:.4f}, {high:.4f}]"
        print(f"{name}: {value:.4f}{span}")


def data_config(
    config: RunConfig, task: Task
) -> DataConfig | CausalDataConfig | LabelledDataConfig:
    """Returns how the files become batches that fit the task."""
    if isinstance(task, CausalLM):
        return dataclasses.replace(config, task="causal_lm").evaluation_data()
    assert isinstance(task, MaskedLM)
    config = dataclasses.replace(
        config, task="masked_lm", pair_objective=task.pair_objective
    )
    return config.evaluation_data()


if __name__ == "__main__":
    define()
    flags.run(main)
