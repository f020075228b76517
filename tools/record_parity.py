"""Records tiny random reference models for the parity tests.

    python -m tools.record_parity --output_dir=tests/testdata

Needs the extra `parity` (torch, transformers). A file `parity_NAME` holds the
weights ("weights/..."), inputs ("inputs/...") and outputs ("outputs/...") of a
reference model, and its config.json in the metadata. A file `heads_NAME` holds
one body, and the weights ("HEAD/weights/...") and outputs ("HEAD/outputs/...")
of each head. A family without an entry here gets one file with body and heads,
of a model with no argument of the family's `config()` at its default.
"""

import dataclasses
import json
import pathlib
import re
from typing import Any, Literal

import numpy as np
from absl import flags as absl_flags

from tfllm.runs import flags
from tools import record_parity_flags

if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(record_parity_flags.define)

import tfllm.lean_keras  # noqa: F401

# isort: split
from tfllm.models import FAMILIES, Family, TransformerConfig
from tfllm.models.family import LABELLED
from tools.family_arguments import off_default

FLAGS = absl_flags.FLAGS
MAX_FILE_BYTES = 200_000

_NORM_SCALE = re.compile(r"(norm|\.ln_\w+)\.weight$", re.IGNORECASE)
# Argument of the reference -> name of the input in tfllm.
_INPUTS = {
    "input_ids": "token_ids",
    "token_type_ids": "segment_ids",
    "attention_mask": "padding_mask",
    "position_ids": "position_ids",
}
# The same of an encoder-decoder.
_BOTH_INPUTS = {
    "input_ids": "source_ids",
    "attention_mask": "source_mask",
    "decoder_input_ids": "token_ids",
    "decoder_attention_mask": "padding_mask",
}
# Output of the reference -> name of the logits in tfllm.
_LOGITS = {
    "prediction_logits": "mlm",
    "seq_relationship_logits": "nsp",
    "logits": "clm",
}

# Those of encoders.
_ENCODER_LOGITS = {
    "prediction_logits": "mlm",
    "logits": "mlm",
    "sop_logits": "nsp",
}

# Output of a reference with a head -> name in tfllm; a later one wins.
_HEAD_OUTPUTS = {
    "logits": "logits",
    "mc_logits": "logits",
    "start_logits": "start",
    "end_logits": "end",
}


