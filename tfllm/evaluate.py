"""Evaluates a model folder on held-out text or labelled files.

    python -m tfllm.evaluate --model_dir=runs/bert_tiny

Data settings default to those of the run that made the folder, so that the
figures are those of the run. Labelled files also give confidence intervals,
tables and charts.
"""

import os
import sys
from typing import Any

from absl import flags as absl_flags

from tfllm.runs import evaluate_flags, flags

if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(evaluate_flags.define, evaluate_flags.check)

import tfllm.lean_keras  # noqa: F401

# isort: split
import keras
import tensorflow as tf

from tfllm.data.labelled import named_settings
from tfllm.data.labelled.batches import LabelledData, open_labelled_data
from tfllm.data.open_data import open_data
from tfllm.evaluation import figure_table
from tfllm.evaluation.figures import Evaluated
from tfllm.evaluation.report import report
from tfllm.interop import model_card, model_folder
from tfllm.prediction.kinds import KINDS
from tfllm.prediction.measure import measure
from tfllm.runs import held_out, labelled_flags
from tfllm.runs.results import EVAL_RESULTS
from tfllm.runs.run_config import RunConfig
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer
from tfllm.training.run_folder import RunFolder, environment

FLAGS = absl_flags.FLAGS


def main() -> None:
    """Evaluates what the flags say."""
    evaluate_flags.check()
    stored = RunFolder(FLAGS.model_dir).read_if_whole("run.json")
    record = stored or {}
    config = read_config(record)
    output_dir = output_folder()
    # The figures in the folder itself are those of the run. A damaged record
    # does not say whether it was the same one.
    is_damaged = stored is not None and not stored
    if not FLAGS.output_dir and (is_damaged or differs(record, config)):
        output_dir = os.path.join(FLAGS.model_dir, "eval_other")
    RunFolder(output_dir).check_writable(EVAL_RESULTS)
    task, tokenizer = load(config, FLAGS.model_dir)
    length = task.row_length(FLAGS.seq_length or record.get("seq_length"))
    config = config.replace(seq_length=length)
    if task.is_labelled:
        data = open_labelled(config, task, tokenizer)
        measured = run_labelled(config, task, data)
        values, skipped = measured.values, data.skipped
    else:
        measured, skipped = None, {}
        values = run(config, task, tokenizer)
    publish(task.kind, config, output_dir, values, measured, skipped)
    if record and output_dir == FLAGS.model_dir:
        model_card.update(output_dir)


def read_config(record: dict[str, Any]) -> RunConfig:
    """Returns the settings of the run, with those of the command line.

    Args:
        record: Contents of run.json; empty if there is none.

    Raises:
        ValueError: Neither of them names held-out files.
    """
    config = RunConfig.from_record(record)
    if FLAGS.eval_files:
        config = config.replace(eval_files=FLAGS.eval_files)
    for flag, field in (
        ("batch_size", "batch_size"),
        ("document_per", "document_per"),
        ("stride", "eval_stride"),
    ):
        if FLAGS[flag].value not in (None, ""):
            config = config.replace(**{field: FLAGS[flag].value})
    if config.data.eval_files:
        return config
    path = os.path.join(FLAGS.model_dir, "run.json")
    raise ValueError(
        f"`eval_files` is needed: {path} does not say which files the run "
        "held out. Received: nothing. Add --eval_files=..."
        if record
        else f"`eval_files` is needed: {path}, which names the held-out files "
        "of the run, is missing or damaged. Received: nothing. Add "
        "--eval_files=..."
    )


def publish(
    kind: str,
    config: RunConfig,
    output_dir: str,
    values: dict[str, float],
    measured: Evaluated | None,
    skipped: dict[str, int],
) -> None:
    """Writes eval_results.json and charts, and prints the figures.

    Figures are printed even if the files cannot be written.

    Args:
        kind: Kind of the task.
        config: RunConfig with the held-out files.
        output_dir: Folder of eval_results.json and charts.
        values: Figures by name.
        measured: The evaluation of a labelled task; None for others.
        skipped: Number of bad records by file.
    """
    details: dict[str, Any] = {}
    try:
        tf.io.gfile.makedirs(output_dir)
        if measured is not None:
            details = report(
                measured, output_dir, FLAGS.bootstrap_samples, config.seed
            )
        if skipped:
            details["skipped_records"] = skipped
        RunFolder(output_dir).write(
            EVAL_RESULTS,
            {
                **values,
                **details,
                model_card.MAIN_FIGURES: figure_table.main_figures(
                    KINDS[kind].main, values, config.trainer.best_metric
                ),
                "model_dir": FLAGS.model_dir,
                "eval_files": config.data.eval_files,
                "seed": config.seed,
                **environment(),
            },
        )
    finally:
        show(kind, config.trainer.best_metric, values, details)
    print(f"Results: {os.path.join(output_dir, EVAL_RESULTS)}")


