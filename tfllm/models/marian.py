"""Marian: translation models, of which OPUS-MT has published a thousand.

Reference: Junczys-Dowmunt et al., "Marian: Fast Neural Machine Translation in
C++", 2018, https://arxiv.org/abs/1804.00344; Tiedemann and Thottingal,
"OPUS-MT - Building open translation services for the World", 2020.
"""

import functools

import numpy as np

from tfllm.layers.position_config import SinusoidalPositionsConfig
from tfllm.models import post_norm_encoder_decoder as shared
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, class_names, stack_size
from tfllm.models.published_keys import PublishedKeys
from tfllm.models.weight_map import Weight
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

SIZES = {
    "tiny": stack_size(2, 128, 2),
    # OPUS-MT; "big" is that of the Tatoeba Challenge, "distilled" the student
    # with a shallow decoder.
    "base": stack_size(6, 512, 8),
    "big": stack_size(6, 1024, 16),
    "distilled": stack_size(
        6, 256, 8, intermediate_size=1536, num_decoder_layers=2
    ),
}

# The defaults are those of OPUS-MT.
config = functools.partial(
    shared.create_translation_model,
    shared.EncoderDecoderVariant(
        "marian",
        positions=lambda *_: SinusoidalPositionsConfig("halves"),
        starts_with="pad",
        output_bias=True,
        pads_last=True,
    ),
    activation="silu",
)

PUBLISHED = PublishedKeys(
    "marian",
    {
        **shared.KEYS,
        "vocab_size": ("vocab_size", 58101),
        "decoder_vocab_size": ("decoder_vocab_size", None),
        "share_encoder_decoder_embeddings": ("share_embeddings", True),
        "eos_token_id": ("eos_token_id", 0),
        "pad_token_id": ("pad_token_id", 58100),
    },
    fixed={
        **shared.FIXED,
        # Of early files.
        "normalize_before": False,
        "add_final_layer_norm": False,
        "normalize_embedding": False,
        "static_position_embeddings": True,
    },
    invariants={"tie_word_embeddings": True},
    constants=shared.CONSTANTS,
    fields=shared.FIELD_PATHS,
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the stacks and the output head."""
    table = shared.encoder_decoder_table(config)
    for published, path in shared.token_tables(config).items():
        table.tensor(published, path)
    table.row("final_logits_bias", "lm_head.bias")
    return table.rows


def position_tables(config: TransformerConfig) -> dict[str, np.ndarray]:
    """Returns `Family.computed`: the sinusoids of both stacks."""
    size = config.hidden_size
    rows = np.arange(config.max_length or 0)[:, None]
    angles = rows * 10000.0 ** (-2 * np.arange(size // 2) / size)
    return shared.position_tables(angles)


FAMILY = Family(
    name="marian",
    title="Marian",
    paper="Junczys-Dowmunt et al., 2018",
    sizes=SIZES,
    parameters=("base", 73_944_309),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TokenizerSpec(
        kinds=("mapped_sentence_piece",),
        template=RowTemplate(pad="pad", closes=("eos",)),
        special_tokens=SpecialTokens(pad="<pad>", unk="<unk>", eos="</s>"),
        classes=("MarianTokenizer",),
    ),
    prefix=shared.PREFIX,
    layers=shared.LAYERS,
    decoder_layers=shared.DECODER_LAYERS,
    ignored=lambda _: shared.POSITION_TABLES,
    tied=shared.tied_tables,
    computed=position_tables,
    architectures=class_names(
        "Marian",
        "encoder_decoder",
        seq2seq_lm="MarianMTModel",
    ),
)
