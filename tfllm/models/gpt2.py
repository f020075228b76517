"""GPT-2: causal decoder, and sizes in the style of GPT-3.

Reference: Radford et al., "Language Models are Unsupervised Multitask
Learners", 2019; Brown et al., "Language Models are Few-Shot Learners", 2020,
https://arxiv.org/abs/2005.14165, table 2.1.
"""

from typing import Any

from tfllm.layers.config import (
    Activation,
    AttentionConfig,
    BlockConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    NormConfig,
)
from tfllm.layers.heads import TaskHeadConfig
from tfllm.models.config import TransformerConfig
from tfllm.models.family import (
    PUBLISHED_ACTIVATIONS,
    Family,
    Weight,
    dense_weights,
    norm_weights,
    read_activation,
)

_GPT3 = {"max_position_embeddings": 2048}

SIZES: dict[str, dict[str, int]] = {
    "tiny": {"num_layers": 2, "hidden_size": 128, "num_heads": 2},
    "nano": {"num_layers": 4, "hidden_size": 128, "num_heads": 4},
    "small": {"num_layers": 12, "hidden_size": 768, "num_heads": 12},
    "medium": {"num_layers": 24, "hidden_size": 1024, "num_heads": 16},
    "large": {"num_layers": 36, "hidden_size": 1280, "num_heads": 20},
    "xl": {"num_layers": 48, "hidden_size": 1600, "num_heads": 25},
    # NOTE: every layer attends to all positions; the paper's alternate with
    # locally banded ones. Where its table does not divide (1.3B, 13B), heads
    # and width are the ones that do.
    "gpt3_125m": {**_GPT3, "num_layers": 12, "hidden_size": 768},
    "gpt3_350m": {
        **_GPT3,
        "num_layers": 24,
        "hidden_size": 1024,
        "num_heads": 16,
    },
    "gpt3_760m": {
        **_GPT3,
        "num_layers": 24,
        "hidden_size": 1536,
        "num_heads": 16,
    },
    "gpt3_1.3b": {
        **_GPT3,
        "num_layers": 24,
        "hidden_size": 2048,
        "num_heads": 16,
    },
    "gpt3_2.7b": {
        **_GPT3,
        "num_layers": 32,
        "hidden_size": 2560,
        "num_heads": 32,
    },
    "gpt3_6.7b": {
        **_GPT3,
        "num_layers": 32,
        "hidden_size": 4096,
        "num_heads": 32,
    },
    "gpt3_13b": {
        **_GPT3,
        "num_layers": 40,
        "hidden_size": 5120,
        "num_heads": 40,
    },
    "gpt3_175b": {
        **_GPT3,
        "num_layers": 96,
        "hidden_size": 12288,
        "num_heads": 96,
    },
}

END_OF_TEXT = 50256