def output_folder() -> str:
    """Returns the folder of the results; ValueError if there is none."""
    if FLAGS.output_dir:
        return FLAGS.output_dir
    if not tf.io.gfile.isdir(FLAGS.model_dir):
        raise ValueError(
            "`output_dir` is needed for a model of the hub: `model_dir` must "
            "be a folder to take results. Received: no folder "
            f"{FLAGS.model_dir!r}. Add --output_dir=..., or correct the name."
        )
    return FLAGS.model_dir


def differs(record: dict[str, Any], config: RunConfig) -> bool:
    """Returns whether the evaluation differs from that of the run.

    Args:
        record: Contents of run.json; empty if there is none, which differs
            from nothing.
        config: RunConfig of the evaluation.
    """
    run = RunConfig.from_record(record)
    settings: dict[str, Any] = {
        "batch_size": config.data.batch_size,
        "document_per": config.text.document_per,
        "seq_length": FLAGS.seq_length or run.data.seq_length,
    }
    # A run without held-out files has no figures to be replaced.
    if run.data.eval_files:
        settings["eval_files"] = config.data.eval_files
    if run.is_labelled:
        settings |= labelled_flags.set_flags()
    else:
        settings["eval_stride"] = config.text.eval_stride
    return bool(record) and any(
        run.value_of(name) != value for name, value in settings.items()
    )


def load(config: RunConfig, model_dir: str) -> tuple[Task, Tokenizer]:
    """Loads the task and the tokenizer of a model folder.

    Args:
        config: RunConfig with seed and precision.
        model_dir: Model folder or hub id.
    """
    keras.utils.set_random_seed(config.seed)
    if config.computation.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(config.computation.precision)
    task = model_folder.load(model_dir)
    with model_folder.local_folder(model_dir) as folder:
        tokenizer = model_folder.read_tokenizer(folder, task.config)
    task.compile("sgd", jit_compile=config.computation.jit_compile)
    return task, tokenizer


def run(
    config: RunConfig, task: Task, tokenizer: Tokenizer
) -> dict[str, float]:
    """Returns the figures of a language model.

    Args:
        config: RunConfig with the held-out files and their settings.
        task: Language model.
        tokenizer: Tokenizer of the task.
    """
    config = config.replace(task=task.kind, **task.data_settings)
    data = open_data(
        task.kind,
        config.data.eval_files,
        tokenizer,
        config.data_kind.for_model(config.evaluation_data(), task.config),
        flag="eval_files",
    )
    max_steps = config.data.eval_steps
    values = held_out.evaluation(task, data, max_steps)(lambda: None)
    return held_out.with_text_figures(values, data, max_steps)


def open_labelled(
    config: RunConfig, task: Task, tokenizer: Tokenizer
) -> LabelledData:
    """Reads labelled files, and prints the number of skipped records.

    Args:
        config: RunConfig with the held-out files.
        task: Labelled task.
        tokenizer: Tokenizer of the task.
    """
    settings = {**config.values, **labelled_flags.set_flags()}
    reading = named_settings.task_config(task, settings)
    named_settings.check_label_column(task.kind, reading.label_column)
    named_settings.check_pair_column(task.kind, reading.text_pair_column)
    data = open_labelled_data(
        config.data.eval_files, tokenizer, reading, flag="eval_files"
    )
    for path, count in sorted(data.skipped.items()):
        print(f"{path}: {count} bad records skipped", file=sys.stderr)
    if data.tag_scheme:
        print(f"The tags follow {data.tag_scheme}.", file=sys.stderr)
    return data


def run_labelled(
    config: RunConfig, task: Task, data: LabelledData
) -> Evaluated:
    """Evaluates a labelled task.

    A null threshold that training has set is kept.

    Args:
        config: RunConfig with the number of batches.
        task: Labelled task.
        data: Held-out data of its kind, with gold labels.
    """
    tune = task.null_threshold is None
    return measure(task, data, config.data.eval_steps, tune)


def show(
    kind: str, chosen: str, values: dict[str, float], details: dict[str, Any]
) -> None:
    """Prints the main figures, with their intervals, and names the charts.

    Args:
        kind: Kind of the task.
        chosen: Figure that the run selected its model by; may be empty.
        values: All figures by name.
        details: What `report` returned.
    """
    intervals = details.get("intervals")
    print(figure_table.table(KINDS[kind].main, values, chosen, intervals))
    if charts := details.get("charts"):
        print(f"Charts: {', '.join(charts)}, beside the results")


if __name__ == "__main__":
    flags.run(main)
