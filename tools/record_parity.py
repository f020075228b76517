"""Records tiny random reference models for the parity tests.

    python -m tools.record_parity --output_dir=tests/testdata

Needs the extra `parity` (torch, transformers). A file `parity_FAMILY` holds a
model with no argument of the family's `config()` at its default: the weights
("weights/..."), inputs ("inputs/...") and outputs ("outputs/...") of its
language model, the weights ("HEAD/weights/...") and outputs
("HEAD/outputs/...") of each head on the same body, and config.json in the
metadata.
"""

import json
import pathlib
import re
from typing import Any

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
    "sop_logits": "nsp",
}
# Key of `Family.architectures` -> name of its `logits`.
_LANGUAGE_MODELS = {
    "pretraining": "mlm",
    "masked_lm": "mlm",
    "causal_lm": "clm",
    "seq2seq_lm": "clm",
    "permutation_lm": "plm",
}
# Output of a reference with a head -> name in tfllm; a later one wins.
_HEAD_OUTPUTS = {
    "logits": "logits",
    "mc_logits": "logits",
    "start_logits": "start",
    "end_logits": "end",
}

NUM_LABELS = 5
# Of heads with as many labels as their outputs ask for.
_NUM_LABELS = {"question_answering": 2, "multiple_choice": 1}
# Arguments of a family with two stacks, to stay below MAX_FILE_BYTES.
SMALLER = {"num_layers": 2, "intermediate_size": 36}


def record(family: Family, folder: pathlib.Path, seed: int) -> None:
    """Runs a family's language model and all heads; writes the results."""
    two_stacks = family.config().kind == "encoder_decoder"
    smaller = SMALLER if two_stacks else {}
    config = family.config(**off_default(family, **smaller))
    values = family.to_published(config)
    main = next(key for key in _LANGUAGE_MODELS if key in family.architectures)
    heads = [
        key
        for key in (*LABELLED, "replaced_token_detection")
        if key in family.architectures
    ]
    inputs = _inputs(config, np.random.default_rng(seed))
    tensors = {f"inputs/{name}": value for name, value in inputs.items()}
    for key in (main, *heads):
        arguments = dict(values)
        if key != main:
            arguments["num_labels"] = _NUM_LABELS.get(key, NUM_LABELS)
        model = _create(family.architectures[key], arguments)
        _untie(model, family, config)
        outputs = _run(model, key, inputs, seed, family.ignored(config))
        for name, value in _weights(model, family, config).items():
            shared = key == main or name.startswith(family.prefix)
            kind = "weights" if shared else f"{key}/weights"
            stored = tensors.setdefault(f"{kind}/{name}", value)
            assert np.array_equal(stored, value), name
        if key == main:
            tensors |= _main_outputs(outputs, key)
        else:
            ours = {v: k for k, v in _HEAD_OUTPUTS.items() if k in outputs}
            for name, theirs in ours.items():
                tensors[f"{key}/outputs/{name}"] = outputs[theirs].numpy()
    path = folder / f"parity_{family.name}.safetensors"
    _write(path, tensors, values)


def _weights(
    model: Any, family: Family, config: TransformerConfig
) -> dict[str, np.ndarray]:
    """Returns the weights of a reference model by the family's names."""
    tied, ignored = family.tied(config), family.ignored(config)
    named = {
        _table_name(family, config, name): value.numpy()
        for name, value in model.state_dict().items()
    }
    return {
        name: value
        for name, value in named.items()
        if name not in tied
        and not any(re.fullmatch(pattern, name) for pattern in ignored)
    }


def _main_outputs(outputs: Any, key: str) -> dict[str, np.ndarray]:
    """Returns hidden states and logits of a language model.

    Args:
        outputs: Of the reference.
        key: Key of `_LANGUAGE_MODELS`.
    """
    tensors = {}
    for kind in ("encoder_", "decoder_", ""):
        for i, hidden in enumerate(outputs.get(f"{kind}hidden_states", ())):
            name = f"{kind.replace('decoder_', '')}hidden_states.{i}"
            tensors[f"outputs/{name}"] = hidden.numpy()
    for theirs, name in {**_LOGITS, "logits": _LANGUAGE_MODELS[key]}.items():
        if theirs in outputs:
            tensors[f"outputs/{name}"] = outputs[theirs].numpy()
    return tensors


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
        # Positions of the last real tokens, which some references read.
        columns = torch.arange(x["input_ids"].shape[1])
        last = (x["attention_mask"] * columns).argmax(dim=1)
        # The rows become the choices of one example: [1, B, T]. Positions
        # stay 2-D for the same references.
        x = {
            name: value if name == "position_ids" else value[None]
            for name, value in x.items()
        }
        if hasattr(model, "multiple_choice_head"):
            x["mc_token_ids"] = last[None]
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
    """Records the reference models."""
    folder = pathlib.Path(FLAGS.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    for name in FLAGS.family or FAMILIES:
        record(FAMILIES[name], folder, FLAGS.seed)


if __name__ == "__main__":
    flags.run(main)
