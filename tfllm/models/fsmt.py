"""The original Transformer, in the published layout of FSMT.

Three-way sharing of the tables, as in the paper, is `share_embeddings`. FSMT,
the models of fairseq for WMT 2019, has two vocabularies instead.

Reference: Vaswani et al., "Attention Is All You Need", 2017,
https://arxiv.org/abs/1706.03762; Ng et al., "Facebook FAIR's WMT19 News
Translation Task Submission", 2019, https://arxiv.org/abs/1907.06616 (FSMT).
"""

import functools

import numpy as np

from tfllm.layers.position_config import SinusoidalPositionsConfig
from tfllm.models import post_norm_encoder_decoder as shared
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, stack_size
from tfllm.models.published_keys import PublishedKeys
from tfllm.models.weight_map import Weight
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import SpecialTokens

_WMT19 = {
    "intermediate_size": 8192,
    "decoder_intermediate_size": 4096,
    "share_embeddings": False,
    "max_position_embeddings": 1024,
}
SIZES = {
    "tiny": stack_size(2, 128, 2),
    "base": stack_size(6, 512, 8),
    "big": stack_size(6, 1024, 16, dropout=0.3),
    "wmt19_en_de": stack_size(6, 1024, 16, vocab_size=42024, **_WMT19),
    "wmt19_en_ru": stack_size(
        6, 1024, 16, vocab_size=31232, decoder_vocab_size=31640, **_WMT19
    ),
}

# The defaults are the base model of the paper, with BPE for English-German.
config = functools.partial(
    shared.create_translation_model,
    shared.EncoderDecoderVariant(
        "fsmt",
        # NOTE: as the paper's authors published it, and not as the paper says:
        # sines before cosines, and a longest wavelength of 2 pi 10000.
        positions=lambda _, pad: SinusoidalPositionsConfig(
            "halves", reaches_theta=True, offset=pad + 1, counted_from="mask"
        ),
        own_table=True,
    ),
    vocab_size=37000,
    bos_token_id=0,
    eos_token_id=2,
    pad_token_id=1,
)

PUBLISHED = PublishedKeys(
    "fsmt",
    {
        **shared.KEYS,
        "src_vocab_size": ("vocab_size", 42024),
        "tgt_vocab_size": ("decoder_vocab_size", 42024),
        "tie_word_embeddings": ("share_embeddings", False),
        "activation_function": ("activation", "relu"),
        "scale_embedding": ("scale_embeddings", True),
        "bos_token_id": ("bos_token_id", 0),
        "eos_token_id": ("eos_token_id", 2),
        "pad_token_id": ("pad_token_id", 1),
    },
    fixed=shared.FIXED,
    constants=shared.CONSTANTS,
    fields=shared.FIELD_PATHS,
)


def weight_map(config: TransformerConfig) -> list[Weight]:
    """Returns published name <-> path for the stacks and the output head."""
    table = shared.encoder_decoder_table(config)
    for published, path in shared.token_tables(config).items():
        name = "decoder.embed_tokens" if "shared" in published else ""
        table.tensor(
            f"{shared.PREFIX}{name}.weight" if name else published, path
        )
    if config.output_head is not None and not config.output_head.tied:
        name = f"{shared.PREFIX}decoder.output_projection.weight"
        table.tensor(name, "lm_head.table")
    return table.rows


def tied_tables(config: TransformerConfig) -> dict[str, str]:
    """Returns `Family.tied`: one table of three, or none."""
    if not config.share_embeddings:
        return {}
    copies = ("encoder.embed_tokens", "decoder.output_projection")
    return {
        f"{shared.PREFIX}{name}.weight": (
            f"{shared.PREFIX}decoder.embed_tokens.weight"
        )
        for name in copies
    }


def position_tables(config: TransformerConfig) -> dict[str, np.ndarray]:
    """Returns `Family.computed`: the sinusoids of both stacks."""
    pad, half = config.pad_token_id, config.hidden_size // 2
    rows = np.arange((config.max_length or 0) + pad + 1)[:, None]
    angles = rows * 10000.0 ** (-np.arange(half) / (half - 1))
    return shared.position_tables(angles, zero_row=pad)


FAMILY = Family(
    name="fsmt",
    title="Transformer",
    paper="Vaswani et al., 2017",
    sizes=SIZES,
    parameters=("base", 63_082_496),
    config=config,
    published=PUBLISHED,
    weights=weight_map,
    tokenizer=TokenizerSpec(
        kinds=("byte_bpe",),
        template=RowTemplate(pad="pad", between=("eos",), closes=("eos",)),
        special_tokens=SpecialTokens(
            pad="<pad>", unk="<unk>", bos="<s>", eos="</s>"
        ),
        special_first=True,
    ),
    prefix=shared.PREFIX,
    layers=shared.LAYERS,
    decoder_layers=shared.DECODER_LAYERS,
    ignored=lambda _: (
        *shared.POSITION_TABLES,
        r"model\.(en|de)coder\.version",
    ),
    tied=tied_tables,
    computed=position_tables,
    architectures={"seq2seq_lm": "FSMTForConditionalGeneration"},
)
