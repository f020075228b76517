"""XLM-RoBERTa: RoBERTa on text in one hundred languages.

Reference: Conneau et al., "Unsupervised Cross-lingual Representation Learning
at Scale", ACL 2020, https://arxiv.org/abs/1911.02116.
"""

import dataclasses
import functools

from tfllm.models import post_norm_encoder, roberta
from tfllm.models.arguments import without
from tfllm.models.family import LABELLED, class_names, stack_size

SIZES = {
    "tiny": stack_size(2, 128, 2),
    "base": stack_size(12, 768, 12),
    "large": stack_size(24, 1024, 16),
}

# The defaults are XLM-RoBERTa-Base.
config = without(
    functools.partial(
        post_norm_encoder.create_encoder,
        dataclasses.replace(roberta.VARIANT, family="xlm-roberta"),
        vocab_size=250002,
        **roberta.DEFAULTS,
    ),
    *post_norm_encoder.OPTIONAL,
)

TOKENIZER = dataclasses.replace(
    roberta.TOKENIZER,
    kinds=("sentence_piece",),
    special_first=False,
    training={
        "model_type": "unigram",
        "normalization": "nmt_nfkc",
        "byte_fallback": False,
        # The ids of the published models but for the mask, which is last there.
        "role_order": ("bos", "pad", "eos", "unk", "mask"),
    },
    classes=("XLMRobertaTokenizer",),
)

# The published names are RoBERTa's, prefix included.
FAMILY = dataclasses.replace(
    roberta.FAMILY,
    name="xlm-roberta",
    title="XLM-RoBERTa",
    paper="Conneau et al., 2020",
    sizes=SIZES,
    parameters=("base", 278_295_186),
    config=config,
    published=dataclasses.replace(
        roberta.PUBLISHED,
        model_type="xlm-roberta",
        keys={
            **roberta.PUBLISHED.keys,
            "vocab_size": post_norm_encoder.KEYS["vocab_size"],
        },
    ),
    tokenizer=TOKENIZER,
    architectures=class_names("XLMRoberta", "masked_lm", "encoder", *LABELLED),
)
