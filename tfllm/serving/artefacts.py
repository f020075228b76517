"""What lies beside the graph of an export, for servers and for people."""

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

import tfllm
from tfllm.serving import saved_model_file, warm_up
from tfllm.serving.replay import Request
from tfllm.serving.served_task import ServedFunction

EXTRA = "assets.extra"
OWN = "tfllm"
MANIFEST = "manifest.json"
BATCHING = "batching_params.pbtxt"
LITERT_FILE = "model.tflite"
MODELS = "models.config"
MONITORING = "monitoring.config"
# The last one must be the largest batch. A processor's time goes with the rows:
# fine steps, so that few of them are there only to fill a batch up.
BATCH_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32)

_BATCHING_TEXT = f"""\
# --enable_batching --enable_per_model_batching_parameters read this file.
# Texts are padded in the graph: requests of any lengths go together.
max_batch_size {{ value: {BATCH_SIZES[-1]} }}
# A request that comes alone runs at once; those that come meanwhile are the
# next batch.
batch_timeout_micros {{ value: 0 }}
# Past so many batches that wait, requests are refused at once.
max_enqueued_batches {{ value: 64 }}
# As many as there are cores.
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
    tokenizer: Any,
    labels: Sequence[str] = (),
) -> None:
    """Writes the files that lie in a version.

    Args:
        folder: The version.
        model_name: Name of the model.
        requests: What warms a server up.
        tokenizer: Writes its files, by `save(folder)`.
        labels: Names of the labels of the task.
    """
    extra = folder / EXTRA
    own = extra / OWN
    own.mkdir(parents=True)
    warm_up.write(requests, model_name, extra)
    (folder / BATCHING).write_text(_BATCHING_TEXT)
    # For people; the graph holds its own.
    write_vocabulary(own, tokenizer, labels)


def write_vocabulary(
    folder: pathlib.Path, tokenizer: Any, labels: Sequence[str]
) -> None:
    """Writes the files of a tokenizer, and labels.txt if there are any."""
    tokenizer.save(str(folder))
    if labels:
        lines = "".join(f"{label}\n" for label in labels)
        (folder / "labels.txt").write_text(lines, encoding="utf-8")


def write_manifest(
    folder: pathlib.Path,
    functions: dict[str, ServedFunction],
    **facts: Any,
) -> dict[str, Any]:
    """Writes what an export is, with a hash of all its other files.

    Args:
        folder: The version, otherwise complete.
        functions: By name of the signature.
        **facts: More that goes into the manifest.

    Returns:
        The manifest.
    """
    read = saved_model_file.read(folder)
    manifest = {
        "tfllm": tfllm.__version__,
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        **facts,
        "signatures": {
            name: {
                "inputs": {
                    key: _described(info) for key, info in found.inputs.items()
                },
                "outputs": {
                    key: {
                        **_described(info),
                        "text": functions[name].outputs[key],
                    }
                    for key, info in found.outputs.items()
                },
            }
            for name, found in read.signatures.items()
        },
        "ops": sorted(read.ops),
        "sha256": hash_of(folder),
    }
    text = json.dumps(manifest, indent=2) + "\n"
    (folder / EXTRA / OWN / MANIFEST).write_text(text)
    return manifest


def write_configs(base: pathlib.Path, model_name: str) -> None:
    """Writes the configs of a server, where there are none yet.

    Args:
        base: Folder of the model.
        model_name: Its name.
    """
    for name, text in (
        (MODELS, _MODELS_TEXT.format(name=model_name)),
        (MONITORING, _MONITORING_TEXT),
    ):
        if not (base / name).exists():
            (base / name).write_text(text)


def hash_of(folder: pathlib.Path) -> str:
    """Returns the SHA-256 of all files but the manifest, and their names."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != f"{EXTRA}/{OWN}/{MANIFEST}":
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


def _described(info: saved_model_file.TensorInfo) -> dict[str, Any]:
    """Returns dtype and shape as JSON."""
    return {"dtype": info.dtype, "shape": info.shape and list(info.shape)}
