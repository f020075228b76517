"""GPT-1: the first decoder pretrained on books and fine-tuned on labels.

Reference: Radford et al., "Improving Language Understanding by Generative
Pre-Training", 2018.
"""

import functools

from tfllm.models.arguments import without
from tfllm.models.causal_decoder import (
    LearnedDecoderVariant,
    create_learned_decoder,
)
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, class_names, stack_size
from tfllm.models.published_keys import PublishedKeys, activation_field
from tfllm.models.weight_map import Weight, WeightTable
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "117m": stack_size(12, 768, 12),
}


config = without(
    functools.partial(
        create_learned_decoder,
        LearnedDecoderVariant("openai-gpt"),
        vocab_size=40478,
        max_position_embeddings=512,
        bos_token_id=None,
        eos_token_id=None,
    ),
    "intermediate_size",
    "embedding_size",
    "scale_scores",
    "scale_scores_by_layer",
    "use_bias",
    "affine",
    "final_norm",
    "tied",
    pre_norm=False,
)

PUBLISHED = PublishedKeys(
    "openai-gpt",
    {
        "vocab_size": ("vocab_size", 40478),
        "n_embd": ("hidden_size", 768),
        "n_layer": ("num_layers", 12),
        "n_head": ("num_heads", 12),
        "n_positions": ("max_position_embeddings", 512),
        "afn": ("activation", "gelu"),
        "resid_pdrop": ("dropout", 0.1),
        "attn_pdrop": ("attention_dropout", 0.1),
        "embd_pdrop": ("embedding_dropout", 0.1),
        "summary_first_dropout": ("classifier_dropout", 0.1),
        "layer_norm_epsilon": ("epsilon", 1e-5),
        "initializer_range": ("initializer_range", 0.02),
        "bos_token_id": ("bos_token_id", None),
        "eos_token_id": ("eos_token_id", None),
        "pad_token_id": ("pad_token_id", None),
    },
    invariants={"tie_word_embeddings": True},
    fields={
        # NOTE: "gelu" is the approximation by tanh here.
        "activation": activation_field(
            {
                "gelu": "gelu_tanh",
                "relu": "relu",
                "silu": "silu",
                "swish": "silu",
            }
        ),
    },
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path; most matrices need no transpose."""
    table = WeightTable()
    part = table.part("transformer", "transformer.embeddings")
    part.tensor("tokens_embed.weight", "token_table")
    part.tensor("positions_embed.weight", "positions.table")
    for part in table.blocks("transformer.h", config.stack):
        part.dense("attn.c_attn", "attention.qkv", "copy")
        part.dense("attn.c_proj", "attention.output_projection", "copy")
        part.norm("ln_1", "attention_norm")
        part.dense("mlp.c_fc", "feed_forward.up", "copy")
        part.dense("mlp.c_proj", "feed_forward.down", "copy")
        part.norm("ln_2", "feed_forward_norm")
    table.heads(
        sequence="score",
        token="",
        # Of OpenAIGPTDoubleHeadsModel, whose files are read without it.
        choice="multiple_choice_head.summary",
        span="",
        sequence_bias=False,
    )
    return table.rows


TOKENIZER = TokenizerSpec(
    kinds=("word_bpe",),
    template=RowTemplate(pad="eos", between=("eos",)),
    # NOTE: the published vocabulary has no token between texts.
    special_tokens=SpecialTokens(unk="<unk>", bos="</s>", eos="</s>"),
    classes=("OpenAIGPTTokenizer",),
)

FAMILY = Family(
    name="openai-gpt",
    title="GPT-1",
    paper="Radford et al., 2018",
    sizes=SIZES,
    parameters=("117m", 116_534_784),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TOKENIZER,
    prefix="transformer.",
    layers=("n_layer", "transformer.h.{}."),
    ignored=lambda _: (r"transformer\.(h\.\d+\.attn\.bias|position_ids)",),
    tied=lambda _: {"lm_head.weight": "transformer.tokens_embed.weight"},
    architectures=class_names(
        "OpenAIGPT",
        "encoder",
        "sequence_classification",
        causal_lm="OpenAIGPTLMHeadModel",
    ),
)
