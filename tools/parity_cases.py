"""Small models beside Transformers: the cases, and how they are compared.

`tests/models/test_live_families.py` asserts what `tools/parity_table.py`
prints. Needs the extra `parity` (torch, transformers) when a case is run.
"""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

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
    TransformerConfig,
    create_body,
)
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
    if "pre_norm" in every:
        cases["post-norm"] = {**default, "pre_norm": False}
    if "embedding_size" in every:
        narrow = {"embedding_size": every["embedding_size"]}
        cases["embedding size"] = {**default, **narrow}
        if "pre_norm" in every:
            # As of OPT-350M.
            cases["both"] = {**cases["post-norm"], **narrow}
    if "group_size" in every:
        groups = {"num_layers": 4, "num_groups": 2, "group_size": 2}
        cases["shared blocks"] = {**default, **groups}
    usual = FAMILIES[family].config(**default).block.feed_forward.activation
    # GPT-1 has no name for "gelu".
    exact = "silu" if family == "openai-gpt" else "gelu"
    other = exact if usual == "gelu_tanh" else "gelu_tanh"
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