def config(
    num_layers: int = 12,
    hidden_size: int = 768,
    num_heads: int = 12,
    intermediate_size: int | None = None,
    vocab_size: int = 50257,
    max_position_embeddings: int = 1024,
    activation: Activation = "gelu_tanh",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    embedding_dropout: float | None = None,
    classifier_dropout: float = 0.1,
    epsilon: float = 1e-5,
    initializer_range: float = 0.02,
    scale_scores: bool = True,
    scale_scores_by_layer: bool = False,
    bos_token_id: int | None = END_OF_TEXT,
    eos_token_id: int | None = END_OF_TEXT,
    pad_token_id: int | None = None,
) -> TransformerConfig:
    """Returns GPT-2's config; the defaults are the 124M model.

    Args:
        num_layers: L.
        hidden_size: D.
        num_heads: N.
        intermediate_size: F; None means 4 D.
        vocab_size: V.
        max_position_embeddings: Longest sequence.
        activation: "gelu_tanh" as published.
        dropout: Rate on sub-layer outputs.
        attention_dropout: Rate on attention probabilities; None means
            `dropout`.
        embedding_dropout: Rate on the embeddings; None means `dropout`.
        classifier_dropout: Rate on what the heads for tokens and choices
            read.
        epsilon: Of every LayerNorm.
        initializer_range: Standard deviation of the truncated normal; the
            projections onto the residual get it / sqrt(2 L).
        scale_scores: Divide the attention scores by sqrt(H).
        scale_scores_by_layer: Divide them by the layer's number as well.
        bos_token_id: Id of the token that opens a text, or None. One outside
            the vocabulary means None.
        eos_token_id: Id of the token that ends a text, or None; likewise.
        pad_token_id: Id to pad with; None means `eos_token_id`, or 0.
    """
    norm = NormConfig(hidden_size, epsilon=epsilon)
    residual_range = initializer_range / (2.0 * num_layers) ** 0.5
    bos, eos = (
        None if i is None or i >= vocab_size else i
        for i in (bos_token_id, eos_token_id)
    )
    return TransformerConfig(
        family="gpt2",
        embeddings=EmbeddingConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            max_position_embeddings=max_position_embeddings,
            dropout=dropout if embedding_dropout is None else embedding_dropout,
            initializer_range=initializer_range,
        ),
        block=BlockConfig(
            attention=AttentionConfig(
                hidden_size=hidden_size,
                num_heads=num_heads,
                scale=None if scale_scores else 1.0,
                dropout=(
                    dropout if attention_dropout is None else attention_dropout
                ),
                causal=True,
                initializer_range=initializer_range,
                output_initializer_range=residual_range,
            ),
            feed_forward=FeedForwardConfig(
                hidden_size=hidden_size,
                intermediate_size=intermediate_size or 4 * hidden_size,
                activation=activation,
                initializer_range=initializer_range,
                output_initializer_range=residual_range,
            ),
            norm=norm,
            norm_placement="pre",
            dropout=dropout,
        ),
        num_layers=num_layers,
        scale_scores_by_layer=scale_scores_by_layer,
        final_norm=norm,
        task_head=TaskHeadConfig(
            classifier_dropout,
            drop_sequence=False,
            sequence_bias=False,
            initializer_range=initializer_range,
        ),
        pad_token_id=(eos or 0) if pad_token_id is None else pad_token_id,
        bos_token_id=bos,
        eos_token_id=eos,
    )


def from_published(values: dict[str, Any]) -> TransformerConfig:
    """Returns the config that a published config.json describes.

    Raises:
        ValueError: It asks for something GPT-2 does not have.
    """
    activation = read_activation(values, "activation_function", "gelu_new")
    for name in ("add_cross_attention", "tie_word_embeddings"):
        wanted = name == "tie_word_embeddings"
        if values.get(name, wanted) is not wanted:
            raise ValueError(
                f"`{name}` must be {str(wanted).lower()} in this family. "
                f"Received: {values[name]!r}"
            )
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        if isinstance(values.get(name), list):
            raise ValueError(
                f"`{name}` must be one id here; several that end a text stand "
                f"in generation_config.json. Received: {values[name]}"
            )
    return config(
        num_layers=values.get("n_layer", 12),
        hidden_size=values.get("n_embd", 768),
        num_heads=values.get("n_head", 12),
        intermediate_size=values.get("n_inner"),
        vocab_size=values.get("vocab_size", 50257),
        max_position_embeddings=values.get("n_positions", 1024),
        activation=activation,
        dropout=values.get("resid_pdrop", 0.1),
        attention_dropout=values.get("attn_pdrop", 0.1),
        embedding_dropout=values.get("embd_pdrop", 0.1),
        classifier_dropout=_classifier_dropout(values),
        epsilon=values.get("layer_norm_epsilon", 1e-5),
        initializer_range=values.get("initializer_range", 0.02),
        scale_scores=values.get("scale_attn_weights", True),
        scale_scores_by_layer=values.get(
            "scale_attn_by_inverse_layer_idx", False
        ),
        bos_token_id=values.get("bos_token_id", END_OF_TEXT),
        eos_token_id=values.get("eos_token_id", END_OF_TEXT),
        pad_token_id=values.get("pad_token_id"),
    )


