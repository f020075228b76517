r"""Exports a model folder as a SavedModel that takes text.

    python -m tfllm.export --model_dir=runs/bert_tiny \
        --export_dir=exports/bert --quantize=int8

Tokenizer, model and postprocessing are one graph, in EXPORT_DIR/<version>/,
which is there whole, and tried in the C++ runtime, or not at all. With
--litert the version holds a file for phones, tried in their interpreter; it
takes ids, and the vocabulary lies beside it.
"""

import tensorflow as tf
from absl import flags as absl_flags
from absl import logging

import tfllm.lean_keras  # noqa: F401

# isort: split
from tfllm import flags, labelled_flags
from tfllm.serving import servers, storage
from tfllm.serving.accuracy import HeldOut
from tfllm.serving.export import ExportConfig, ExportReport, export
from tfllm.serving.litert_export import LiteRTReport, export_litert
from tfllm.serving.served_task import ExportSettings

FLAGS = absl_flags.FLAGS
MB = 1e6
# Flags that one format has a use for.
_ONLY_SERVED = ("min_server", "top_k", "max_new_tokens")
_ONLY_LITERT = ("fixed_length",)


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Export")
    group.string("model_dir", "", "Model folder, or hub id.")
    group.string("export_dir", "", "Folder of the served model.")
    group.integer("version", 0, "Version; 0: the one after the last.")
    group.string(
        "min_server", servers.OLDEST, "Oldest TensorFlow Serving to load it."
    )
    group.boolean("litert", False, "A LiteRT file, not a SavedModel.")
    group.boolean(
        "fixed_length", False, "LiteRT rows of exactly --seq_length ids."
    )
    group = flags.Group("Weights")
    group.choice(
        "precision", "float32", storage.PRECISIONS, "Dtype on the disk."
    )
    group.choice(
        "quantize", "none", storage.QUANTIZATIONS, "Of matrices on the disk."
    )
    group = flags.Group("Requests")
    group.integer("seq_length", 0, "Longest row; 0: as in the run.")
    group.integer("top_k", 0, "Candidates per mask, or to sample from.")
    group.boolean("pairs", False, "Two texts per request [as in the run].")
    group.integer("max_new_tokens", 0, "To generate; 0: as the folder says.")
    group = flags.Group("Figures")
    group.string(
        "evaluation_files",
        "",
        "Labelled files, or texts of a language model, that the export is "
        "measured on [those of the run, for smaller weights].",
    )
    labelled_flags.define(
        flags.Group("Labelled files [as in the run]"), as_in_run=True
    )


def main() -> None:
    """Exports what the flags say."""
    # What TensorFlow tells about saving is nothing that a user can use.
    logging.set_verbosity(logging.WARNING)
    tf.get_logger().setLevel("WARNING")
    config = ExportConfig(
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
        held_out=HeldOut(FLAGS.evaluation_files, labelled_flags.given()),
    )
    check_format()
    if FLAGS.litert:
        print(litert_summary(export_litert(config, FLAGS.fixed_length)))
    else:
        print(summary(export(config)))


def check_format() -> None:
    """Raises ValueError for flags of the format that is not asked for."""
    idle = _ONLY_SERVED if FLAGS.litert else _ONLY_LITERT
    given = [name for name in idle if FLAGS[name].present]
    if given:
        raise ValueError(
            f"`{given[0]}` goes with --{'no' if FLAGS.litert else ''}litert. "
            f"Received: --{given[0]}={FLAGS[given[0]].value}. Leave it out."
        )


def summary(report: ExportReport) -> str:
    """Returns what was exported, for people."""
    manifest = report.manifest
    ratio = report.stored_bytes / report.weight_bytes
    lines = [
        f"exported {report.folder}: {manifest['task']}, for TensorFlow "
        f"Serving {manifest['min_server']} and later",
        f"signatures: {', '.join(manifest['signatures'])}",
        f"weights: {report.stored_bytes / MB:.2f} MB, {ratio:.2f} of float32",
    ]
    if report.change is not None:
        lines.append(f"accuracy: {report.change}")
    if report.accuracy is not None:
        lines.append(str(report.accuracy))
    lines.append(f"gate: {report.gate}")
    return "\n".join(lines)


def litert_summary(report: LiteRTReport) -> str:
    """Returns what was exported, for people."""
    manifest = report.manifest
    inputs = [f"{name} {text}" for name, text in manifest["inputs"].items()]
    ratio = report.file_bytes / report.weight_bytes
    outputs = ", ".join(manifest["outputs"])
    lines = [
        f"exported {report.folder}: {manifest['task']}, for LiteRT",
        f"takes {', '.join(inputs)}; gives {outputs}",
        f"file: {report.file_bytes / MB:.2f} MB, {ratio:.2f} of the float32 "
        "weights",
    ]
    if report.accuracy is not None:
        lines.append(str(report.accuracy))
    lines.append(f"gate: {report.gate}")
    return "\n".join(lines)


if __name__ == "__main__":
    define()
    flags.run(main)
