"""The flags of the predict verb."""

from absl import flags as absl_flags

from tfllm import file_access
from tfllm.runs import flags, labelled_flags

FLAGS = absl_flags.FLAGS


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Prediction")
    group.string(
        "model_dir",
        "",
        "Model folder that predicts, or its id on the Hugging Face hub. "
        "Needed.",
    )
    group.string(
        "input_files",
        "",
        "Files to read: paths and globs, comma-separated, or "
        "tfds:NAME/SPLIT. Default: standard input.",
    )
    group.string(
        "output_file",
        "",
        "File to write, a JSON line per record. The same command resumes an "
        "unfinished file. Default: standard output.",
    )
    group.boolean(
        "overwrite",
        False,
        "Replace an unfinished --output_file of other flags or files.",
    )
    group.integer(
        "batch_size",
        32,
        "Number of texts that go through the model at a time.",
    )
    group.integer(
        "top_k",
        5,
        "Number of candidates per mask, or of answers per question.",
    )
    group.integer(
        "seq_length",
        None,
        "Largest number of tokens per row, special tokens included; longer "
        "texts are read in windows. Default: that of the run.",
    )
    group.number(
        "null_threshold",
        None,
        'Difference of the scores of "no answer" and of the best answer above '
        'which "no answer" is predicted, for question_answering. '
        "Default: the threshold that training found.",
        lower_bound=None,
    )
    labelled_flags.define(
        flags.Group("Labelled files (defaults: those of the run)"),
        as_in_run=True,
    )


def check() -> None:
    """Raises ValueError for flags that are missing or out of their range."""
    if not FLAGS.model_dir:
        raise ValueError("`model_dir` is needed. Received: nothing")
    for name in ("batch_size", "top_k"):
        if not FLAGS[name].value:
            raise ValueError(f"`{name}` must be at least 1. Received: 0")
    if FLAGS.output_file:
        file_access.check_output_file(FLAGS.output_file, "output_file")
