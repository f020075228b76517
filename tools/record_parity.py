"""Records tiny random reference models, for the parity tests.

    python -m tools.record_parity --output_dir=tests/testdata

Needs the extra `parity` (torch, transformers). Each file holds the weights
("weights/..."), inputs ("inputs/...") and outputs ("outputs/...") of one
reference model, and its config.json in the metadata.
"""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from absl import flags as absl_flags

from tfllm import flags

MAX_FILE_BYTES = 200_000

_OUTPUT_DIR = absl_flags.DEFINE_string(
    "output_dir", "tests/testdata", "Folder for the recorded files."
)
_SEED = absl_flags.DEFINE_integer("seed", 0, "Of weights and inputs.")


@dataclasses.dataclass(frozen=True)
class Recording:
    """One reference model.

    Attributes:
        name: Of the file: `parity_<name>.safetensors`; starts with the
            family.
        architecture: Class in `transformers`.
        config: Arguments of its config class.
    """

    name: str
    architecture: str
    config: dict[str, Any]


# Every number differs from the others, so that no two axes can be mixed up.
_BERT = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 56,
    "max_position_embeddings": 19,
    "type_vocab_size": 2,
}

RECORDINGS = (
    Recording(
        "bert_gelu", "BertForPreTraining", {**_BERT, "hidden_act": "gelu"}
    ),
    Recording(
        "bert_gelu_new",
        "BertForPreTraining",
        {**_BERT, "hidden_act": "gelu_new"},
    ),
)


def record(recording: Recording, folder: pathlib.Path, seed: int) -> None:
    """Runs one reference model and writes what went in and what came out."""
    import safetensors.numpy
    import torch
    import transformers

    torch.manual_seed(seed)
    architecture = getattr(transformers, recording.architecture)
    config = architecture.config_class(
        **recording.config, attn_implementation="eager"
    )
    model = architecture(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms start as zeros and ones: a swap would not show.
            center = 1.0 if "LayerNorm.weight" in name else 0.0
            parameter.copy_(center + 0.2 * torch.randn_like(parameter))
    inputs = _inputs(recording.config, np.random.default_rng(seed))
    with torch.no_grad():
        outputs = model(
            input_ids=torch.tensor(inputs["token_ids"]),
            token_type_ids=torch.tensor(inputs["segment_ids"]),
            attention_mask=torch.tensor(inputs["padding_mask"]),
            output_hidden_states=True,
        )
    tied = {
        name
        for name, parameter in model.state_dict().items()
        if name not in dict(model.named_parameters())
        or name.startswith("cls.predictions.decoder.")
    }
    tensors = {
        f"weights/{name}": value.numpy()
        for name, value in model.state_dict().items()
        if name not in tied
    }
    tensors |= {f"inputs/{name}": value for name, value in inputs.items()}
    for i, hidden in enumerate(outputs.hidden_states):
        tensors[f"outputs/hidden_states.{i}"] = hidden.numpy()
    tensors["outputs/mlm"] = outputs.prediction_logits.numpy()
    tensors["outputs/nsp"] = outputs.seq_relationship_logits.numpy()
    path = folder / f"parity_{recording.name}.safetensors"
    safetensors.numpy.save_file(
        {k: np.ascontiguousarray(v) for k, v in tensors.items()},
        path,
        metadata={
            "config": config.to_json_string(use_diff=False),
            "reference": json.dumps(
                {
                    "transformers": transformers.__version__,
                    "torch": torch.__version__,
                }
            ),
        },
    )
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ValueError(
            f"'{path}' must be at most {MAX_FILE_BYTES} bytes. "
            f"Received: {size}. Record a smaller model."
        )
    print(f"{path}: {size} bytes")


def _inputs(
    config: dict[str, Any], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns three rows: full, padded, and short with two segments."""
    length = 13
    lengths = np.array([[13], [9], [4]])
    positions = np.arange(length)[None]
    mask = (positions < lengths).astype(np.int64)
    tokens = rng.integers(1, config["vocab_size"], (3, length)) * mask
    segments = (positions >= lengths // 2).astype(np.int64) * mask
    return {
        "token_ids": tokens,
        "segment_ids": segments,
        "padding_mask": mask,
    }


def main() -> None:
    """Records every reference model."""
    folder = pathlib.Path(_OUTPUT_DIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    for recording in RECORDINGS:
        record(recording, folder, _SEED.value)


if __name__ == "__main__":
    flags.run(main)
