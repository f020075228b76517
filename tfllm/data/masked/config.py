"""Settings that turn running text into batches of masked language models.

They need no TensorFlow, as flags are made of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tfllm.data.positive import check_positive
from tfllm.tokenizers.spec import TokenizerSpec

TASK = "masked_lm"
DETECTION_TASK = "replaced_token_detection"
PAIR_OBJECTIVES = ("nsp", "sop", "none")
# That of BERT; where the family of the model is known, its own is the default.
DEFAULT_PAIR_OBJECTIVE: Literal["nsp"] = "nsp"
MASKING_UNITS = ("token", "whole_word", "span")
# Bytes of text in a unit of work.
DEFAULT_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class InstanceSettings:
    """Settings that turn documents into examples.

    Args:
        seq_length: Tokens per example, special tokens included.
        pair_objective: "nsp" (is B the next text or a random one), "sop" (are
            A and B swapped) or "none" (one segment, no label).
        short_seq_prob: Share of documents with a random shorter target.
        dupe_factor: Passes over the documents, each with other pairs.
        seed: Seed of all random choices.
    """

    seq_length: int = 128
    pair_objective: str = DEFAULT_PAIR_OBJECTIVE
    short_seq_prob: float = 0.1
    dupe_factor: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.seq_length < 8:
            raise ValueError(
                f"`seq_length` must be at least 8. Received: {self.seq_length}."
            )
        if self.pair_objective not in PAIR_OBJECTIVES:
            raise ValueError(
                f"`pair_objective` must be one of {PAIR_OBJECTIVES}. "
                f"Received: {self.pair_objective!r}."
            )
        if not 0 <= self.short_seq_prob <= 1:
            raise ValueError(
                "`short_seq_prob` must lie in [0, 1]. "
                f"Received: {self.short_seq_prob}."
            )
        check_positive(self, "dupe_factor")


@dataclass(frozen=True)
class MaskingConfig:
    """Settings of the masks.

    Args:
        rate: Share of the tokens of a row to mask, counting special tokens.
        max_predictions: Masked tokens per row at most, P; default
            ceil(rate * seq_length).
        unit: Tokens masked together: "token", "whole_word" or "span" (1 to
            `max_span_words` whole words, p(n) proportional to 1/n).
        mask_share: Share of masked tokens replaced by the mask token.
        random_share: Share replaced by a random token; the rest stay.
        max_span_words: Longest span in words.
    """

    rate: float = 0.15
    max_predictions: int | None = None
    unit: str = "token"
    mask_share: float = 0.8
    random_share: float = 0.1
    max_span_words: int = 3

    def __post_init__(self) -> None:
        """Checks the values."""
        if not 0 < self.rate < 1:
            raise ValueError(
                "`mask_rate` must lie between 0 and 1. "
                f"Received: {self.rate}. BERT uses 0.15."
            )
        if self.max_predictions is not None:
            check_positive(self, "max_predictions")
        if self.unit not in MASKING_UNITS:
            raise ValueError(
                f"`masking` must be one of {MASKING_UNITS}. "
                f"Received: {self.unit!r}."
            )
        shares = (self.mask_share, self.random_share)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(
                "`mask_share` and `random_share` must be at least 0 and at "
                f"most 1 together. Received: {shares}."
            )
        check_positive(self, "max_span_words")

    def num_slots(self, seq_length: int) -> int:
        """Returns the masked slots per row, P."""
        if self.max_predictions is None:
            # Rounded first: 0.15 * 20 is 3.0000000000000004 in floats.
            return math.ceil(round(self.rate * seq_length, 6))
        if self.max_predictions > seq_length:
            raise ValueError(
                "`max_predictions` must not exceed `seq_length` "
                f"{seq_length}. Received: {self.max_predictions}."
            )
        return self.max_predictions


@dataclass(frozen=True)
class MaskedDataConfig:
    """Settings that turn examples into batches.

    Args:
        seq_length: Tokens per row, T.
        batch_size: Rows per global batch, B.
        pair_objective: "nsp", "sop" or "none".
        masking: Settings of the masks.
        static_masks: Whether to use the masks stored in shards; None: if
            they have masks; False: draw new masks in each epoch.
        seed: Seed of order and masks, and of examples built from text.
        dupe_factor: Passes over the text per epoch (text only: prepared
            shards include them).
        short_seq_prob: Share of short examples (text only).
        block_bytes: Bytes of text per unit (text only).
        units_per_group: Units that are loaded and shuffled together.
        with_originals: Add the tokens before masking as labels, and random
            numbers with which a generator chooses tokens for the masks.
    """

    seq_length: int = 128
    batch_size: int = 32
    pair_objective: str = DEFAULT_PAIR_OBJECTIVE
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    static_masks: bool | None = None
    seed: int = 0
    dupe_factor: int = 10
    short_seq_prob: float = 0.1
    block_bytes: int = DEFAULT_BLOCK_BYTES
    units_per_group: int = 8
    with_originals: bool = False

    def __post_init__(self) -> None:
        """Checks the values."""
        check_positive(self, "batch_size", "units_per_group")
        self.masking.num_slots(self.instances.seq_length)

    @property
    def instances(self) -> InstanceSettings:
        """Settings of examples built from text."""
        return InstanceSettings(
            seq_length=self.seq_length,
            pair_objective=self.pair_objective,
            short_seq_prob=self.short_seq_prob,
            dupe_factor=self.dupe_factor,
            seed=self.seed,
        )


@dataclass(frozen=True)
class PrepareConfig:
    """Settings to prepare shards for masked language models.

    Args:
        input_files: Text globs, comma-separated.
        tokenizer: Vocabulary file or tokenizer folder.
        output_dir: Folder for the shards.
        spec: Tokenizer of the model's family, for what the files do not say.
        lower_case: Whether the tokenizer lower-cases; None: as its files say,
            or the vocabulary suggests.
        instances: Settings that turn documents into examples.
        masking: Settings of static masks.
        static_masks: Whether to draw masks now instead of in each epoch.
        block_bytes: Bytes of text per shard.
        workers: Number of processes.
        overwrite: Whether to delete shards made with other settings.
    """

    input_files: str
    tokenizer: str
    output_dir: str
    spec: TokenizerSpec | None = None
    lower_case: bool | None = None
    instances: InstanceSettings = field(default_factory=InstanceSettings)
    masking: MaskingConfig = field(default_factory=MaskingConfig)
    static_masks: bool = False
    block_bytes: int = DEFAULT_BLOCK_BYTES
    workers: int = 1
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Checks the values."""
        check_positive(self, "workers")
        self.masking.num_slots(self.instances.seq_length)