@dataclasses.dataclass(frozen=True)
class Recording:
    """A reference model.

    Attributes:
        name: Name in `parity_<name>.safetensors`; starts with the family.
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
    """A body with all heads of its family.

    Attributes:
        family: Name in `heads_<family>.safetensors`.
        config: Arguments of the config class.
        architectures: Key of `Family.architectures` -> class in
            `transformers`.
    """

    family: str
    config: dict[str, Any]
    architectures: dict[str, str]


# All numbers differ, so that mixed-up axes show.
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
# Arguments of a family with two stacks, to stay below MAX_FILE_BYTES.
SMALLER = {"num_layers": 2, "intermediate_size": 36}


def record(recording: Recording, folder: pathlib.Path, seed: int) -> None:
    """Runs a reference model; writes weights, inputs and outputs."""
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
    _write(
        folder / f"parity_{recording.name}.safetensors", tensors, model.config
    )


def record_heads(
    recording: HeadsRecording, folder: pathlib.Path, seed: int
) -> None:
    """Runs a body with every head of its family; writes the results."""
    import torch

    inputs = _inputs(recording.config, "right", np.random.default_rng(seed))
    tensors = {f"inputs/{name}": value for name, value in inputs.items()}
    config: dict[str, Any] = {**recording.config, "num_labels": NUM_LABELS}
    for head, architecture in recording.architectures.items():
        if head in ("question_answering", "multiple_choice"):
            config["num_labels"] = 2 if head == "question_answering" else 1
        model = _create(architecture, config)
        # The body draws its weights first, so all heads share them.
        torch.manual_seed(seed)
        _randomize(model)
        body = model.base_model_prefix + "."
        x = {
            theirs: torch.tensor(inputs[ours])
            for theirs, ours in _INPUTS.items()
            if ours in inputs
        }
        if head == "multiple_choice":
            # The rows become the choices of one example: [1, B, T]
            x = {name: value[None] for name, value in x.items()}
            if architecture == "GPT2DoubleHeadsModel":
                # It takes 2-D positions only, and these are the default.
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
    _write(
        folder / f"heads_{recording.family}.safetensors", tensors, model.config
    )


def record_family(family: Family, folder: pathlib.Path, seed: int) -> None:
    """Runs a family's language model and all heads; writes the results."""
    two_stacks = family.config().kind == "encoder_decoder"
    smaller = SMALLER if two_stacks else {}
    config = family.config(**off_default(family, **smaller))
    values = family.to_published(config)
    keys = (
        "pretraining",
        "masked_lm",
        "causal_lm",
        "seq2seq_lm",
        "permutation_lm",
    )
    main = next(key for key in keys if key in family.architectures)
    heads = {
        key: family.architectures[key]
        for key in (*LABELLED, "replaced_token_detection")
        if key in family.architectures
    }
    inputs = _family_inputs(config, np.random.default_rng(seed))
    tensors = {f"inputs/{name}": value for name, value in inputs.items()}
    tied = family.tied(config)
    for key, architecture in {
        main: family.architectures[main],
        **heads,
    }.items():
        labels = {"question_answering": 2, "multiple_choice": 1}
        arguments = dict(values)
        if key != main:
            arguments["num_labels"] = labels.get(key, NUM_LABELS)
        model = _create(architecture, arguments)
        _untie(model, family, config)
        computed = family.ignored(config)
        outputs = _run(model, key, inputs, seed, computed)
        for name, value in model.state_dict().items():
            name = _table_name(family, config, name)
            if any(re.fullmatch(pattern, name) for pattern in computed):
                continue
            shared = key == main or name.startswith(family.prefix)
            kind = "weights" if shared else f"{key}/weights"
            if name not in tied:
                stored = tensors.setdefault(f"{kind}/{name}", value.numpy())
                assert np.array_equal(stored, value), name
        if key == main:
            for kind in ("encoder_", "decoder_", ""):
                states = outputs.get(f"{kind}hidden_states", ())
                for i, hidden in enumerate(states):
                    name = f"{kind.replace('decoder_', '')}hidden_states.{i}"
                    tensors[f"outputs/{name}"] = hidden.numpy()
            logits = _LOGITS if config.generates else _ENCODER_LOGITS
            if main == "permutation_lm":
                logits = {"logits": "plm"}
            for theirs, name in logits.items():
                if theirs in outputs:
                    tensors[f"outputs/{name}"] = outputs[theirs].numpy()
        else:
            ours = {v: k for k, v in _HEAD_OUTPUTS.items() if k in outputs}
            for name, theirs in ours.items():
                tensors[f"{key}/outputs/{name}"] = outputs[theirs].numpy()
    path = folder / f"parity_{family.name}.safetensors"
    _write(path, tensors, values)


def _run(
    model: Any,
    key: str,
    inputs: dict[str, Any],
    seed: int,
    computed: tuple[str, ...] = (),
) -> Any:
    """Runs a reference model with random weights.

    Args:
        model: The model. Its body draws its weights first, so all heads share
            them.
        key: Key of `Family.architectures`.
        inputs: Inputs by tfllm's names.
        seed: Seed of the weights.
        computed: Patterns of tensors that keep their values.
    """
    import torch

    torch.manual_seed(seed)
    _randomize(model, computed)
    names = _BOTH_INPUTS if key == "seq2seq_lm" else _INPUTS
    x = {
        theirs: torch.tensor(inputs[ours])
        for theirs, ours in names.items()
        if ours in inputs
    }
    if key == "multiple_choice":
        # The rows become the choices of one example: [1, B, T]
        x = {name: value[None] for name, value in x.items()}
    # Some references mask nothing with a cache.
    options = {"use_cache": False} if key == "seq2seq_lm" else {}
    with torch.no_grad():
        return model(**x, **options, output_hidden_states=True)


def _table_name(family: Family, config: TransformerConfig, name: str) -> str:
    """Returns the name in a family's table of a name in its reference."""
    name = family.name_in_table(name)
    known = {weight.published for weight in family.weights(config)}
    known |= set(family.tied(config))
    prefixed = family.prefix + name
    return prefixed if name not in known and prefixed in known else name


