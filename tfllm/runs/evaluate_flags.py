"""The flags of the evaluate verb."""

from absl import flags as absl_flags

from tfllm.data.corpus.sources import DOCUMENT_PER
from tfllm.runs import flags, labelled_flags

FLAGS = absl_flags.FLAGS


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Evaluation")
    group.string(
        "model_dir",
        "",
        "Model folder to evaluate, or its id on the Hugging Face hub. Needed.",
    )
    group.string(
        "eval_files",
        "",
        "Held-out files: paths and globs, comma-separated, a folder of "
        "tools.prepare_data, or tfds:NAME/SPLIT. Default: those of the run.",
    )
    group.string(
        "output_dir",
        "",
        "Folder for eval_results.json and the charts. Default: --model_dir, or "
        "its folder eval_other for other files or settings than the run's.",
    )
    group.integer(
        "batch_size",
        None,
        "Number of examples that go through the model at a time. Default: that "
        "of the run.",
    )
    group.integer(
        "seq_length",
        None,
        "Largest number of tokens per row, special tokens included. Default: "
        "that of the run.",
    )
    group.integer(
        "bootstrap_samples",
        1000,
        "Number of resamples behind a 95 % confidence interval of labelled "
        "data; 0 for no intervals.",
    )
    group.choice(
        "document_per",
        "",
        ("", *DOCUMENT_PER),
        "Document of a plain text file, for causal_lm and seq2seq_lm: text "
        "between blank lines, a line, or the file. Default: that of the run.",
    )
    labelled_flags.define(
        flags.Group("Labelled files (defaults: those of the run)"),
        as_in_run=True,
    )


def check() -> None:
    """Raises ValueError for flags that are missing or out of their range."""
    if not FLAGS.model_dir:
        raise ValueError("`model_dir` is needed. Received: nothing")
    if FLAGS.batch_size == 0:
        raise ValueError("`batch_size` must be at least 1. Received: 0")
