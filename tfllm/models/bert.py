"""BERT: bidirectional encoder, masked tokens and sentence pairs.

Reference: Devlin et al., "BERT: Pre-training of Deep Bidirectional
Transformers for Language Understanding", NAACL 2019,
https://arxiv.org/abs/1810.04805; small sizes: Turc et al., "Well-Read
Students Learn Better", 2019, https://arxiv.org/abs/1908.08962.
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
from tfllm.layers.heads import (
    MaskedLMHeadConfig,
    PoolerConfig,
    TaskHeadConfig,
)
from tfllm.models.config import TransformerConfig
from tfllm.models.family import (
    PUBLISHED_ACTIVATIONS,
    Family,
    Weight,
    dense_weights,
    norm_weights,
    read_activation,
)

SIZES = {
    "tiny": {"num_layers": 2, "hidden_size": 128, "num_heads": 2},
    "mini": {"num_layers": 4, "hidden_size": 256, "num_heads": 4},
    "small": {"num_layers": 4, "hidden_size": 512, "num_heads": 8},
    "medium": {"num_layers": 8, "hidden_size": 512, "num_heads": 8},
    "base": {"num_layers": 12, "hidden_size": 768, "num_heads": 12},
    "large": {"num_layers": 24, "hidden_size": 1024, "num_heads": 16},
}


def config(
    num_layers: int = 12,
    hidden_size: int = 768,
    num_heads: int = 12,
    intermediate_size: int | None = None,
    vocab_size: int = 30522,
    max_position_embeddings: int = 512,
    num_segments: int = 2,
    activation: Activation = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    classifier_dropout: float | None = None,
    epsilon: float = 1e-12,
    initializer_range: float = 0.02,
    pad_token_id: int = 0,
) -> TransformerConfig:
    """Returns BERT's config; the defaults are BERT-Base, uncased.

    Args:
        num_layers: L.
        hidden_size: D.
        num_heads: N.
        intermediate_size: F; None means 4 D.
        vocab_size: V.
        max_position_embeddings: Longest sequence.
        num_segments: Rows of the segment table.
        activation: "gelu" (erf, as the Transformers library), "gelu_tanh"
            (as google-research/bert since 2019), ...
        dropout: Rate on embeddings and sub-layer outputs.
        attention_dropout: Rate on attention probabilities; None means
            `dropout`.
        classifier_dropout: Rate on what the heads of labelled tasks read;
            None means `dropout`.
        epsilon: Of every LayerNorm.
        initializer_range: Standard deviation of the truncated normal.
        pad_token_id: Id of [PAD].
    """
    norm = NormConfig(hidden_size, epsilon=epsilon)
    return TransformerConfig(
        family="bert",
        embeddings=EmbeddingConfig(
            vocab_size=vocab_size,
            hidden_size=hidden_size,
            max_position_embeddings=max_position_embeddings,
            num_segments=num_segments,
            norm=norm,
            dropout=dropout,
            initializer_range=initializer_range,
        ),
        block=BlockConfig(
            attention=AttentionConfig(
                hidden_size=hidden_size,
                num_heads=num_heads,
                dropout=(
                    dropout if attention_dropout is None else attention_dropout
                ),
                initializer_range=initializer_range,
            ),
            feed_forward=FeedForwardConfig(
                hidden_size=hidden_size,
                intermediate_size=intermediate_size or 4 * hidden_size,
                activation=activation,
                initializer_range=initializer_range,
            ),
            norm=norm,
            dropout=dropout,
        ),
        num_layers=num_layers,
        pooler=PoolerConfig(hidden_size, initializer_range=initializer_range),
        masked_lm_head=MaskedLMHeadConfig(
            hidden_size=hidden_size,
            embedding_size=hidden_size,
            vocab_size=vocab_size,
            norm=norm,
            activation=activation,
            initializer_range=initializer_range,
        ),
        task_head=TaskHeadConfig(
            dropout if classifier_dropout is None else classifier_dropout,
            initializer_range=initializer_range,
        ),
        pad_token_id=pad_token_id,
    )


def from_published(values: dict[str, Any]) -> TransformerConfig:
    """Returns the config that a published config.json describes.

    Raises:
        ValueError: It asks for something BERT does not have.
    """
    activation = read_activation(values, "hidden_act", "gelu")
    if values.get("is_decoder") or values.get("add_cross_attention"):
        raise ValueError(
            "`is_decoder` and `add_cross_attention` must be false: this "
            "family is an encoder. Received: true"
        )
    positions = values.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise ValueError(
            "`position_embedding_type` must be 'absolute'. "
            f"Received: {positions!r}"
        )
    return config(
        num_layers=values.get("num_hidden_layers", 12),
        hidden_size=values.get("hidden_size", 768),
        num_heads=values.get("num_attention_heads", 12),
        intermediate_size=values.get("intermediate_size", 3072),
        vocab_size=values.get("vocab_size", 30522),
        max_position_embeddings=values.get("max_position_embeddings", 512),
        num_segments=values.get("type_vocab_size", 2),
        activation=activation,
        dropout=values.get("hidden_dropout_prob", 0.1),
        attention_dropout=values.get("attention_probs_dropout_prob", 0.1),
        classifier_dropout=values.get("classifier_dropout"),
        epsilon=values.get("layer_norm_eps", 1e-12),
        initializer_range=values.get("initializer_range", 0.02),
        pad_token_id=values.get("pad_token_id") or 0,
    )


def to_published(config: TransformerConfig) -> dict[str, Any]:
    """Returns the published config.json of a config."""
    return {
        "model_type": "bert",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.block.attention.num_heads,
        "intermediate_size": config.block.feed_forward.intermediate_size,
        "hidden_act": PUBLISHED_ACTIVATIONS[
            config.block.feed_forward.activation
        ],
        "hidden_dropout_prob": config.block.dropout,
        "attention_probs_dropout_prob": config.block.attention.dropout,
        "classifier_dropout": config.task_head.dropout,
        "max_position_embeddings": config.embeddings.max_position_embeddings,
        "type_vocab_size": config.embeddings.num_segments,
        "initializer_range": config.embeddings.initializer_range,
        "layer_norm_eps": config.block.norm.epsilon,
        "pad_token_id": config.pad_token_id,
        "tie_word_embeddings": True,
        "use_cache": False,
    }


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the encoder and all heads.

    Paths start at a model with heads, which uses the rows of its own. The
    heads for sequences, tokens and choices have one published name.
    """
    weights = [
        Weight(
            "bert.embeddings.word_embeddings.weight",
            "transformer.embeddings.token_table",
        ),
        Weight(
            "bert.embeddings.position_embeddings.weight",
            "transformer.embeddings.positions.table",
        ),
        Weight(
            "bert.embeddings.token_type_embeddings.weight",
            "transformer.embeddings.segment_table",
        ),
        *norm_weights(
            "bert.embeddings.LayerNorm", "transformer.embeddings.norm"
        ),
    ]
    attention = config.block.attention
    width = attention.num_heads * attention.head_size
    for i in range(config.num_layers):
        theirs = f"bert.encoder.layer.{i}"
        ours = f"transformer.blocks.{i}"
        for j, name in enumerate(("query", "key", "value")):
            weights += _dense(
                f"{theirs}.attention.self.{name}",
                f"{ours}.attention.qkv",
                columns=(j * width, (j + 1) * width),
            )
        weights += [
            *_dense(
                f"{theirs}.attention.output.dense",
                f"{ours}.attention.output_projection",
            ),
            *norm_weights(
                f"{theirs}.attention.output.LayerNorm",
                f"{ours}.attention_norm",
            ),
            *_dense(f"{theirs}.intermediate.dense", f"{ours}.feed_forward.up"),
            *_dense(f"{theirs}.output.dense", f"{ours}.feed_forward.down"),
            *norm_weights(
                f"{theirs}.output.LayerNorm", f"{ours}.feed_forward_norm"
            ),
        ]
    return [
        *weights,
        *_dense("bert.pooler.dense", "pooler.dense"),
        Weight("cls.predictions.bias", "masked_lm_head.bias"),
        *_dense("cls.predictions.transform.dense", "masked_lm_head.dense"),
        *norm_weights(
            "cls.predictions.transform.LayerNorm", "masked_lm_head.norm"
        ),
        *_dense("cls.seq_relationship", "sequence_head"),
        *_dense("classifier", "sequence_classifier"),
        *_dense("classifier", "token_classifier"),
        *_dense("classifier", "choice_classifier"),
        *_dense("qa_outputs", "span_classifier"),
    ]


def _dense(
    published: str, path: str, columns: tuple[int, int] | None = None
) -> list[Weight]:
    """Returns the weights of a dense layer, which is published as (out, in)."""
    return dense_weights(published, path, "transpose", columns)


FAMILY = Family(
    name="bert",
    paper="Devlin et al., 2019",
    sizes=SIZES,
    config=config,
    from_published=from_published,
    to_published=to_published,
    weights=weight_map,
    prefix="bert.",
    ignored=(r"bert\.embeddings\.position_ids",),
    tied={
        "cls.predictions.decoder.weight": (
            "bert.embeddings.word_embeddings.weight"
        ),
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    architectures={
        "pretraining": "BertForPreTraining",
        "masked_lm": "BertForMaskedLM",
        "encoder": "BertModel",
        "sequence_classification": "BertForSequenceClassification",
        "token_classification": "BertForTokenClassification",
        "question_answering": "BertForQuestionAnswering",
        "multiple_choice": "BertForMultipleChoice",
    },
    legacy_names={
        ".LayerNorm.gamma": ".LayerNorm.weight",
        ".LayerNorm.beta": ".LayerNorm.bias",
    },
)
