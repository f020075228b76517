"""Small models beside Transformers: the cases, and how they are compared.

`tests/models/test_live_families.py` asserts what `tools/parity_table.py`
prints. Needs the extra `parity` (torch, transformers) when a case is run.
"""

import dataclasses
import os
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from tfllm.generation import GenerationConfig
from tfllm.generation.generate import generate
from tfllm.interop import model_folder, weights
from tfllm.layers import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    YarnScaling,
)
from tfllm.models import (
    FAMILIES,
    ChoiceModel,
    DetectionModel,
    EncoderDecoder,
    LanguageModel,
    PermutationModel,
    PretrainingModel,
    SequenceModel,
    SpanModel,
    TokenModel,
    Transformer,
    TransformerConfig,
    create_body,
)
from tfllm.models.task_models import TaskModel
from tfllm.models.two_stream import factorization_mask
from tools.family_arguments import off_default

LENGTH = 11
NUM_LABELS = 5
NEW_TOKENS, NUM_PROMPTS = 8, 16
# Few default sizes: a switch shows in a small model.
SMALL = {
    "num_layers": 2,
    "hidden_size": 24,
    "num_heads": 4,
    "intermediate_size": 40,
    "vocab_size": 53,
    "max_position_embeddings": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
# All of them for rows that are longer than in pretraining.
SCALINGS = {
    "linear": LinearScaling(4.0),
    "dynamic": DynamicScaling(2.0, 8),
    "yarn": YarnScaling(4.0, 8),
    "yarn off": YarnScaling(4.0, 8, 16.0, 2.0, 1.3, None, None, False),
    "llama3": Llama3Scaling(4.0, 8, 1.5, 3.0),
    "longrope": LongRopeScaling(8, (1.0, 1.2, 1.4), (2.0, 3.0, 4.0), 1.2),
    "longrope short": LongRopeScaling(
        16, (1.0, 1.2, 1.4), (2.0, 3.0, 4.0), 1.2
    ),
}
# Key of `Family.architectures` -> our model, without the config.
MODELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "pretraining": (PretrainingModel, {}),
    "masked_lm": (PretrainingModel, {"num_sequence_labels": 0}),
    "causal_lm": (LanguageModel, {}),
    "replaced_token_detection": (DetectionModel, {}),
    "seq2seq_lm": (LanguageModel, {}),
    "permutation_lm": (PermutationModel, {}),
    "encoder": (create_body, {}),
    "encoder_decoder": (EncoderDecoder, {}),
    "sequence_classification": (SequenceModel, {"num_labels": NUM_LABELS}),
    "token_classification": (TokenModel, {"num_labels": NUM_LABELS}),
    "question_answering": (SpanModel, {}),
    "multiple_choice": (ChoiceModel, {}),
}
LANGUAGE_MODELS = tuple(MODELS)[:6]
# Those that write.
WRITERS = ("causal_lm", "seq2seq_lm")
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


def configs(family: str) -> dict[str, dict[str, Any]]:
    """Returns arguments of a family's `config()` by the name of the case.

    Every argument is off its default in one of them. The first three are the
    ones that matter most.
    """
    every = off_default(FAMILIES[family])
    default = {k: v for k, v in SMALL.items() if k in every}
    cases: dict[str, dict[str, Any]] = {
        "default": default,
        "off default": every,
    }
    if "tied" in every:
        name = "tied" if every["tied"] else "untied"
        cases[name] = {**default, "tied": every["tied"]}
    if "gated" in every:
        cases["gated"] = {**default, "gated": every["gated"]}
    if "final_norm" in every:
        cases["no final norm"] = {**default, "final_norm": False}
    if "group_size" in every:
        groups = {"num_layers": 4, "num_groups": 2, "group_size": 2}
        cases["shared blocks"] = {**default, **groups}
    other = FAMILIES[family].config(**default).block.feed_forward.activation
    other = "gelu" if other == "gelu_tanh" else "gelu_tanh"
    cases["activation"] = {**default, "activation": other}
    if "scaling" in every:
        cases["groups"] = {**default, "num_kv_heads": 2}
        for kind, scaling in SCALINGS.items():
            cases[kind] = {**default, "scaling": scaling}
        # As in config.json, where it is the longest sequence.
        cases["dynamic"]["max_position_embeddings"] = 8
    return cases


