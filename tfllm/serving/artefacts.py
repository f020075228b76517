"""Writes the files beside the graph of an export: configs, labels, manifest."""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfllm.runtime import saved_model_file
from tfllm.runtime.replay import Request
from tfllm.serving import warm_up
from tfllm.serving.signatures.served_task import ServedFunction
from tfllm.tokenizers import Tokenizer
from tfllm.version import __version__

EXTRA = "assets.extra"
OWN = "tfllm"
MANIFEST = "manifest.json"
BATCHING = "batching_params.pbtxt"
LITERT_FILE = "model.tflite"
MODELS = "models.config"
MONITORING = "monitoring.config"
# The last size must be the largest batch. On CPU time grows with the rows, so
# the steps are fine and few rows are padding.
BATCH_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32)

_BATCHING_TEXT = f"""\
# Read with --enable_batching --enable_per_model_batching_parameters.
# The graph pads texts, so texts of any length can share a batch.
max_batch_size {{ value: {BATCH_SIZES[-1]} }}
# A request runs at once; requests that arrive meanwhile form the next batch.
batch_timeout_micros {{ value: 0 }}
# Requests are refused while this many batches wait.
max_enqueued_batches {{ value: 64 }}
# Set it to the number of cores.
num_batch_threads {{ value: 4 }}
{"".join(f"allowed_batch_sizes: {size}{chr(10)}" for size in BATCH_SIZES)}"""
_MODELS_TEXT = """\
# --model_config_file of TensorFlow Serving, where this folder is
# /models/{name}.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""
_MONITORING_TEXT = """\
# --monitoring_config_file of TensorFlow Serving.
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def write(
    folder: pathlib.Path,
    model_name: str,
    requests: Sequence[Request],
    tokenizer: Tokenizer,
    labels: Sequence[str] = (),
) -> None:
    """Writes the files of a version, except for the manifest.

    Args:
        folder: Folder of the version.
        model_name: Name of the model.
        requests: Warm-up requests.
        tokenizer: Tokenizer, whose files are written.
        labels: Labels of the task.
    """
    extra = folder / EXTRA
    tfllm_folder = extra / OWN
    tfllm_folder.mkdir(parents=True)
    warm_up.write(requests, model_name, extra)
    (folder / BATCHING).write_text(_BATCHING_TEXT)
    # For readers; the graph has its tokenizer inside.
    write_vocabulary(tfllm_folder, tokenizer, labels)


def write_vocabulary(
    folder: pathlib.Path, tokenizer: Tokenizer, labels: Sequence[str]
) -> None:
    """Writes the files of a tokenizer, and labels.txt if there are labels."""
    tokenizer.save(str(folder))
    if labels:
        lines = "".join(f"{label}\n" for label in labels)
        (folder / "labels.txt").write_text(lines, encoding="utf-8")


def write_manifest(
    folder: pathlib.Path,
    functions: dict[str, ServedFunction],
    **facts: Any,
) -> dict[str, Any]:
    """Writes the manifest of an export, with a hash of all other files.

    Args:
        folder: Folder of the version, otherwise complete.
        functions: Signature name -> function.
        **facts: Further entries of the manifest.

    Returns:
        The manifest.
    """
    saved = saved_model_file.read(folder)
    manifest = {
        "tfllm": __version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        **facts,
        "signatures": {
            name: {
                "inputs": {
                    key: _to_json(info)
                    for key, info in signature.inputs.items()
                },
                "outputs": {
                    key: {
                        **_to_json(info),
                        "text": functions[name].outputs[key],
                    }
                    for key, info in signature.outputs.items()
                },
            }
            for name, signature in saved.signatures.items()
        },
        "ops": sorted(saved.ops),
        "sha256": hash_of(folder),
    }
    text = json.dumps(manifest, indent=2) + "\n"
    (folder / EXTRA / OWN / MANIFEST).write_text(text)
    return manifest


def write_configs(base: pathlib.Path, model_name: str) -> None:
    """Writes the config files of a server; existing files are kept.

    Args:
        base: Folder of the model.
        model_name: Name of the model.
    """
    for name, text in (
        (MODELS, _MODELS_TEXT.format(name=model_name)),
        (MONITORING, _MONITORING_TEXT),
    ):
        if not (base / name).exists():
            (base / name).write_text(text)


def hash_of(folder: pathlib.Path) -> str:
    """Returns the SHA-256 of names and contents, without the manifest."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != f"{EXTRA}/{OWN}/{MANIFEST}":
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def _to_json(info: saved_model_file.TensorInfo) -> dict[str, Any]:
    """Returns dtype and shape for the manifest."""
    return {"dtype": info.dtype, "shape": info.shape and list(info.shape)}
