"""Compares our models with those of Transformers, through model folders.

Needs the extra `parity` (torch, transformers) when a function is called.
"""

import dataclasses
import os
from typing import Any

import keras
import numpy as np

from tfllm.generation import GenerationConfig
from tfllm.generation.generate import generate
from tfllm.interop import model_folder, weights
from tfllm.layers import DynamicScaling, LongRopeScaling
from tfllm.models import (
    FAMILIES,
    ChoiceModel,
    EncoderDecoder,
    PermutationModel,
    Transformer,
    TransformerConfig,
)
from tfllm.models.task_models import TaskModel
from tfllm.models.two_stream import factorization_mask
from tools import parity_cases

# Our output -> theirs.
_OUTPUTS = {
    "mlm": ("prediction_logits", "logits"),
    "nsp": ("seq_relationship_logits", "sop_logits"),
    "clm": ("logits",),
    "plm": ("logits",),
    "hidden": ("last_hidden_state",),
    "encoder": ("encoder_last_hidden_state",),
    "start": ("start_logits",),
    "end": ("end_logits",),
    "labels": ("mc_logits", "logits"),
}


def to_transformers(
    model: Any, folder: str | os.PathLike[str], **options: Any
) -> Any:
    """Returns our model in Transformers, through a folder.

    Args:
        model: A model of `MODELS`, or a task.
        folder: Where it is saved.
        **options: Of `model_folder.save`.

    Raises:
        ValueError: Transformers misses a name, or does not know one.
    """
    import transformers

    model_folder.save(model, folder, **options)
    root = getattr(model, "model", model)
    head = weights.architecture_of(model)
    family = FAMILIES[root.config.family]
    arguments: dict[str, Any] = {"attn_implementation": "eager"}
    if hasattr(root, "num_labels"):
        arguments["num_labels"] = root.num_labels
    if head == "encoder" and _has_published_pooler(root.config):
        arguments["add_pooling_layer"] = False
    theirs, info = getattr(
        transformers, family.architectures[head]
    ).from_pretrained(folder, output_loading_info=True, **arguments)
    strange = {k: v for k, v in info.items() if k.endswith("_keys") and v}
    if strange:
        raise ValueError(
            f"'{folder}' must have the names of {type(theirs).__name__}. "
            f"Received: {strange}"
        )
    return theirs.eval()


def _has_published_pooler(config: TransformerConfig) -> bool:
    """Returns whether Transformers' bare encoder includes the pooler."""
    family = FAMILIES[config.family]
    return config.pooler is not None and any(
        weight.path.startswith("pooler.")
        and weight.published.startswith(family.prefix)
        for weight in family.weights(config)
    )


def from_transformers(
    model: Any, theirs: Any, folder: str | os.PathLike[str], **options: Any
) -> Any:
    """Returns a copy of our model with the weights of Transformers'.

    Args:
        model: Of what config the copy is.
        theirs: The model of Transformers.
        folder: Where it is saved.
        **options: Of its `save_pretrained`.

    Raises:
        ValueError: Its config.json is not the one of our model, or a name is
            missing or unexpected.
    """
    theirs.save_pretrained(folder, **options)
    config = model_folder.read_config(folder)[1]
    if not hasattr(model, "lm_head"):
        # It has no head, whose table the folder would show.
        head = model.config.output_head
        config = dataclasses.replace(config, output_head=head)
    if config != model.config:
        raise ValueError(
            f"'{folder}' must have the config of our model, {model.config}. "
            f"Received: {config}"
        )
    copy = type(model).from_config(model.get_config())
    copy.build()
    report = model_folder.load_weights(copy, folder)
    assert not report, report
    return copy


def largest_difference(model: Any, theirs: Any, side: str) -> float:
    """Returns the largest difference of two outputs, over real tokens.

    Args:
        model: A model of `MODELS`.
        theirs: The same in Transformers.
        side: Of the padding.
    """
    inputs = _inputs(model, side)
    if isinstance(model, ChoiceModel):
        # The rows are the choices of one example.
        inputs = {name: value[None] for name, value in inputs.items()}
    ours = _run_ours(model, inputs)
    reference = _run_theirs(model, theirs, inputs)
    largest = 0.0
    for name, value in ours.items():
        key = next(key for key in _OUTPUTS[name] if key in reference)
        expected = reference[key].numpy()
        # Some references give NaN for a row that they cannot pad so.
        whole = np.isfinite(expected).reshape(len(expected), -1).all(axis=1)
        assert whole.any(), key
        difference = np.abs(value - expected)[whole]
        mask = inputs["source_mask" if name == "encoder" else "padding_mask"]
        mask = mask[whole] if len(mask) == len(whole) else mask
        if difference.shape[:2] == mask.shape:
            difference = difference[mask == 1]
        largest = max(largest, float(difference.max()))
    return largest


def _inputs(model: Any, side: str) -> dict[str, np.ndarray]:
    """Returns what a model reads, by our names."""
    config = model.config
    ids, mask = parity_cases.rows(config, side)
    inputs = {"token_ids": ids, "padding_mask": mask}
    if isinstance(model, PermutationModel):
        return inputs | _predicted(mask)
    if config.kind != "encoder_decoder":
        return inputs
    if isinstance(model, TaskModel):
        # Some references look for the one token that ends a text.
        end = config.eos_token_id
        last = np.cumsum(mask[:, ::-1], axis=1)[:, ::-1] * mask == 1
        other = np.where(ids == end, config.vocab_size - 1, ids)
        inputs["token_ids"] = np.where(last, end, other).astype("int32")
    else:
        # Other rows, two columns shorter, none of them empty.
        source_mask = mask[::-1, 1:-1].copy()
        source_mask[:, 0 if side == "right" else -1] = 1
        # Tokens of padding would be no words for some references.
        pad = config.pad_token_id
        first = np.maximum(ids[::-1, 1:-1], pad + 1)
        inputs["source_ids"] = np.where(source_mask, first, pad)
        inputs["source_mask"] = source_mask
    return inputs


