"""OPT: decoders of the sizes of GPT-3 with open weights.

Reference: Zhang et al., "OPT: Open Pre-trained Transformer Language Models",
2022, https://arxiv.org/abs/2205.01068.
"""

import functools

from tfllm.models.arguments import without
from tfllm.models.causal_decoder import (
    LearnedDecoderVariant,
    create_learned_decoder,
)
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, class_names, stack_size, tied_to
from tfllm.models.published import PublishedConfig
from tfllm.models.published_keys import FIELDS, Field, PublishedKeys
from tfllm.models.weight_map import Weight, WeightTable
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "125m": stack_size(12, 768, 12),
    "350m": stack_size(24, 1024, 16, embedding_size=512, pre_norm=False),
    "1.3b": stack_size(24, 2048, 32),
    "2.7b": stack_size(32, 2560, 32),
    "6.7b": stack_size(32, 4096, 32),
    "13b": stack_size(40, 5120, 40),
    "30b": stack_size(48, 7168, 56),
    "66b": stack_size(64, 9216, 72),
    "175b": stack_size(96, 12288, 96),
}

# The defaults are the 125M model.
config = without(
    functools.partial(
        create_learned_decoder,
        LearnedDecoderVariant("opt", position_offset=2),
        vocab_size=50272,
        max_position_embeddings=2048,
        activation="relu",
        attention_dropout=0.0,
        bos_token_id=2,
        eos_token_id=2,
        pad_token_id=1,
    ),
    "epsilon",
    "scale_scores",
    "scale_scores_by_layer",
    embedding_dropout=0.0,
)

PUBLISHED = PublishedKeys(
    "opt",
    {
        "vocab_size": ("vocab_size", 50272),
        "hidden_size": ("hidden_size", 768),
        "num_hidden_layers": ("num_layers", 12),
        "ffn_dim": ("intermediate_size", 3072),
        "max_position_embeddings": ("max_position_embeddings", 2048),
        "do_layer_norm_before": ("pre_norm", True),
        "_remove_final_layer_norm": ("final_norm", False),
        "word_embed_proj_dim": ("embedding_size", None),
        "dropout": ("dropout", 0.1),
        "attention_dropout": ("attention_dropout", 0.0),
        "classifier_dropout": ("classifier_dropout", None),
        "num_attention_heads": ("num_heads", 12),
        "activation_function": ("activation", "relu"),
        "init_std": ("initializer_range", 0.02),
        "pad_token_id": ("pad_token_id", 1),
        "bos_token_id": ("bos_token_id", 2),
        "eos_token_id": ("eos_token_id", 2),
        "enable_bias": ("use_bias", True),
        "layer_norm_elementwise_affine": ("affine", True),
        "tie_word_embeddings": ("tied", True),
    },
    invariants={"layerdrop": 0.0},
    fields={
        "max_position_embeddings": FIELDS["longest_sequence"],
        # The key says that there is none.
        "final_norm": Field(
            lambda *arguments: not PublishedConfig.flag(*arguments),
            "stack",
            lambda s: s.block.norm_placement == "pre" and s.final_norm is None,
        ),
    },
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the decoder and all heads."""
    table = WeightTable()
    stack, bias = config.stack, config.block.feed_forward.use_bias
    part = table.part("model.decoder", "transformer")
    part.tensor("embed_tokens.weight", "embeddings.token_table")
    part.tensor("embed_positions.weight", "embeddings.positions.table")
    if stack.final_projection:
        part.dense("project_in", "embeddings.projection", bias=False)
        part.dense("project_out", "final_projection", bias=False)
    affine = stack.block.norm.affine
    if affine and stack.final_norm:
        part.norm("final_layer_norm", "final_norm")
    names = ("q_proj", "k_proj", "v_proj", "out_proj")
    for part in table.blocks("model.decoder.layers", stack):
        part.attention(config.block.attention, "self_attn.", names)
        part.dense("fc1", "feed_forward.up", bias=bias)
        part.dense("fc2", "feed_forward.down", bias=bias)
        if affine:
            part.norm("self_attn_layer_norm", "attention_norm")
            part.norm("final_layer_norm", "feed_forward_norm")
    table.output_table(config)
    table.heads(sequence="score", token="", choice="", sequence_bias=False)
    return table.rows


TOKENIZER = TokenizerSpec(
    kinds=("byte_bpe",),
    # NOTE: the published tokenizer opens the second text as well.
    template=RowTemplate(pad="pad", opens=("bos",), between=("bos",)),
    special_tokens=SpecialTokens(
        pad="<pad>", unk="</s>", bos="</s>", eos="</s>"
    ),
    special_first=True,
    classes=("GPT2Tokenizer",),
)

FAMILY = Family(
    name="opt",
    title="OPT",
    paper="Zhang et al., 2022",
    sizes=SIZES,
    parameters=("125m", 125_239_296),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TOKENIZER,
    prefix="model.",
    layers=("num_hidden_layers", "model.decoder.layers.{}."),
    ignored=lambda _: (r"model\.decoder\.version",),
    tied=tied_to("model.decoder.embed_tokens.weight"),
    architectures=class_names(
        "OPT",
        "causal_lm",
        "encoder",
        "sequence_classification",
        "question_answering",
    ),
)
