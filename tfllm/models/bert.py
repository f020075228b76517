"""BERT: bidirectional encoder, masked tokens and sentence pairs.

Reference: Devlin et al., "BERT: Pre-training of Deep Bidirectional
Transformers for Language Understanding", NAACL 2019,
https://arxiv.org/abs/1810.04805; small sizes: Turc et al., "Well-Read
Students Learn Better", 2019, https://arxiv.org/abs/1908.08962.
"""

import functools

from tfllm.models import post_norm_encoder
from tfllm.models.arguments import without
from tfllm.models.config import TransformerConfig
from tfllm.models.family import LABELLED, Family, class_names, stack_size
from tfllm.models.published_keys import PublishedKeys
from tfllm.models.weight_map import Weight
from tfllm.tokenizers.row_template import RowTemplate, Segments
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "mini": stack_size(4, 256, 4),
    "small": stack_size(4, 512, 8),
    "medium": stack_size(8, 512, 8),
    "base": stack_size(12, 768, 12),
    "large": stack_size(24, 1024, 16),
}


# The defaults are BERT-Base, uncased. `activation` "gelu" is that of the
# Transformers library, "gelu_tanh" of google-research/bert since 2019.
config = without(
    functools.partial(
        post_norm_encoder.create_encoder,
        post_norm_encoder.EncoderVariant("bert", pair_objective="nsp"),
    ),
    *post_norm_encoder.OPTIONAL,
)

PUBLISHED = PublishedKeys(
    "bert",
    post_norm_encoder.KEYS,
    fixed=post_norm_encoder.FIXED,
    constants=post_norm_encoder.CONSTANTS,
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the encoder and all heads."""
    table = post_norm_encoder.encoder_table("bert", config)
    part = table.part("cls.predictions", "masked_lm_head")
    part.tensor("bias", "bias")
    part.dense("transform.dense", "dense")
    part.norm("transform.LayerNorm", "norm")
    table.dense("cls.seq_relationship", "sequence_head")
    table.heads()
    return table.rows


TOKENIZER = TokenizerSpec(
    # Multilingual sentence encoders have the pieces of XLM-RoBERTa.
    kinds=("wordpiece", "sentence_piece"),
    template=RowTemplate(
        pad="pad",
        opens=("cls",),
        between=("sep",),
        closes=("sep",),
        segments=Segments(),
    ),
    special_tokens=SpecialTokens(
        pad="[PAD]", unk="[UNK]", cls="[CLS]", sep="[SEP]", mask="[MASK]"
    ),
    classes=("BertTokenizer",),
)

FAMILY = Family(
    name="bert",
    title="BERT",
    paper="Devlin et al., 2019",
    sizes=SIZES,
    parameters=("base", 110_106_428),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TOKENIZER,
    prefix="bert.",
    layers=("num_hidden_layers", "bert.encoder.layer.{}."),
    ignored=lambda _: (r"bert\.embeddings\.(position_ids|token_type_ids)",),
    tied=lambda _: {
        "cls.predictions.decoder.weight": (
            "bert.embeddings.word_embeddings.weight"
        ),
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    architectures=class_names(
        "Bert", "pretraining", "masked_lm", "encoder", *LABELLED
    ),
)
