"""Settings that turn running text into batches of permutation models.

They need no TensorFlow, as flags are made of them.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tfllm.data.masked import config as masked_config
from tfllm.data.masked.config import MaskedDataConfig

TASK = "permutation_lm"
# Longest span of tokens that are predicted together, in words.
MAX_SPAN_WORDS = 5


def data_config(flags: Mapping[str, Any]) -> MaskedDataConfig:
    """Returns the data config for the flags of a run.

    Rows are one text each, and tokens to predict stay where they are.

    Args:
        flags: Flags of the train verb by name.
    """
    config = masked_config.data_config({**flags, "pair_objective": "none"})
    return replace(
        config,
        masking=replace(
            config.masking,
            mask_share=0.0,
            random_share=0.0,
            max_span_words=MAX_SPAN_WORDS,
        ),
        # Those of shards replace tokens.
        static_masks=False,
    )
