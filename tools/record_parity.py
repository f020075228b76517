"""Records tiny random reference models, for the parity tests.

    python -m tools.record_parity --output_dir=tests/testdata

Needs the extra `parity` (torch, transformers). Each file holds the weights
("weights/..."), inputs ("inputs/...") and outputs ("outputs/...") of one
reference model, and its config.json in the metadata.
"""

import dataclasses
import json
import pathlib
import re
from typing import Any, Literal

import numpy as np
from absl import flags as absl_flags

from tfllm import flags

MAX_FILE_BYTES = 200_000

_NORM_SCALE = re.compile(r"(LayerNorm|\.ln_\w+)\.weight$")
# Argument of the reference -> our name of the input.
_INPUTS = {
    "input_ids": "token_ids",
    "token_type_ids": "segment_ids",
    "attention_mask": "padding_mask",
    "position_ids": "position_ids",
}
# Output of the reference -> our name of the logits.
_LOGITS = {
    "prediction_logits": "mlm",
    "seq_relationship_logits": "nsp",
    "logits": "clm",
}

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
        padding: Side of the padding.
    """

    name: str
    architecture: str
    config: dict[str, Any]
    padding: Literal["left", "right"] = "right"


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

_GPT2 = {
    "vocab_size": 61,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "n_inner": 56,
    "n_positions": 19,
    "bos_token_id": 3,
    "eos_token_id": 4,
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
    Recording("gpt2_right", "GPT2LMHeadModel", _GPT2),
    Recording(
        "gpt2_left",
        "GPT2LMHeadModel",
        {
            **_GPT2,
            "activation_function": "relu",
            "scale_attn_by_inverse_layer_idx": True,
        },
        padding="left",
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
            center = 1.0 if _NORM_SCALE.search(name) else 0.0
            parameter.copy_(center + 0.2 * torch.randn_like(parameter))
    inputs = _inputs(recording, np.random.default_rng(seed))
    with torch.no_grad():
        outputs = model(
            **{
                theirs: torch.tensor(inputs[ours])
                for theirs, ours in _INPUTS.items()
                if ours in inputs
            },
            output_hidden_states=True,
        )
    tied = {
        name
        for name, parameter in model.state_dict().items()
        if name not in dict(model.named_parameters())
        or name.startswith(("cls.predictions.decoder.", "lm_head."))
    }
    tensors = {
        f"weights/{name}": value.numpy()
        for name, value in model.state_dict().items()
        if name not in tied
    }
    tensors |= {f"inputs/{name}": value for name, value in inputs.items()}
    for i, hidden in enumerate(outputs.hidden_states):
        tensors[f"outputs/hidden_states.{i}"] = hidden.numpy()
    for theirs, ours in _LOGITS.items():
        if theirs in outputs:
            tensors[f"outputs/{ours}"] = outputs[theirs].numpy()
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
    recording: Recording, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns three rows: full, padded, and short.

    A family with segments gets two of them; for another one positions count
    the real tokens.
    """
    length = 13
    lengths = np.array([[13], [9], [4]])
    columns = np.arange(length)[None]
    mask = (columns < lengths).astype(np.int64)
    if recording.padding == "left":
        mask = mask[:, ::-1]
    vocab_size = recording.config["vocab_size"]
    inputs = {
        "token_ids": rng.integers(1, vocab_size, (3, length)) * mask,
        "padding_mask": mask,
    }
    if "type_vocab_size" in recording.config:
        inputs["segment_ids"] = (columns >= lengths // 2) * mask
    else:
        positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
        inputs["position_ids"] = positions
    return {name: np.ascontiguousarray(v) for name, v in inputs.items()}


def main() -> None:
    """Records every reference model."""
    folder = pathlib.Path(_OUTPUT_DIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    for recording in RECORDINGS:
        record(recording, folder, _SEED.value)


if __name__ == "__main__":
    flags.run(main)
