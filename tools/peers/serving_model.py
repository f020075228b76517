"""Makes the classifier for the serving benchmark, in tfllm's environment.

    python -m tools.peers.serving_model SIZE FOLDER

Writes FOLDER/model, a model folder with random weights and a tokenizer, and
exports it to FOLDER/served/1. All sides serve this model.
"""

import dataclasses
import pathlib
import sys
from typing import Any

import keras
import numpy as np

from tfllm import tasks
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.serving.export import export
from tfllm.serving.export_config import ExportConfig
from tfllm.tokenizers import WordPieceTokenizer
from tools.peers import serving_texts

# Other arguments are those of BERT-base.
SIZES: dict[str, dict[str, int]] = {
    "base": {},
    "tiny": {
        "num_layers": 2,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 128,
    },
}
LABELS = ("bad", "good")


def main(size: str, folder: str) -> None:
    """Writes the model folder and the export."""
    tokenizer = WordPieceTokenizer(serving_texts.vocabulary())
    config = FAMILIES["bert"].config(
        **{
            "num_layers": 12,
            "hidden_size": 768,
            "num_heads": 12,
            "intermediate_size": 3072,
            "vocab_size": tokenizer.vocab_size,
            "max_position_embeddings": 512,
            **SIZES[size],
        }
    )
    ids: dict[str, Any] = tokenizer.model_ids
    keras.utils.set_random_seed(1)
    task = tasks.create(
        "classification",
        dataclasses.replace(config, **ids),
        labels=LABELS,
    )
    # A fresh head gives nearly equal scores for all texts; this one does not.
    rng = np.random.default_rng(1)
    head = next(w for w in reversed(task.weights) if len(w.shape) == 2)
    assert head.shape[1] == len(LABELS), head.path
    head.assign(rng.normal(0.0, 1.0, head.shape))
    model = pathlib.Path(folder) / "model"
    model_folder.save(task, model, tokenizer)
    export(ExportConfig(str(model), str(pathlib.Path(folder) / "served")))


if __name__ == "__main__":
    main(*sys.argv[1:])
