"""GPT-2: causal decoder, and sizes in the style of GPT-3.

Reference: Radford et al., "Language Models are Unsupervised Multitask
Learners", 2019; Brown et al., "Language Models are Few-Shot Learners", 2020,
https://arxiv.org/abs/2005.14165, table 2.1.
"""

import functools

from tfllm.models.arguments import without
from tfllm.models.causal_decoder import (
    LearnedDecoderVariant,
    create_learned_decoder,
)
from tfllm.models.config import TransformerConfig
from tfllm.models.family import LABELLED, Family, class_names, stack_size
from tfllm.models.published_keys import PublishedKeys
from tfllm.models.weight_map import Weight, WeightTable
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "nano": stack_size(4, 128, 4),
    "small": stack_size(12, 768, 12),
    "medium": stack_size(24, 1024, 16),
    "large": stack_size(36, 1280, 20),
    "xl": stack_size(48, 1600, 25),
    # NOTE: every layer attends to all positions; in the paper every other one
    # is locally banded. 1.3B and 13B, which do not divide into heads of 128 in
    # the paper's table, do here.
    "gpt3_125m": stack_size(12, 768, 12, max_position_embeddings=2048),
    "gpt3_350m": stack_size(24, 1024, 16, max_position_embeddings=2048),
    "gpt3_760m": stack_size(24, 1536, 16, max_position_embeddings=2048),
    "gpt3_1.3b": stack_size(24, 2048, 16, max_position_embeddings=2048),
    "gpt3_2.7b": stack_size(32, 2560, 32, max_position_embeddings=2048),
    "gpt3_6.7b": stack_size(32, 4096, 32, max_position_embeddings=2048),
    "gpt3_13b": stack_size(40, 5120, 40, max_position_embeddings=2048),
    "gpt3_175b": stack_size(96, 12288, 96, max_position_embeddings=2048),
}

# The defaults are the 124M model.
config = without(
    functools.partial(
        create_learned_decoder,
        LearnedDecoderVariant("gpt2", narrow_residual=True),
    ),
    "embedding_size",
    "use_bias",
    "affine",
    "pre_norm",
    "final_norm",
    "tied",
)

PUBLISHED = PublishedKeys(
    "gpt2",
    {
        "vocab_size": ("vocab_size", 50257),
        "n_embd": ("hidden_size", 768),
        "n_layer": ("num_layers", 12),
        "n_head": ("num_heads", 12),
        "n_inner": ("intermediate_size", None),
        "n_positions": ("max_position_embeddings", 1024),
        "activation_function": ("activation", "gelu_new"),
        "resid_pdrop": ("dropout", 0.1),
        "attn_pdrop": ("attention_dropout", 0.1),
        "embd_pdrop": ("embedding_dropout", 0.1),
        "classifier_dropout": ("classifier_dropout", None),
        "summary_first_dropout": ("classifier_dropout", 0.1),
        "layer_norm_epsilon": ("epsilon", 1e-5),
        "initializer_range": ("initializer_range", 0.02),
        "scale_attn_weights": ("scale_scores", True),
        "scale_attn_by_inverse_layer_idx": ("scale_scores_by_layer", False),
        "bos_token_id": ("bos_token_id", 50256),
        "eos_token_id": ("eos_token_id", 50256),
        "pad_token_id": ("pad_token_id", None),
    },
    fixed={"add_cross_attention": False},
    invariants={"tie_word_embeddings": True},
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path; most matrices need no transpose."""
    table = WeightTable()
    part = table.part("transformer", "transformer")
    part.tensor("wte.weight", "embeddings.token_table")
    part.tensor("wpe.weight", "embeddings.positions.table")
    part.norm("ln_f", "final_norm")
    for part in table.blocks("transformer.h", config.stack):
        part.norm("ln_1", "attention_norm")
        part.dense("attn.c_attn", "attention.qkv", "copy")
        part.dense("attn.c_proj", "attention.output_projection", "copy")
        part.norm("ln_2", "feed_forward_norm")
        part.dense("mlp.c_fc", "feed_forward.up", "copy")
        part.dense("mlp.c_proj", "feed_forward.down", "copy")
    choice = "multiple_choice_head.summary"
    table.heads(sequence="score", sequence_bias=False, choice=choice)
    return table.rows


TOKENIZER = TokenizerSpec(
    kinds=("byte_bpe",),
    # NOTE: the published tokenizer puts nothing between two texts.
    template=RowTemplate(pad="eos", between=("eos",)),
    special_tokens=SpecialTokens(bos="<|endoftext|>", eos="<|endoftext|>"),
    classes=("GPT2Tokenizer",),
)

FAMILY = Family(
    name="gpt2",
    title="GPT-2",
    paper="Radford et al., 2019",
    sizes=SIZES,
    parameters=("small", 124_439_808),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TOKENIZER,
    prefix="transformer.",
    layers=("n_layer", "transformer.h.{}."),
    ignored=lambda _: (r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",),
    tied=lambda _: {"lm_head.weight": "transformer.wte.weight"},
    architectures=class_names(
        "GPT2",
        "encoder",
        *LABELLED,
        causal_lm="GPT2LMHeadModel",
        multiple_choice="GPT2DoubleHeadsModel",
    ),
)
