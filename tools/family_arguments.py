"""Arguments of a family's `config()`, none of them at its default.

The contract suite and the recorded references use them. A value serves all
families; all numbers differ, so that mixed-up axes show.
"""

import inspect
from typing import Any

from tfllm.layers import Llama3Scaling
from tfllm.models import (
    Family,
    LanguageModel,
    PermutationModel,
    PretrainingModel,
    TransformerConfig,
)

_VALUES: dict[str, Any] = {
    "num_layers": 3,
    "num_decoder_layers": 2,
    "hidden_size": 24,
    "num_heads": 4,
    "num_decoder_heads": 6,
    "num_kv_heads": 2,
    "head_dim": 10,
    "intermediate_size": 56,
    "decoder_intermediate_size": 44,
    "vocab_size": 53,
    "decoder_vocab_size": 47,
    "max_position_embeddings": 19,
    "num_segments": 3,
    "num_buckets": 8,
    "max_distance": 11,
    "activation": "relu",
    "dropout": 0.2,
    "attention_dropout": 0.3,
    "embedding_dropout": 0.4,
    "activation_dropout": 0.15,
    "classifier_dropout": 0.5,
    "span_dropout": 0.6,
    "summary_dropout": 0.15,
    "embedding_size": 10,
    "num_groups": 3,
    "group_size": 2,
    "epsilon": 1e-4,
    "initializer_range": 0.1,
    "initializer_factor": 0.7,
    "window": 5,
    "full_attention_layers": (1,),
    "theta": 500.0,
    "scaling": Llama3Scaling(2.0, 16, 1.5, 3.0),
    "bos_token_id": 6,
    "eos_token_id": 3,
    "pad_token_id": 4,
    "clamp_distance": 5,
    "memory_length": 7,
    "reuse_length": 6,
    "pooler_activation": "relu",
    "decoder_start_token_id": 5,
}

# For families whose default is the value above.
_OTHER_VALUES: dict[str, Any] = {
    "activation": "gelu_tanh",
    "eos_token_id": 5,
}


def pretraining_class(config: TransformerConfig) -> Any:
    """Returns the model that learns from running text."""
    if config.generates:
        return LanguageModel
    if config.masked_lm_head is not None:
        return PretrainingModel
    return PermutationModel


def pretraining_task(config: TransformerConfig) -> Any:
    """Returns a task that learns from running text."""
    # Tasks are TensorFlow; the rest of this file is not.
    from tfllm.tasks import TASKS

    kinds = ("masked_lm", "causal_lm", "permutation_lm", "seq2seq_lm")
    return next(TASKS[k] for k in kinds if TASKS[k].fits(config))(config)


def off_default(family: Family, **changes: Any) -> dict[str, Any]:
    """Returns all arguments of a family's `config()`, none at its default.

    Args:
        family: The family.
        **changes: Values that replace those of the table.

    Raises:
        ValueError: The table has no value for an argument.
    """
    arguments = {}
    for name, parameter in inspect.signature(family.config).parameters.items():
        default = parameter.default
        value = not default if isinstance(default, bool) else _VALUES.get(name)
        if value == default:
            value = _OTHER_VALUES.get(name)
        if value is None or value == default:
            raise ValueError(
                f"`{name}` of the family {family.name} must have a value that "
                f"is not its default, {default!r}. Received: {value!r}. Add "
                "one to `_VALUES`"
            )
        arguments[name] = value
    return {**arguments, **changes}