def _untie(model: Any, family: Family, config: TransformerConfig) -> None:
    """Gives tensors that are not tied here values of their own.

    Args:
        model: A new reference model, which may tie more than its files do.
        family: Its family.
        config: Its config.
    """
    import torch

    tied = family.tied(config)
    seen: set[int] = set()
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in parameters.items():
        is_tied = _table_name(family, config, name) in tied
        if id(parameter) in seen and not is_tied:
            owner, _, attribute = name.rpartition(".")
            copy = torch.nn.Parameter(parameter.detach().clone())
            setattr(model.get_submodule(owner), attribute, copy)
        seen.add(id(parameter))


def _create(architecture: str, arguments: dict[str, Any]) -> Any:
    """Returns a reference model."""
    import transformers

    cls = getattr(transformers, architecture)
    config = cls.config_class(
        **{k: v for k, v in arguments.items() if k != "model_type"},
        attn_implementation="eager",
    )
    return cls(config).eval()


def _randomize(model: Any, computed: tuple[str, ...] = ()) -> None:
    """Draws weights so that each one affects the outputs, the body's first.

    A tied weight is drawn under its name in the body. Names that match
    `computed` keep their weights.
    """
    import torch

    body = model.base_model_prefix + "."
    named = list(model.named_parameters(remove_duplicate=False))
    named.sort(key=lambda item: not item[0].startswith(body))
    drawn: set[int] = set()
    with torch.no_grad():
        for name, parameter in named:
            if id(parameter) in drawn:
                continue
            drawn.add(id(parameter))
            if any(re.fullmatch(pattern, name) for pattern in computed):
                continue
            # Biases and norms start at zeros and ones: a swap would not show.
            center = 1.0 if _NORM_SCALE.search(name) else 0.0
            parameter.copy_(center + 0.2 * torch.randn_like(parameter))
        for name, buffer in model.named_buffers():
            if name.endswith("_bias"):
                buffer.copy_(0.2 * torch.randn_like(buffer))


def _write(path: pathlib.Path, tensors: dict[str, Any], config: Any) -> None:
    """Writes tensors and config.json: a dict, or a Transformers config."""
    import safetensors.numpy
    import torch
    import transformers

    safetensors.numpy.save_file(
        {k: np.ascontiguousarray(v) for k, v in tensors.items()},
        path,
        metadata={
            "config": json.dumps(config)
            if isinstance(config, dict)
            else config.to_json_string(use_diff=False),
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

    A family with segments gets two segments; other families get positions that
    count the real tokens.
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


def _family_inputs(
    config: TransformerConfig, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns a full and two padded rows; decoders pad on both sides.

    Those of a pooler of the last token are padded on the left.

    No real token has the id of padding, as some references require. Rows of
    an encoder-decoder end with the token that ends a text, and are padded on
    the right; its sources are the same rows in another order.
    """
    length, pad = 13, config.pad_token_id
    columns = np.arange(length)[None]
    mask = (columns < np.array([[13], [9], [4]])).astype(np.int64)
    if config.kind == "decoder":
        mask[1] = mask[1, ::-1]
    if config.pooler is not None and config.pooler.token == "last":
        mask = mask[:, ::-1]
    limit = min(stack.embeddings.vocab_size for stack in config.stacks)
    tokens = rng.integers(pad + 1, limit, (3, length))
    if config.kind == "encoder_decoder":
        last = np.argmax(mask * (columns + 1), axis=1)
        assert config.eos_token_id is not None
        tokens[range(3), last] = config.eos_token_id
    inputs = {
        "token_ids": np.where(mask, tokens, pad),
        "padding_mask": mask,
    }
    num_segments = 3 if config.num_segments is None else config.num_segments
    if num_segments:
        inputs["segment_ids"] = columns % num_segments * mask
    if config.kind == "decoder":
        positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)
        inputs["position_ids"] = positions
    elif config.kind == "encoder_decoder":
        # One of them padded on the left.
        for name, part in (("ids", inputs["token_ids"]), ("mask", mask)):
            source = part[::-1].copy()
            source[1] = source[1, ::-1]
            inputs[f"source_{name}"] = source
    return {name: np.ascontiguousarray(v) for name, v in inputs.items()}


def main() -> None:
    """Records every reference model."""
    folder = pathlib.Path(FLAGS.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for recording in RECORDINGS:
        record(recording, folder, FLAGS.seed)
    for heads in HEADS:
        record_heads(heads, folder, FLAGS.seed)
    written = {heads.family for heads in HEADS}
    for name, family in FAMILIES.items():
        if name not in written:
            record_family(family, folder, FLAGS.seed)


if __name__ == "__main__":
    flags.run(main)
