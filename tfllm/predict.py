r"""Predicts with a model folder: labels, tags, answers, vectors, masks.

    python -m tfllm.predict --model_dir=runs/sms \
        --input_files=new.tsv --output_file=new.jsonl
    echo "The function [MASK] a list." | \
        python -m tfllm.predict --model_dir=runs/bert_tiny

Files are read with the settings of the run that made the model. Standard input
has one text per line, unless --format is given. Results are lines of JSON in
the order of the input. The same command resumes an unfinished file.
"""

import itertools
import json
import sys
from typing import Any

from absl import flags as absl_flags

from tfllm.runs import flags, predict_flags
from tfllm.version import __version__

if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(predict_flags.define, predict_flags.check)

import tfllm.lean_keras  # noqa: F401

# isort: split
from tqdm import tqdm

from tfllm import file_access
from tfllm.data.tables.row import is_tfds
from tfllm.file_access import (
    STANDARD_INPUT,
    is_remote,
    match_files,
    write_atomically,
)
from tfllm.interop import model_folder
from tfllm.prediction import jobs
from tfllm.prediction.jobs import Job, in_batches
from tfllm.prediction.resumable_lines import ResumableLines
from tfllm.runs import labelled_flags
from tfllm.tasks import Task
from tfllm.training.run_folder import RunFolder

FLAGS = absl_flags.FLAGS

# A progress bar appears after this time.
_QUIET_SECONDS = 3
# Files are read in blocks of several batches, to batch texts of similar length.
_BATCHES_PER_BLOCK = 16


def main() -> None:
    """Predicts what the flags say."""
    predict_flags.check()
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
    """Returns the paths of --input_files; [] for standard input."""
    files = FLAGS.input_files.strip()
    if files in ("", "-"):
        return []
    if is_tfds(files):
        return [files]
    return match_files(files, "input_files")


def open_job(task: Task, files: list[str]) -> Job:
    """Returns the job of a kind of model.

    Args:
        task: Task of the model.
        files: Paths of the input; [] for standard input.

    Raises:
        ValueError: Such a model does not predict, or a flag does not go with
            it.
    """
    threshold = FLAGS.null_threshold
    if threshold is not None and not task.has_null_threshold:
        raise ValueError(
            "`null_threshold` goes with a model that answers questions. "
            f"Received: {threshold:g} for {FLAGS.model_dir}, of the task "
            f"{task.kind}. Leave it out."
        )
    if task.fills_masks:
        return jobs.fill_mask_job(task, FLAGS.model_dir, files, FLAGS.top_k)
    if not task.is_labelled:
        raise ValueError(
            "`model_dir` must hold a model that labels or fills masks. "
            f"Received: {FLAGS.model_dir}, a {type(task).__name__}"
            + (
                "; it generates text with tfllm.generate."
                if task.generates
                else "; its export answers texts, and other tasks start from "
                "it with --init_from."
            )
        )
    if threshold is not None:
        task.null_threshold = threshold
    options = labelled_flags.set_flags()
    if FLAGS.seq_length:
        options["seq_length"] = FLAGS.seq_length
    run = RunFolder(FLAGS.model_dir).read_if_whole("run.json") or {}
    jobs.check_tagged_files(task, run, options, files)
    config = jobs.labelled_config(
        task,
        run,
        {**options, "batch_size": FLAGS.batch_size},
        as_lines=not files and "format" not in options,
    )
    return jobs.labelled_job(
        task, FLAGS.model_dir, FLAGS.input_files or "-", config, FLAGS.top_k
    )


def write(job: Job, files: list[str]) -> None:
    """Writes the results to --output_file, after those that it has.

    A remote file cannot be resumed; it is written atomically.

    Args:
        job: Job of the model.
        files: Paths of the input; [] for standard input.
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
        skip_done(job, lines)
        with tqdm(
            desc="predicting",
            unit=" records",
            initial=lines.num_done,
            delay=_QUIET_SECONDS,
        ) as progress:
            for items in in_batches(job.items, block):
                lines.append([line(result) for result in job.predict(items)])
                progress.update(len(items))


def skip_done(job: Job, lines: ResumableLines) -> None:
    """Skips the items whose results are in the file.

    Args:
        job: Job of the model.
        lines: Unfinished file.

    Raises:
        OSError: The last result belongs to another item.
    """
    if not lines.num_done:
        return
    last = next(itertools.islice(job.items, lines.num_done - 1, None), None)
    result = json.loads(lines.last_line or "{}")
    if last is None or not job.is_of(result, last):
        # Not a ValueError: the file may be right, and the input wrong.
        raise OSError(
            f"`output_file` {FLAGS.output_file} was begun with another "
            f"input: its line {lines.num_done} is that of {result}. Give the "
            "same input to continue it, or give another file."
        )


def settings(files: list[str]) -> dict[str, Any]:
    """Returns what the results depend on: flags, files, the model."""
    names = ("top_k", "batch_size", "seq_length", "null_threshold")
    options = labelled_flags.set_flags()
    # It does not change results: users may add it after a bad record.
    options.pop("on_bad_record", None)
    return {
        "version": __version__,
        "model_dir": FLAGS.model_dir,
        "model": model_folder.stamps(FLAGS.model_dir),
        "inputs": [[path, *stamp(path)] for path in files] or STANDARD_INPUT,
        **{name: FLAGS[name].value for name in names},
        **options,
    }


def stamp(path: str) -> tuple[int, ...]:
    """Returns the size and modification time of a file.

    Args:
        path: Path; the stamp of a set of tfds or standard input is empty.
    """
    if is_tfds(path) or path == STANDARD_INPUT:
        return ()
    return file_access.stamp(path)


def line(result: dict[str, Any]) -> str:
    """Returns a result as a line of JSON, valid in UTF-8.

    Args:
        result: Result of an item.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # Half of a surrogate pair: only an escape of JSON can spell it.
        return json.dumps(result, allow_nan=False)
    return text


if __name__ == "__main__":
    flags.run(main)
