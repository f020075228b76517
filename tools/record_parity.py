"""Records tiny random reference models, for the parity tests.

    python -m tools.record_parity --output_dir=tests/testdata

Needs the extra `parity` (torch, transformers). Each file holds the weights
("weights/..."), inputs ("inputs/...") and outputs ("outputs/...") of one
reference model, and its config.json in the metadata. Those of heads hold one
body and, for every head, its class, its weights ("HEAD/weights/...") and its
outputs ("HEAD/outputs/...").
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

# Output of a reference with a head -> our name; the last one there counts.
_HEAD_OUTPUTS = {
    "logits": "logits",
    "mc_logits": "logits",
    "start_logits": "start",
    "end_logits": "end",
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


@dataclasses.dataclass(frozen=True)
class HeadsRecording:
    """One body with all the heads of its family.

    Attributes:
        family: Of the file: `heads_<family>.safetensors`.
        config: Arguments of the config class.
        architectures: Key of `Family.architectures` -> class in
            `transformers`.
    """

    family: str
    config: dict[str, Any]
    architectures: dict[str, str]


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

HEADS = (
    HeadsRecording(
        "bert",
        _BERT,
        {
            "sequence_classification": "BertForSequenceClassification",
            "token_classification": "BertForTokenClassification",
            "question_answering": "BertForQuestionAnswering",
            "multiple_choice": "BertForMultipleChoice",
        },
    ),
    HeadsRecording(
        "gpt2",
        {**_GPT2, "pad_token_id": 0},
        {
            "sequence_classification": "GPT2ForSequenceClassification",
            "token_classification": "GPT2ForTokenClassification",
            "question_answering": "GPT2ForQuestionAnswering",
            "multiple_choice": "GPT2DoubleHeadsModel",
        },
    ),
)
NUM_LABELS = 5


def record(recording: Recording, folder: pathlib.Path, seed: int) -> None:
    """Runs one reference model and writes what went in and what came out."""
    import torch

    torch.manual_seed(seed)
    model = _create(recording.architecture, recording.config)
    _randomize(model)
    inputs = _inputs(
        recording.config, recording.padding, np.random.default_rng(seed)
    )
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
    _write(folder / f"parity_{recording.name}.safetensors", tensors, model)


def record_heads(
    recording: HeadsRecording, folder: pathlib.Path, seed: int
) -> None:
    """Runs one body with every head of its family."""
    import torch

    inputs = _inputs(recording.config, "right", np.random.default_rng(seed))
    tensors = {f"inputs/{name}": value for name, value in inputs.items()}
    config: dict[str, Any] = {**recording.config, "num_labels": NUM_LABELS}
    for head, architecture in recording.architectures.items():
        if head in ("question_answering", "multiple_choice"):
            config["num_labels"] = 2 if head == "question_answering" else 1
        model = _create(architecture, config)
        # The body comes first: it is the same under every head.
        torch.manual_seed(seed)
        _randomize(model)
        body = model.base_model_prefix + "."
        x = {
            theirs: torch.tensor(inputs[ours])
            for theirs, ours in _INPUTS.items()
            if ours in inputs
        }
        if head == "multiple_choice":
            # The rows are the choices of one example.
            x = {name: value[None] for name, value in x.items()}
            if architecture == "GPT2DoubleHeadsModel":
                # It takes positions of two axes only; these are the default.
                del x["position_ids"]
                x["mc_token_ids"] = x["attention_mask"].sum(-1) - 1
        with torch.no_grad():
            outputs = model(**x)
        for name, value in model.state_dict().items():
            if name.startswith(body):
                key = f"weights/{name}"
                assert np.array_equal(tensors.get(key, value), value), name
            elif name != "lm_head.weight":
                key = f"{head}/weights/{name}"
            else:
                continue
            tensors[key] = value.numpy()
        ours = {v: k for k, v in _HEAD_OUTPUTS.items() if k in outputs}
        for name, theirs in ours.items():
            tensors[f"{head}/outputs/{name}"] = outputs[theirs].numpy()
    _write(folder / f"heads_{recording.family}.safetensors", tensors, model)


def _create(architecture: str, arguments: dict[str, Any]) -> Any:
    """Returns a reference model."""
    import transformers

    cls = getattr(transformers, architecture)
    config = cls.config_class(**arguments, attn_implementation="eager")
    return cls(config).eval()


def _randomize(model: Any) -> None:
    """Draws weights that all show in the outputs."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Biases and norms start as zeros and ones: a swap would not show.
            center = 1.0 if _NORM_SCALE.search(name) else 0.0
            parameter.copy_(center + 0.2 * torch.randn_like(parameter))


def _write(path: pathlib.Path, tensors: dict[str, Any], model: Any) -> None:
    """Writes the tensors and the model's config.json."""
    import safetensors.numpy
    import torch
    import transformers

    safetensors.numpy.save_file(
        {k: np.ascontiguousarray(v) for k, v in tensors.items()},
        path,
        metadata={
            "config": model.config.to_json_string(use_diff=False),
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
    config: dict[str, Any], padding: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns three rows: full, padded, and short.

    A family with segments gets two of them; for another one positions count
    the real tokens.
    """
    length = 13
    lengths = np.array([[13], [9], [4]])
    columns = np.arange(length)[None]
    mask = (columns < lengths).astype(np.int64)
    if padding == "left":
        mask = mask[:, ::-1]
    vocab_size = config["vocab_size"]
    inputs = {
        "token_ids": rng.integers(1, vocab_size, (3, length)) * mask,
        "padding_mask": mask,
    }
    if "type_vocab_size" in config:
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
    for heads in HEADS:
        record_heads(heads, folder, _SEED.value)


if __name__ == "__main__":
    flags.run(main)
