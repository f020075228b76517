r"""Predicts with a model folder: labels, tags, answers, vectors, masks.

    python -m tfllm.predict --model_dir=runs/sms \
        --input_files=new.tsv --output_file=new.jsonl
    echo "The function [MASK] a list." | \
        python -m tfllm.predict --model_dir=runs/bert_tiny

Files are read as those of the run that made the model; standard input has a
text per line, unless --format says otherwise. A result is a line of JSON, in
the order of the input. The same command again continues a file that it did
not finish.
"""

import itertools
import json
import sys
from typing import Any

import tfllm.lean_keras  # noqa: F401

# isort: split
from absl import flags as absl_flags
from tqdm import tqdm

import tfllm
from tfllm import file_access, flags, labelled_flags, prediction_jobs
from tfllm.data.tables.rows import is_tfds
from tfllm.evaluation.labelled import FIGURES
from tfllm.evaluation.resumable_lines import ResumableLines
from tfllm.file_access import (
    STANDARD_INPUT,
    is_remote,
    match_files,
    write_atomically,
)
from tfllm.interop import model_folder
from tfllm.prediction_jobs import Job, in_batches
from tfllm.tasks import MaskedLM, Task
from tfllm.training.run_folder import RunFolder

FLAGS = absl_flags.FLAGS

# A progress bar only shows for what takes longer.
_QUIET_SECONDS = 3
# Blocks of files are so many batches: texts of one length find each other.
_BATCHES_PER_BLOCK = 16


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Prediction")
    group.string("model_dir", "", "Model folder, or hub id.")
    group.string("input_files", "", "Globs; default: standard input.")
    group.string("output_file", "", "JSON lines; default: standard output.")
    group.boolean("overwrite", False, "Drop an unfinished --output_file.")
    group.integer("batch_size", 32, "Texts at a time.")
    group.integer("top_k", 5, "Candidates per [MASK], answers per question.")
    group.integer("seq_length", None, "Tokens per window [as in the run].")
    group.names.append("null_threshold")
    absl_flags.DEFINE_float(
        "null_threshold",
        None,
        "How far having no answer must lie above the best one [tuned].",
    )
    labelled_flags.define(
        flags.Group("Input of labels, tags, answers [as in the run]"),
        as_in_run=True,
    )


def main() -> None:
    """Predicts what the flags say."""
    if not FLAGS.model_dir:
        raise ValueError("`model_dir` is needed. Received: nothing")
    for name in ("batch_size", "top_k"):
        if not FLAGS[name].value:
            raise ValueError(f"`{name}` must be at least 1. Received: 0")
    files = input_files()
    job = open_job(model_folder.load(FLAGS.model_dir), files)
    if FLAGS.output_file:
        write(job, files)
        return
    for items in in_batches(job.items, FLAGS.batch_size):
        for result in job.predict(items):
            print(job.show(result) if job.show else line(result))
        sys.stdout.flush()


def input_files() -> list[str]:
    """Returns the paths of --input_files; none for standard input."""
    given = FLAGS.input_files.strip()
    if given in ("", "-"):
        return []
    if is_tfds(given):
        return [given]
    return match_files(given, "input_files")


def open_job(task: Task, files: list[str]) -> Job:
    """Returns what is done with a kind of model.

    Raises:
        ValueError: Nothing is, or a flag does not go with it.
    """
    threshold = FLAGS.null_threshold
    if threshold is not None and task.kind != "question_answering":
        raise ValueError(
            "`null_threshold` goes with a model that answers questions. "
            f"Received: {threshold:g} for {FLAGS.model_dir}, of the task "
            f"{task.kind}. Leave it out."
        )
    if isinstance(task, MaskedLM):
        return prediction_jobs.fill_mask_job(
            task, FLAGS.model_dir, files, FLAGS.top_k
        )
    if task.kind not in FIGURES:
        raise ValueError(
            "`model_dir` must hold a model that labels or fills masks. "
            f"Received: {FLAGS.model_dir}, a {type(task).__name__}; it "
            "continues texts with tfllm.generate."
        )
    if threshold is not None:
        task.null_threshold = threshold
    given = labelled_flags.given()
    if FLAGS.seq_length:
        given["seq_length"] = FLAGS.seq_length
    run = RunFolder(FLAGS.model_dir).read("run.json") or {}
    if task.kind == "tagging":
        prediction_jobs.check_tagged_files(run, given, files)
    config = prediction_jobs.labelled_config(
        task,
        run,
        {**given, "batch_size": FLAGS.batch_size},
        as_lines=not files and "format" not in given,
    )
    return prediction_jobs.labelled_job(
        task, FLAGS.model_dir, FLAGS.input_files or "-", config, FLAGS.top_k
    )


def write(job: Job, files: list[str]) -> None:
    """Writes the results to --output_file, from where it was left.

    What is remote cannot be continued: it is written whole or not at all.
    """
    block = FLAGS.batch_size * (_BATCHES_PER_BLOCK if files else 1)
    if is_remote(FLAGS.output_file):
        with write_atomically(FLAGS.output_file) as file:
            for items in in_batches(job.items, block):
                file.writelines(f"{line(r)}\n" for r in job.predict(items))
        return
    with ResumableLines(
        FLAGS.output_file, settings(files), block, FLAGS.overwrite
    ) as lines:
        skip(job, lines)
        with tqdm(
            desc="predicting",
            unit=" records",
            initial=lines.num_done,
            delay=_QUIET_SECONDS,
        ) as progress:
            for items in in_batches(job.items, block):
                lines.append([line(result) for result in job.predict(items)])
                progress.update(len(items))


def skip(job: Job, lines: ResumableLines) -> None:
    """Passes over the items whose lines are there.

    Raises:
        ValueError: The last of them is of another item.
    """
    if not lines.num_done:
        return
    last = next(itertools.islice(job.items, lines.num_done - 1, None), None)
    found = json.loads(lines.last_line or "{}")
    if last is None or not job.is_of(found, last):
        # Not a ValueError: what is there may belong to the right input.
        raise OSError(
            f"`output_file` {FLAGS.output_file} was begun with another "
            f"input: its line {lines.num_done} is that of {found}. Give the "
            "same input to continue it, or --overwrite to drop it."
        )


def settings(files: list[str]) -> dict[str, Any]:
    """Returns what decides the results: flags, files, the model."""
    names = ("top_k", "batch_size", "seq_length", "null_threshold")
    given = labelled_flags.given()
    # What is there is the same: whoever meets a bad record may then skip it.
    given.pop("on_bad_record", None)
    return {
        "version": tfllm.__version__,
        "model_dir": FLAGS.model_dir,
        "model": model_folder.stamps(FLAGS.model_dir),
        "inputs": [[path, *stamp(path)] for path in files] or STANDARD_INPUT,
        **{name: FLAGS[name].value for name in names},
        **given,
    }


def stamp(path: str) -> tuple[int, ...]:
    """Returns the size of a file and when it was changed.

    Nothing for what is no file: a set of tfds, or standard input.
    """
    if is_tfds(path) or path == STANDARD_INPUT:
        return ()
    return file_access.stamp(path)


def line(result: dict[str, Any]) -> str:
    """Returns a result as a line of JSON that UTF-8 can hold.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair: JSON can spell it, and nothing else.
        return json.dumps(result, allow_nan=False)
    return text


if __name__ == "__main__":
    define()
    flags.run(main)
