"""The formats of checkpoints that can be converted, and how they are told."""

from __future__ import annotations

import os
from collections.abc import Callable

from tfllm import file_access
from tfllm.interop import tf1_bert
from tfllm.interop.sources import (
    gguf_source,
    keras_hub_source,
    keras_hub_writer,
    meta_source,
    official_source,
    tf1_albert_source,
    tf1_bert_source,
    torch_source,
)
from tfllm.interop.sources.contract import Source

# In this order: a folder may have files of several formats.
SOURCES: dict[str, Source] = {
    "tf1_bert": tf1_bert_source.SOURCE,
    "tf1_albert": tf1_albert_source.SOURCE,
    "official": official_source.SOURCE,
    "keras_hub": keras_hub_source.SOURCE,
    "meta": meta_source.SOURCE,
    "torch": torch_source.SOURCE,
    "gguf": gguf_source.SOURCE,
}
# Other formats -> function of a model folder or hub id, the folder to write
# and the revision of the hub id.
TARGETS: dict[str, Callable[[str, str, str | None], None]] = {
    "tf1_bert": tf1_bert.from_model_folder,
    "keras_hub": keras_hub_writer.write,
}


def is_prefix(path: str) -> bool:
    """Returns whether a path is the prefix of a TensorFlow checkpoint."""
    return file_access.exists(f"{path}.index")


def recognize(path: str) -> str:
    """Returns the name of the format of a checkpoint.

    Args:
        path: Local or remote file, folder, or prefix of a checkpoint.

    Raises:
        ValueError: The files show no known format.
    """
    for name, source in SOURCES.items():
        if source.recognizes(path):
            return name
    titles = "; ".join(f"{n}: {s.title}" for n, s in SOURCES.items())
    files = sorted(os.listdir(path))[:8] if os.path.isdir(path) else "a file"
    raise ValueError(
        f"'{path}' must be of a format that can be read: {titles}. Received: "
        f"{files or 'an empty folder'}. Name the format with --from."
    )