def _run_ours(model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    """Returns our outputs by the names of `_OUTPUTS`."""
    outputs = model(**inputs)
    if isinstance(model, (EncoderDecoder, Transformer)):
        outputs = {"hidden": outputs}
    if not isinstance(outputs, dict):
        outputs = {"labels": outputs}
    if "source_ids" in inputs:
        body = getattr(model, "transformer", model)
        outputs["encoder"] = body.encoder(
            inputs["source_ids"], padding_mask=inputs["source_mask"]
        )
    return {
        name: keras.ops.convert_to_numpy(value)
        for name, value in outputs.items()
        if name in _OUTPUTS
    }


def _predicted(mask: np.ndarray) -> dict[str, np.ndarray]:
    """Returns which tokens a PermutationModel predicts, in which order.

    Args:
        mask: int32 [B, T], true for real tokens.
    """
    rng = np.random.default_rng(2)
    order = rng.permuted(np.cumsum(np.ones_like(mask), axis=1), axis=1)
    # Half of the tokens are given.
    order = np.where(order <= mask.shape[1] // 2, order, 0)
    positions = np.argsort(-order, axis=1)[:, : mask.shape[1] // 2]
    visible = keras.ops.convert_to_numpy(factorization_mask(order))
    return {"masked_positions": positions, "attention_mask": visible}


def _run_theirs(model: Any, theirs: Any, inputs: dict[str, Any]) -> Any:
    """Returns the outputs of Transformers."""
    import torch

    config = model.config
    ids, mask = (inputs[name] for name in ("token_ids", "padding_mask"))
    arguments: dict[str, Any] = {
        "input_ids": torch.tensor(ids).long(),
        "attention_mask": torch.tensor(mask),
    }
    if isinstance(model, ChoiceModel) and config.pooler is None:
        last = (mask[0] * np.arange(mask.shape[2])).argmax(axis=1)
        arguments["mc_token_ids"] = torch.tensor(last)[None]
    if isinstance(model, PermutationModel):
        hidden = ~inputs["attention_mask"]
        places = np.eye(mask.shape[1])[inputs["masked_positions"]]
        arguments["perm_mask"] = torch.tensor(hidden).float()
        arguments["target_mapping"] = torch.tensor(places).float()
    if config.kind == "decoder":
        positions = np.maximum(np.cumsum(mask, axis=-1) - 1, 0)
        # Of choices, some references take them for each row.
        positions = positions.reshape(-1, mask.shape[-1])
        arguments["position_ids"] = torch.tensor(positions)
    if "source_ids" in inputs:
        arguments = {f"decoder_{k}": v for k, v in arguments.items()}
        arguments |= {
            "input_ids": torch.tensor(inputs["source_ids"]).long(),
            "attention_mask": torch.tensor(inputs["source_mask"]),
            "use_cache": False,
        }
    with torch.no_grad():
        return theirs(**arguments)


def written(
    model: Any, theirs: Any, num_beams: int, **rules: Any
) -> list[tuple[list[int], list[int]]]:
    """Returns what both write for each prompt, up to the end of text.

    Ours reads all prompts in one batch, padded; theirs reads one by one.

    Args:
        model: A LanguageModel.
        theirs: The same in Transformers.
        num_beams: 1 for greedy search.
        **rules: More fields of `GenerationConfig`, as Transformers names them.
    """
    import torch

    config = model.config
    end = config.eos_token_id
    options: dict[str, Any] = {
        "max_new_tokens": parity_cases.NEW_TOKENS,
        "num_beams": num_beams,
        **rules,
    }
    special = {"eos_token_id": end, "pad_token_id": config.pad_token_id}
    texts = parity_cases.prompts(config)
    settings = GenerationConfig(**options, **special)
    scaling = getattr(config.embeddings.positions, "scaling", None)
    if isinstance(scaling, (DynamicScaling, LongRopeScaling)):
        # Angles depend on the longest sequence of a batch.
        ours = [generate(model, [row], settings).sequences[0] for row in texts]
    else:
        ours = generate(model, texts, settings).sequences
    pairs = []
    for row, (first, *_) in zip(texts, ours, strict=True):
        if config.kind == "decoder":
            # Dynamic angles of Transformers stay those of the longest sequence
            # so far, until a short one resets them.
            theirs(torch.tensor([row[:1]]))
        output = theirs.generate(
            torch.tensor([row]),
            attention_mask=torch.ones(1, len(row), dtype=torch.long),
            do_sample=False,
            **options,
            **special,
        )
        start = len(row) if config.kind == "decoder" else 1
        reference = output[0, start:].tolist()
        pairs.append((_up_to(first, end), _up_to(reference, end)))
    return pairs


def _up_to(ids: list[int], end: int) -> list[int]:
    """Returns ids up to the end of text; what follows is padding."""
    ids = list(ids)
    return ids[: ids.index(end) + 1] if end in ids else ids
