"""T5, T5 1.1 and Flan-T5: an encoder-decoder with a relative bias.

Reference: Raffel et al., "Exploring the Limits of Transfer Learning with a
Unified Text-to-Text Transformer", 2020, https://arxiv.org/abs/1910.10683;
Shazeer, "GLU Variants Improve Transformer", 2020,
https://arxiv.org/abs/2002.05202 (1.1); Chung et al., "Scaling
Instruction-Finetuned Language Models", 2022,
https://arxiv.org/abs/2210.11416 (Flan-T5, with the sizes of 1.1).
"""

import functools
from collections.abc import Mapping
from typing import Any

from tfllm.models import relative_encoder_decoder as shared
from tfllm.models.config import TransformerConfig
from tfllm.models.family import Family, class_names, stack_size
from tfllm.models.published import PublishedConfig
from tfllm.tokenizers.row_template import RowTemplate
from tfllm.tokenizers.spec import TokenizerSpec
from tfllm.tokenizers.special_tokens import AddedToken, SpecialTokens

_SECOND = {"activation": "gelu_tanh", "gated": True, "tied": False}
SIZES = {
    "tiny": stack_size(2, 128, 4, head_dim=32, intermediate_size=256),
    "small": stack_size(6, 512, 8, intermediate_size=2048),
    "base": stack_size(12, 768, 12, intermediate_size=3072),
    "large": stack_size(24, 1024, 16, intermediate_size=4096),
    "3b": stack_size(24, 1024, 32, head_dim=128, intermediate_size=16384),
    "11b": stack_size(24, 1024, 128, head_dim=128, intermediate_size=65536),
    "1.1_small": stack_size(8, 512, 6, intermediate_size=1024, **_SECOND),
    "1.1_base": stack_size(12, 768, 12, intermediate_size=2048, **_SECOND),
    "1.1_large": stack_size(24, 1024, 16, intermediate_size=2816, **_SECOND),
    "1.1_xl": stack_size(24, 2048, 32, intermediate_size=5120, **_SECOND),
    "1.1_xxl": stack_size(24, 4096, 64, intermediate_size=10240, **_SECOND),
}

# The defaults are those of T5-small.
config = functools.partial(shared.create_relative_encoder_decoder, "t5", True)


class T5Keys(shared.RelativeKeys):
    """A config.json in which one of two keys says how logits are scaled."""

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns arguments of `config()`.

        NOTE: Transformers 5 always writes `tie_word_embeddings` true, and the
        meaning that it had before as `scale_decoder_outputs`.
        """
        tied = PublishedConfig(values).flag("tie_word_embeddings", True)
        key = "scale_decoder_outputs"
        tied = PublishedConfig(values).flag(key, tied)
        return {**super().read(values), "tied": tied}

    def write(self, config: TransformerConfig) -> dict[str, Any]:
        """Returns the config.json of a config, in both dialects."""
        values = super().write(config)
        if config.output_head is not None:
            values["tie_word_embeddings"] = config.output_head.tied
            values["scale_decoder_outputs"] = config.output_head.scale != 1.0
        return values


TOKENIZER = TokenizerSpec(
    kinds=("sentence_piece",),
    template=RowTemplate(pad="pad", between=("eos",), closes=("eos",)),
    special_tokens=SpecialTokens(pad="<pad>", unk="<unk>", eos="</s>"),
    special_first=True,
    # The first one gets the highest id.
    added_tokens=tuple(
        AddedToken(f"<extra_id_{number}>", special=True)
        for number in range(99, -1, -1)
    ),
    training={
        "model_type": "unigram",
        "normalization": "nmt_nfkc",
        "byte_fallback": False,
        "role_order": ("pad", "eos", "unk"),
    },
    classes=("T5Tokenizer", "T5TokenizerFast"),
)

FAMILY = Family(
    name="t5",
    title="T5",
    paper="Raffel et al., 2020",
    sizes=SIZES,
    parameters=("small", 60_506_624),
    config=config,
    published=T5Keys(
        "t5",
        shared.KEYS,
        fixed={"is_decoder": False},
        constants={"is_encoder_decoder": True, "feed_forward_proj": "relu"},
        fields=shared.FIELDS,
    ),
    weights=shared.relative_weights,
    tokenizer=TOKENIZER,
    prefix=shared.PREFIX,
    prefixes=shared.PREFIXES,
    layers=shared.LAYERS,
    decoder_layers=shared.DECODER_LAYERS,
    ignored=shared.ignored_names,
    tied=shared.tied_tables,
    fit_tensors=shared.fit_output_table,
    architectures=class_names("T5", *shared.CLASSES, encoder="T5EncoderModel"),
)