def _classifier_dropout(values: dict[str, Any]) -> float:
    """Returns the rate of the heads, which has two published names."""
    rate = values.get("classifier_dropout")
    return values.get("summary_first_dropout", 0.1) if rate is None else rate


def to_published(config: TransformerConfig) -> dict[str, Any]:
    """Returns the published config.json of a config."""
    attention = config.block.attention
    return {
        "model_type": "gpt2",
        "vocab_size": config.vocab_size,
        "n_embd": config.hidden_size,
        "n_layer": config.num_layers,
        "n_head": attention.num_heads,
        "n_inner": config.block.feed_forward.intermediate_size,
        "n_positions": config.embeddings.max_position_embeddings,
        "activation_function": PUBLISHED_ACTIVATIONS[
            config.block.feed_forward.activation
        ],
        "resid_pdrop": config.block.dropout,
        "attn_pdrop": attention.dropout,
        "embd_pdrop": config.embeddings.dropout,
        "classifier_dropout": config.task_head.dropout,
        "summary_first_dropout": config.task_head.dropout,
        "layer_norm_epsilon": config.block.norm.epsilon,
        "initializer_range": config.embeddings.initializer_range,
        "scale_attn_weights": attention.scale is None,
        "scale_attn_by_inverse_layer_idx": config.scale_scores_by_layer,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
        "tie_word_embeddings": True,
    }


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path; the language model has no head.

    The published matrices are (in, out), as ours, but for those of heads.
    """
    weights = [
        Weight("transformer.wte.weight", "transformer.embeddings.token_table"),
        Weight(
            "transformer.wpe.weight", "transformer.embeddings.positions.table"
        ),
    ]
    for i in range(config.num_layers):
        theirs, ours = f"transformer.h.{i}", f"transformer.blocks.{i}"
        weights += [
            *norm_weights(f"{theirs}.ln_1", f"{ours}.attention_norm"),
            *dense_weights(f"{theirs}.attn.c_attn", f"{ours}.attention.qkv"),
            *dense_weights(
                f"{theirs}.attn.c_proj", f"{ours}.attention.output_projection"
            ),
            *norm_weights(f"{theirs}.ln_2", f"{ours}.feed_forward_norm"),
            *dense_weights(f"{theirs}.mlp.c_fc", f"{ours}.feed_forward.up"),
            *dense_weights(f"{theirs}.mlp.c_proj", f"{ours}.feed_forward.down"),
        ]
    return [
        *weights,
        *norm_weights("transformer.ln_f", "transformer.final_norm"),
        Weight("score.weight", "sequence_classifier.kernel", "transpose"),
        *_head("classifier", "token_classifier"),
        *_head("multiple_choice_head.summary", "choice_classifier"),
        *_head("qa_outputs", "span_classifier"),
    ]


def _head(published: str, path: str) -> list[Weight]:
    """Returns the weights of a head, which is published as (out, in)."""
    return dense_weights(published, path, "transpose")


FAMILY = Family(
    name="gpt2",
    paper="Radford et al., 2019",
    sizes=SIZES,
    config=config,
    from_published=from_published,
    to_published=to_published,
    weights=weight_map,
    prefix="transformer.",
    ignored=(r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",),
    tied={"lm_head.weight": "transformer.wte.weight"},
    architectures={
        "causal_lm": "GPT2LMHeadModel",
        "encoder": "GPT2Model",
        "sequence_classification": "GPT2ForSequenceClassification",
        "token_classification": "GPT2ForTokenClassification",
        "question_answering": "GPT2ForQuestionAnswering",
        "multiple_choice": "GPT2DoubleHeadsModel",
    },
    tokenizer="byte_bpe",
)