def data_config(flags: Mapping[str, Any]) -> MaskedDataConfig:
    """Returns the data config for the flags of a run.

    Args:
        flags: Flags of the train verb by name.
    """
    return MaskedDataConfig(
        seq_length=flags["seq_length"],
        batch_size=flags["batch_size"],
        pair_objective=flags["pair_objective"],
        masking=MaskingConfig(
            rate=flags["mask_rate"],
            max_predictions=flags["max_predictions"] or None,
            unit=flags["masking"],
        ),
        seed=flags["seed"],
        dupe_factor=flags["dupe_factor"],
        short_seq_prob=flags["short_seq_prob"],
    )


def detection_config(flags: Mapping[str, Any]) -> MaskedDataConfig:
    """Returns the data config of replaced-token detection for a run's flags.

    NOTE: every chosen token is masked, as in the paper (Clark et al., 2020,
    section 3); its code leaves 15 % of them. Rows hold one text.

    Args:
        flags: Flags of the train verb by name.
    """
    config = data_config({**flags, "pair_objective": "none"})
    masking = replace(config.masking, mask_share=1.0, random_share=0.0)
    return replace(
        config, masking=masking, static_masks=False, with_originals=True
    )


def evaluation_config(config: MaskedDataConfig) -> MaskedDataConfig:
    """Returns the data config for held-out text: a single pass."""
    return replace(config, dupe_factor=1)