def heads(family: str) -> list[str]:
    """Returns the keys of `Family.architectures`, language models first."""
    return [key for key in MODELS if key in FAMILIES[family].architectures]


def create(family: str, head: str, arguments: dict[str, Any]) -> Any:
    """Returns a model of ours with random weights that all show.

    Args:
        family: Name in `FAMILIES`.
        head: Key of `MODELS`.
        arguments: Of the family's `config()`.
    """
    keras.utils.set_random_seed(0)
    cls, options = MODELS[head]
    config = FAMILIES[family].config(**arguments)
    if head == "encoder" and config.kind == "encoder_decoder":
        config = config.only("encoder")
    model = cls(config, **options)
    model.build()
    rng = np.random.default_rng(0)
    for variable in model.trainable_variables:
        noise = 0.05 * rng.normal(size=variable.shape)
        variable.assign(np.asarray(variable.value) + noise)
    return model


def create_writer(family: str, arguments: dict[str, Any]) -> Any:
    """Returns a LanguageModel whose most likely tokens win by a margin."""
    names = off_default(FAMILIES[family])
    # A normalized output shows the source of an encoder-decoder less.
    both = FAMILIES[family].config().kind == "encoder_decoder"
    spread = {
        "initializer_range": 1.0 if both else 0.5,
        "initializer_factor": 3.0,
    }
    arguments |= {name: spread[name] for name in names if name in spread}
    head = next(head for head in heads(family) if head in WRITERS)
    return create(family, head, arguments)


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
    """Returns whether the pooler belongs to the published bare encoder."""
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


def sides(config: TransformerConfig, head: str) -> tuple[str, ...]:
    """Returns the sides on which a head reads padded rows."""
    pools = head in ("sequence_classification", "multiple_choice")
    if config.reads_both_sides and pools:
        last = config.pooler is not None and config.pooler.token == "last"
        return ("left",) if last else ("right",)
    return ("right", "left")


def rows(config: TransformerConfig, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns token ids and their mask: a full row, a padded one, one token.

    Args:
        config: Of the model.
        side: Of the padding.
    """
    scaling = getattr(config.embeddings.positions, "scaling", None)
    length = LENGTH
    if config.max_length and not isinstance(scaling, DynamicScaling):
        length = min(length, config.max_length)
    mask = (np.arange(length) < np.array([[length], [5], [1]])).astype("int32")
    if side == "left":
        mask = mask[:, ::-1].copy()
    pad = config.pad_token_id
    limit = min(stack.embeddings.vocab_size for stack in config.stacks)
    ids = np.random.default_rng(0).integers(pad + 1, limit, mask.shape)
    return np.where(mask, ids, pad).astype("int32"), mask


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
    ids, mask = rows(config, side)
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


def parameters() -> Iterator[tuple[str, str, str]]:
    """Yields family, head and name of the case, of all comparisons.

    Language models have every case, other heads the first three.
    """
    for family in FAMILIES:
        for head in heads(family):
            count = None if head in LANGUAGE_MODELS else 3
            for case in list(configs(family))[:count]:
                yield family, head, case


def prompts(config: TransformerConfig) -> list[list[int]]:
    """Returns prompts of several lengths that leave room for NEW_TOKENS."""
    rng = np.random.default_rng(1)
    longest = min(LENGTH, (config.max_length or LENGTH + NEW_TOKENS))
    first = config.pad_token_id + 1
    return [
        rng.integers(first, config.vocab_size, 1 + i % longest).tolist()
        for i in range(NUM_PROMPTS)
    ]


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
        "max_new_tokens": NEW_TOKENS,
        "num_beams": num_beams,
        **rules,
    }
    special = {"eos_token_id": end, "pad_token_id": config.pad_token_id}
    texts = prompts(config)
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
