"""Folders of Transformers with torch files, or with safetensors."""

from __future__ import annotations

import functools
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
        reference=None
        if place.is_file()
        else Reference(
            "transformers", functools.partial(load_transformers, path)
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


def load_transformers(folder: str, **options: str) -> Forward:
    """Returns the forward pass of Transformers.

    Args:
        folder: Local folder.
        **options: More arguments of `from_pretrained`.
    """
    import torch
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder, **options)
    is_decoder = not config.is_encoder_decoder and not hasattr(
        config, "type_vocab_size"
    )
    auto = (
        transformers.AutoModelForCausalLM
        if is_decoder
        else transformers.AutoModel
    )
    model = auto.from_pretrained(folder, dtype=torch.float32, **options).eval()

    def forward(token_ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            outputs = model(
                input_ids=torch.tensor(token_ids, dtype=torch.long),
                attention_mask=torch.tensor(mask, dtype=torch.long),
            )
        return (outputs.logits if is_decoder else outputs[0]).numpy()

    return forward


SOURCE = Source(
    "a folder of Transformers (config.json with pytorch_model.bin, shards or "
    "safetensors), or a torch file beside its config.json",
    recognizes,
    read,
)
