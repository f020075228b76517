"""Folders of Transformers with torch files, or with safetensors."""

from __future__ import annotations

import functools
import os
import pathlib
import shutil

import numpy as np

from tfllm.interop import folder_tensors, torch_files
from tfllm.interop.config_file import CONFIG_FILE, read_json
from tfllm.interop.sources.contract import (
    Checkpoint,
    Forward,
    Options,
    Reference,
    Source,
)
from tfllm.models import FAMILIES
from tfllm.models.weight_map import TensorSource

_ENDINGS = (".bin", ".pt", ".pth")
# Files of a model folder besides config and weights.
_COPIED = ("*.json", "*.txt", "*.model", "*.jinja")


def recognizes(path: str) -> bool:
    """Returns whether a path is a folder of Transformers, or a torch file."""
    place = pathlib.Path(path)
    if place.is_file():
        return (
            place.suffix in _ENDINGS and (place.parent / CONFIG_FILE).is_file()
        )
    return (place / CONFIG_FILE).is_file() and folder_tensors.has_tensors(place)


def read(path: str, options: Options) -> Checkpoint:
    """Opens a folder of Transformers, or one torch file with its config.json.

    Raises:
        ValueError: config.json or a file of weights is missing or damaged, or
            holds anything but tensors.
    """
    place = pathlib.Path(path)
    folder = place.parent if place.is_file() else place
    config = read_json(folder / CONFIG_FILE)
    tensors: TensorSource
    left_out: list[str] = []
    if place.is_file():
        tensors = torch_files.TorchFile(place)
        left_out = tensors.others
    else:
        tensors = folder_tensors.open_tensors(folder)
    if "model_type" not in config:
        config |= _family_of(tensors)
    return Checkpoint(
        config,
        tensors,
        write_tokenizer=functools.partial(_copy_files, folder),
        left_out=left_out,
        reference=SECOND_OPINION
        if place.is_file()
        else Reference(
            "transformers",
            lambda _, architecture: load_transformers(path, architecture),
        ),
    )


def _family_of(tensors: TensorSource) -> dict[str, str]:
    """Returns `model_type`, which files before 2020 lack; empty if unclear."""
    names = list(tensors.shapes())
    families = [
        family.name
        for family in FAMILIES.values()
        if any(name.startswith(family.prefix) for name in names)
    ]
    return {"model_type": families[0]} if len(families) == 1 else {}


def _copy_files(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copies tokenizer and generation files."""
    for pattern in _COPIED:
        for file in source.glob(pattern):
            if file.name != CONFIG_FILE and ".index." not in file.name:
                shutil.copyfile(file, target / file.name)


# Key of `Family.architectures` -> class of Transformers.
_CLASSES = {
    "causal_lm": "AutoModelForCausalLM",
    "seq2seq_lm": "AutoModelForSeq2SeqLM",
    "encoder": "AutoModel",
    "encoder_decoder": "AutoModel",
}


def load_transformers(
    folder: str | os.PathLike[str], architecture: str, **options: str
) -> Forward:
    """Returns the forward pass of Transformers.

    Args:
        folder: Local folder.
        architecture: As in `Reference.load`.
        **options: More arguments of `from_pretrained`.
    """
    import torch
    import transformers

    # It logs which weights a class has no place for: the report has them.
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **options)
        name = _CLASSES[architecture]
        if architecture == "encoder" and config.is_encoder_decoder:
            # The class of the encoder alone has no automatic one.
            name = config.architectures[0]
        model = getattr(transformers, name).from_pretrained(
            folder, dtype=torch.float32, **options
        )
    finally:
        transformers.logging.set_verbosity(level)
    model.eval()
    is_pair = architecture in ("seq2seq_lm", "encoder_decoder")

    def forward(token_ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        ids = torch.tensor(token_ids, dtype=torch.long)
        real = torch.tensor(mask, dtype=torch.long)
        inputs = {"input_ids": ids, "attention_mask": real}
        if is_pair:
            inputs |= {
                "decoder_input_ids": ids,
                "decoder_attention_mask": real,
                # With its cache, FSMT leaves out the causal mask.
                "use_cache": False,
            }
        with torch.no_grad():
            outputs = model(**inputs)
        logits = architecture in ("causal_lm", "seq2seq_lm")
        return (outputs.logits if logits else outputs[0]).numpy()

    return forward


# For checkpoints that Transformers does not read: it reads the result.
SECOND_OPINION = Reference(
    "transformers",
    lambda folder, architecture: load_transformers(folder, architecture),
    reads_result=True,
)


SOURCE = Source(
    "a folder of Transformers (config.json with pytorch_model.bin, shards or "
    "safetensors), or a torch file beside its config.json",
    recognizes,
    read,
)
