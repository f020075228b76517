r"""Exports a model folder as a SavedModel that takes text.

    python -m tfllm.export --model_dir=runs/bert_tiny \
        --export_dir=exports/bert --quantize=int8

EXPORT_DIR/<version>/ gets one graph of tokenizer, model and postprocessing. It
appears only when it is complete and has run in the C++ runtime. With --litert
it gets a file for phones that has run in the LiteRT interpreter; this takes
token ids, and comes with the vocabulary.
"""

from absl import flags as absl_flags
from absl import logging

from tfllm.runs import export_flags, flags

if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(export_flags.define, export_flags.read)

import tfllm.lean_keras  # noqa: F401

# isort: split
import tensorflow as tf

from tfllm.serving.export import ExportReport, export
from tfllm.serving.litert_export import LiteRTReport, export_litert

FLAGS = absl_flags.FLAGS
MB = 1e6


def main() -> None:
    """Exports what the flags say."""
    # TensorFlow's messages about saving do not help users.
    logging.set_verbosity(logging.WARNING)
    tf.get_logger().setLevel("WARNING")
    config = export_flags.read()
    if FLAGS.litert:
        print(litert_summary(export_litert(config, FLAGS.fixed_length)))
    else:
        print(summary(export(config)))


def summary(report: ExportReport) -> str:
    """Returns the text about an export."""
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
    """Returns the text about a LiteRT export."""
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
    flags.run(main)
