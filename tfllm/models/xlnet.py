"""XLNet: an encoder that learns to predict tokens in any order.

Reference: Yang et al., "XLNet: Generalized Autoregressive Pretraining for
Language Understanding", NeurIPS 2019, https://arxiv.org/abs/1906.08237.
"""

from typing import Any

from tfllm.layers.config import Activation, NormConfig
from tfllm.layers.heads import PoolerConfig, TaskHeadConfig
from tfllm.layers.output_head import OutputHeadConfig
from tfllm.models.config import TransformerConfig
from tfllm.models.family import (
    LABELLED,
    Family,
    class_names,
    stack_size,
    tied_to,
)
from tfllm.models.published_keys import PublishedKeys
from tfllm.models.stack_config import TwoStreamConfig
from tfllm.models.stacks import create_stack, special_ids
from tfllm.models.weight_map import Weight, WeightTable
from tfllm.tokenizers.row_template import RowTemplate, Segments
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import AddedToken, SpecialTokens

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "base": stack_size(12, 768, 12),
    "large": stack_size(24, 1024, 16),
}


def config(
    num_layers: int = 24,
    hidden_size: int = 1024,
    num_heads: int = 16,
    intermediate_size: int | None = None,
    vocab_size: int = 32000,
    activation: Activation = "gelu",
    dropout: float = 0.1,
    classifier_dropout: float = 0.1,
    epsilon: float = 1e-12,
    initializer_range: float = 0.02,
    clamp_distance: int | None = None,
    memory_length: int | None = None,
    reuse_length: int | None = None,
    pooler_activation: Activation = "tanh",
    tied: bool = True,
    bos_token_id: int | None = 1,
    eos_token_id: int | None = 2,
    pad_token_id: int | None = 5,
) -> TransformerConfig:
    """Returns the config of an XLNet; the defaults are XLNet-Large's.

    The arguments are those of `tfllm.models.stacks`, TwoStreamConfig and
    PoolerConfig.
    """
    norm = NormConfig(hidden_size, epsilon=epsilon)
    heads: dict[str, Any] = {"initializer_range": initializer_range}
    return TransformerConfig(
        family="xlnet",
        encoder=create_stack(
            vocab_size,
            num_layers,
            num_heads,
            norm,
            None,
            intermediate_size=intermediate_size,
            activation=activation,
            dropout=dropout,
            initializer_range=initializer_range,
            attention={"use_bias": False},
            feed_forward={"dropout": dropout},
            block_kind="two_stream",
            two_stream=TwoStreamConfig(
                clamp_distance, memory_length, reuse_length
            ),
            final_dropout=dropout,
        ),
        pooler=PoolerConfig(
            hidden_size, pooler_activation, token="last", **heads
        ),
        output_head=OutputHeadConfig(
            hidden_size, vocab_size, tied=tied, use_bias=True, **heads
        ),
        task_head=TaskHeadConfig(
            classifier_dropout, token_dropout=0.0, **heads
        ),
        **special_ids(vocab_size, bos_token_id, eos_token_id, pad_token_id),
    )


PUBLISHED = PublishedKeys(
    "xlnet",
    {
        "vocab_size": ("vocab_size", 32000),
        "d_model": ("hidden_size", 1024),
        "n_layer": ("num_layers", 24),
        "n_head": ("num_heads", 16),
        "d_inner": ("intermediate_size", 4096),
        "ff_activation": ("activation", "gelu"),
        "dropout": ("dropout", 0.1),
        "summary_last_dropout": ("classifier_dropout", 0.1),
        "summary_activation": ("pooler_activation", "tanh"),
        "initializer_range": ("initializer_range", 0.02),
        "layer_norm_eps": ("epsilon", 1e-12),
        "clamp_len": ("clamp_distance", -1),
        "mem_len": ("memory_length", 512),
        "reuse_len": ("reuse_length", None),
        "tie_word_embeddings": ("tied", True),
        "bos_token_id": ("bos_token_id", 1),
        "eos_token_id": ("eos_token_id", 2),
        "pad_token_id": ("pad_token_id", 5),
    },
    fixed={
        "attn_type": "bi",
        "bi_data": False,
        "same_length": False,
        "untie_r": True,
        "summary_type": "last",
        "summary_use_proj": True,
    },
    derived={"d_head": lambda a: a["hidden_size"] // a["num_heads"]},
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for both streams and all heads."""
    table = WeightTable()
    table.tensor("transformer.mask_emb", "transformer.query_vector")
    table.tensor(
        "transformer.word_embedding.weight",
        "transformer.embeddings.token_table",
    )
    names = {
        "q": "query_kernel",
        "k": "key_kernel",
        "v": "value_kernel",
        "o": "output_kernel",
        "r": "distance_kernel",
        "r_w_bias": "content_bias",
        "r_r_bias": "distance_bias",
        "r_s_bias": "segment_bias",
        "seg_embed": "segment_keys",
    }
    for part in table.blocks("transformer.layer", config.stack):
        for published, path in names.items():
            part.tensor(f"rel_attn.{published}", f"attention.{path}")
        part.norm("rel_attn.layer_norm", "attention_norm")
        part.dense("ff.layer_1", "feed_forward.up")
        part.dense("ff.layer_2", "feed_forward.down")
        part.norm("ff.layer_norm", "feed_forward_norm")
    table.tensor("lm_loss.weight", "token_head.table")
    table.tensor("lm_loss.bias", "token_head.bias")
    table.dense("sequence_summary.summary", "pooler.dense")
    table.heads(sequence="logits_proj", choice="logits_proj")
    return table.rows


TOKENIZER = TokenizerSpec(
    kinds=("sentence_piece",),
    template=RowTemplate(
        pad="pad",
        between=("sep",),
        closes=("sep", "cls"),
        segments=Segments(last=2, pad=3),
        padding_side="left",
    ),
    special_tokens=SpecialTokens(
        pad="<pad>",
        unk="<unk>",
        cls="<cls>",
        sep="<sep>",
        mask="<mask>",
        bos="<s>",
        eos="</s>",
        additional=("<eop>", "<eod>"),
    ),
    added_tokens=(AddedToken("<mask>", lstrip=True, special=True),),
    training={
        "model_type": "unigram",
        "byte_fallback": False,
        "normalization": "nmt_nfkc",
        "role_order": ("unk", "bos", "eos", "cls", "sep", "pad", "mask"),
    },
    classes=("XLNetTokenizer",),
)

FAMILY = Family(
    name="xlnet",
    title="XLNet",
    paper="Yang et al., 2019",
    sizes=SIZES,
    parameters=("base", 116_750_336),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TOKENIZER,
    prefix="transformer.",
    layers=("n_layer", "transformer.layer.{}."),
    tied=tied_to("transformer.word_embedding.weight", "lm_loss.weight"),
    architectures=class_names(
        "XLNet",
        "encoder",
        *(key for key in LABELLED if key != "question_answering"),
        permutation_lm="XLNetLMHeadModel",
        question_answering="XLNetForQuestionAnsweringSimple",
    ),
)
