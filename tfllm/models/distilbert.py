"""DistilBERT: BERT with half of the layers, and without segments or pooler.

Reference: Sanh et al., "DistilBERT, a distilled version of BERT: smaller,
faster, cheaper and lighter", 2019, https://arxiv.org/abs/1910.01108.
"""

import dataclasses

from tfllm.layers.config import Activation
from tfllm.models import bert, post_norm_encoder
from tfllm.models.config import TransformerConfig
from tfllm.models.family import LABELLED, Family, class_names, stack_size
from tfllm.models.published_keys import Field, PublishedKeys, flag
from tfllm.models.weight_map import Weight

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "base": stack_size(6, 768, 12),
    "base_cased": stack_size(6, 768, 12, vocab_size=28996),
    "multilingual": stack_size(6, 768, 12, vocab_size=119547),
}

# Its pooler belongs to the heads for sequences and choices.
_VARIANT = post_norm_encoder.EncoderVariant(
    "distilbert", pooler_activation="relu"
)


def config(
    num_layers: int = 6,
    hidden_size: int = 768,
    num_heads: int = 12,
    intermediate_size: int | None = None,
    vocab_size: int = 30522,
    max_position_embeddings: int = 512,
    sinusoidal_positions: bool = False,
    activation: Activation = "gelu",
    dropout: float = 0.1,
    attention_dropout: float | None = None,
    classifier_dropout: float = 0.2,
    span_dropout: float = 0.1,
    initializer_range: float = 0.02,
    bos_token_id: int | None = None,
    eos_token_id: int | None = None,
    pad_token_id: int | None = 0,
) -> TransformerConfig:
    """Returns the config of a DistilBERT; the defaults are the base size's.

    Arguments as in `post_norm_encoder`. `sinusoidal_positions` is for a table
    of sinusoids that is not trained. The head for tokens has the rate
    `dropout`, that for spans `span_dropout`, others `classifier_dropout`.
    """
    full = post_norm_encoder.create_encoder(
        _VARIANT,
        num_layers,
        hidden_size,
        num_heads,
        intermediate_size,
        vocab_size,
        max_position_embeddings,
        num_segments=0,
        activation=activation,
        dropout=dropout,
        attention_dropout=attention_dropout,
        classifier_dropout=classifier_dropout,
        initializer_range=initializer_range,
        bos_token_id=bos_token_id,
        eos_token_id=eos_token_id,
        pad_token_id=pad_token_id,
    )
    replace = dataclasses.replace
    tables = full.embeddings
    positions = replace(tables.positions, sinusoidal=sinusoidal_positions)
    return replace(
        full,
        encoder=replace(
            full.stack, embeddings=replace(tables, positions=positions)
        ),
        task_head=replace(
            full.task_head, token_dropout=dropout, span_dropout=span_dropout
        ),
    )


PUBLISHED = PublishedKeys(
    "distilbert",
    {
        "vocab_size": ("vocab_size", 30522),
        "dim": ("hidden_size", 768),
        "n_layers": ("num_layers", 6),
        "n_heads": ("num_heads", 12),
        "hidden_dim": ("intermediate_size", 3072),
        "activation": ("activation", "gelu"),
        "dropout": ("dropout", 0.1),
        "attention_dropout": ("attention_dropout", 0.1),
        "seq_classif_dropout": ("classifier_dropout", 0.2),
        "qa_dropout": ("span_dropout", 0.1),
        "max_position_embeddings": ("max_position_embeddings", 512),
        "sinusoidal_pos_embds": ("sinusoidal_positions", False),
        "initializer_range": ("initializer_range", 0.02),
        "bos_token_id": ("bos_token_id", None),
        "eos_token_id": ("eos_token_id", None),
        "pad_token_id": ("pad_token_id", 0),
    },
    fixed={"tie_word_embeddings": True},
    constants={"tie_word_embeddings": True},
    fields={
        "sinusoidal_positions": Field(flag, "embeddings.positions.sinusoidal")
    },
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the encoder and all heads."""
    table = post_norm_encoder.embedding_table("distilbert", config)
    names = ("q_lin", "k_lin", "v_lin", "out_lin")
    for part in table.blocks("distilbert.transformer.layer", config.stack):
        part.attention(config.block.attention, "attention.", names)
        part.norm("sa_layer_norm", "attention_norm")
        part.dense("ffn.lin1", "feed_forward.up")
        part.dense("ffn.lin2", "feed_forward.down")
        part.norm("output_layer_norm", "feed_forward_norm")
    table.dense("pre_classifier", "pooler.dense")
    table.dense("vocab_transform", "masked_lm_head.dense")
    table.norm("vocab_layer_norm", "masked_lm_head.norm")
    table.tensor("vocab_projector.bias", "masked_lm_head.bias")
    table.heads()
    return table.rows


FAMILY = Family(
    name="distilbert",
    title="DistilBERT",
    paper="Sanh et al., 2019",
    sizes=SIZES,
    parameters=("base", 66_985_530),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=dataclasses.replace(
        bert.TOKENIZER,
        template=dataclasses.replace(bert.TOKENIZER.template, segments=None),
        classes=("DistilBertTokenizer", "BertTokenizer"),
    ),
    prefix="distilbert.",
    layers=("n_layers", "distilbert.transformer.layer.{}."),
    ignored=lambda _: (r"distilbert\.embeddings\.position_ids",),
    tied=lambda _: {
        "vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"
    },
    architectures=class_names("DistilBert", "masked_lm", "encoder", *LABELLED),
)
