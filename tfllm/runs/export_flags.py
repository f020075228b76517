"""The flags of the export verb."""

from absl import flags as absl_flags

from tfllm import file_access
from tfllm.runs import flags, labelled_flags
from tfllm.runtime import servers
from tfllm.serving.export_config import (
    PRECISIONS,
    QUANTIZATIONS,
    ExportConfig,
    ExportSettings,
    HeldOut,
)

FLAGS = absl_flags.FLAGS
# Flags of one format only.
_ONLY_SERVED = ("min_server", "top_k", "max_new_tokens")
_ONLY_LITERT = ("fixed_length",)


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Export")
    group.string(
        "model_dir",
        "",
        "Model folder to export, or its id on the Hugging Face hub. Needed.",
    )
    group.string(
        "export_dir",
        "",
        "Folder of the served model, which gets one folder per version. "
        "Needed.",
    )
    group.integer(
        "version",
        0,
        "Number of the version to write; 0 for the one after the last.",
    )
    group.string(
        "min_server",
        servers.OLDEST,
        "Oldest version of TensorFlow Serving that must load the export.",
    )
    group.boolean(
        "litert",
        False,
        "Write a LiteRT file for phones, which takes token ids, instead of a "
        "SavedModel.",
    )
    group.boolean(
        "fixed_length",
        False,
        "With --litert: take rows of exactly --seq_length ids, as "
        "accelerators need, instead of any length up to it.",
    )
    group = flags.Group("Weights on disk")
    group.choice(
        "precision",
        "float32",
        PRECISIONS,
        "Dtype of the stored weights; in memory they are float32.",
    )
    group.choice(
        "quantize",
        "none",
        QUANTIZATIONS,
        "Quantization of matrices and tables: int8 takes one byte per number; "
        "none stores numbers in --precision.",
    )
    group = flags.Group("Requests")
    group.integer(
        "seq_length",
        0,
        "Largest number of tokens per row, special tokens included; 0 for "
        "that of the run.",
    )
    group.boolean(
        "pairs",
        False,
        "Take two texts per request, text and text_pair, even if the run had "
        "no --text_pair_column.",
    )
    group.integer(
        "top_k",
        0,
        "Number of candidates per mask, 0 for 5; or for a generator, number of "
        "tokens that the sampling signature draws from, 0 for that of the "
        "folder's generation_config.json.",
    )
    group.integer(
        "max_new_tokens",
        0,
        "Largest number of tokens that a generator adds to a prompt; 0 for "
        "that of the folder's generation_config.json.",
    )
    group = flags.Group("Figures before and after")
    group.string(
        "evaluation_files",
        "",
        "Labelled files, or texts for a language model, to compare the export "
        "with the model folder. Default: those of the run if --precision or "
        "--quantize is given, else none.",
    )
    labelled_flags.define(
        flags.Group("Labelled files (defaults: those of the run)"),
        as_in_run=True,
    )


def read() -> ExportConfig:
    """Returns what the flags say.

    Raises:
        ValueError: Flags are missing or contradict each other.
    """
    _check_format()
    if FLAGS.export_dir:
        file_access.check_output_folder(FLAGS.export_dir, "export_dir")
    return ExportConfig(
        model_dir=FLAGS.model_dir,
        export_dir=FLAGS.export_dir,
        version=FLAGS.version,
        min_server=FLAGS.min_server,
        precision=FLAGS.precision,
        quantize=FLAGS.quantize,
        settings=ExportSettings(
            seq_length=FLAGS.seq_length,
            stride=FLAGS.stride or 0,
            question_length=FLAGS.question_length or 0,
            top_k=FLAGS.top_k,
            max_new_tokens=FLAGS.max_new_tokens,
            pairs=FLAGS.pairs,
        ),
        held_out=HeldOut(FLAGS.evaluation_files, labelled_flags.set_flags()),
    )


def _check_format() -> None:
    """Raises ValueError for flags of the other format."""
    others = _ONLY_SERVED if FLAGS.litert else _ONLY_LITERT
    for name in others:
        if FLAGS[name].present:
            raise ValueError(
                f"`{name}` goes with --{'no' if FLAGS.litert else ''}litert. "
                f"Received: --{name}={FLAGS[name].value}. Leave it out."
            )
