"""DistilBERT: BERT with half of the layers, and without segments or pooler.

Reference: Sanh et al., "DistilBERT, a distilled version of BERT: smaller,
faster, cheaper and lighter", 2019, https://arxiv.org/abs/1910.01108.
"""

import dataclasses
import functools

from tfllm.layers.position_config import LearnedPositionsConfig
from tfllm.models import bert, post_norm_encoder
from tfllm.models.arguments import extended, without
from tfllm.models.config import TransformerConfig
from tfllm.models.family import LABELLED, Family, class_names, stack_size
from tfllm.models.published_keys import PublishedKeys
from tfllm.models.weight_map import Weight

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "base": stack_size(6, 768, 12),
    "base_cased": stack_size(6, 768, 12, vocab_size=28996),
    "multilingual": stack_size(6, 768, 12, vocab_size=119547),
}


def _with_own_parts(
    config: TransformerConfig,
    *,
    sinusoidal_positions: bool = False,
    span_dropout: float = 0.1,
) -> TransformerConfig:
    """Returns an encoder whose heads differ in dropout.

    Args:
        config: Config of the encoder. The head for tokens has its `dropout`.
        sinusoidal_positions: The table of positions holds sinusoids, and is
            not trained.
        span_dropout: Rate on the input of the head for spans.
    """
    replace = dataclasses.replace
    tables, positions = config.embeddings, config.embeddings.positions
    assert isinstance(positions, LearnedPositionsConfig)
    positions = replace(positions, sinusoidal=sinusoidal_positions)
    return replace(
        config,
        encoder=replace(
            config.stack, embeddings=replace(tables, positions=positions)
        ),
        task_head=replace(
            config.task_head,
            token_dropout=config.block.dropout,
            span_dropout=span_dropout,
        ),
    )


# The defaults are the base size.
config = extended(
    without(
        functools.partial(
            post_norm_encoder.create_encoder,
            # Its pooler belongs to the heads for sequences and choices.
            post_norm_encoder.EncoderVariant(
                "distilbert", pooler_activation="relu"
            ),
            num_layers=6,
            classifier_dropout=0.2,
        ),
        "epsilon",
        *post_norm_encoder.OPTIONAL,
        num_segments=0,
    ),
    _with_own_parts,
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
    invariants={"tie_word_embeddings": True},
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
