"""Settings that turn running text into batches of denoising.

They need no TensorFlow, as flags are made of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from tfllm.data.corpus.sources import DOCUMENT_PER, FilesConfig
from tfllm.data.positive import check_positive

TASK = "seq2seq_lm"

Denoising = Literal["span_corruption", "text_infilling"]
# Share of noise where no other is given, as published.
_USUAL_DENSITY: dict[Denoising, float] = {
    "span_corruption": 0.15,
    "text_infilling": 0.3,
}


@dataclass(frozen=True)
class DenoisingOptions:
    """How text becomes noisy. The help of the flags is made of the lines below.

    Attributes:
        denoising: Noise that seq2seq_lm learns to undo: span_corruption
            replaces spans by sentinels, and the target is the spans (T5);
            text_infilling replaces each span by one mask, and the target is
            the whole text (BART).
        noise_density: Share of the tokens in spans, at most 0.5. Default:
            0.15 for span_corruption, 0.3 for text_infilling; 0, and no
            token_masking, for a vocabulary without a mask.
        mean_span_length: Mean number of tokens of a span, at least 1.
        permute_sentences: Shuffle the sentences of a row, with
            text_infilling.
        rotate_documents: Begin a row at a random token and move what was
            before it to the end, with text_infilling.
        token_masking: Share of single tokens to replace by masks, from 0 to
            1, with text_infilling.
        token_deletion: Share of single tokens to leave out, from 0 to 1, with
            text_infilling.

    Raises:
        ValueError: A value is out of range, or belongs to another noise.

    Reference: Raffel et al., 2020, section 3.1.4; Lewis et al., 2020, section
    2.2.
    """

    denoising: Denoising = "span_corruption"
    noise_density: float | None = None
    mean_span_length: float = 3.0
    permute_sentences: bool = True
    rotate_documents: bool = False
    token_masking: float = 0.0
    token_deletion: float = 0.0

    def __post_init__(self) -> None:
        """Checks the values."""
        if self.denoising not in _USUAL_DENSITY:
            raise ValueError(
                f"`denoising` must be one of {', '.join(_USUAL_DENSITY)}. "
                f"Received: {self.denoising!r}."
            )
        infills = self.denoising == "text_infilling"
        if not (0 if infills else 1e-6) <= self.density <= 0.5:
            least = "at least 0" if infills else "above 0"
            raise ValueError(
                f"`noise_density` must be {least} and at most 0.5. "
                f"Received: {self.noise_density}."
            )
        if not 1 <= self.mean_span_length <= 100:
            raise ValueError(
                "`mean_span_length` must be from 1 to 100. "
                f"Received: {self.mean_span_length}."
            )
        for name in ("token_masking", "token_deletion"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"`{name}` must be from 0 to 1. "
                    f"Received: {getattr(self, name)}."
                )
        for name in ("rotate_documents", "token_masking", "token_deletion"):
            if getattr(self, name) and not infills:
                raise ValueError(
                    f"`{name}` goes with denoising=text_infilling. Received: "
                    f"{name}={getattr(self, name)} with {self.denoising}."
                )

    @property
    def density(self) -> float:
        """Share of the tokens in spans."""
        if self.noise_density is None:
            return _USUAL_DENSITY[self.denoising]
        return self.noise_density

    @property
    def masks(self) -> bool:
        """Whether text infilling replaces any token by a mask."""
        return self.density > 0 or self.token_masking > 0


@dataclass(frozen=True)
class DenoisingDataConfig:
    """Settings that turn a stream of tokens into batches.

    Args:
        seq_length: Tokens of a source row, special tokens included, S.
        batch_size: Rows per global batch, B.
        decoder_start_token_id: First input of the decoder, that of the
            model's config. None for a decoder that is not known yet: opening
            files then fails.
        noise: How text becomes noisy.
        document_per: What a document is; see `open_stream`.
        seed: Seed of order and noise.
        units_per_group: Units of 256 rows that are shuffled together.
    """

    seq_length: int = 128
    batch_size: int = 32
    decoder_start_token_id: int | None = None
    noise: DenoisingOptions = field(default_factory=DenoisingOptions)
    document_per: str = FilesConfig.document_per
    seed: int = 0
    units_per_group: int = 32

    def __post_init__(self) -> None:
        """Checks the values."""
        check_positive(self, "batch_size", "units_per_group")
        if self.seq_length < 8:
            raise ValueError(
                f"`seq_length` must be at least 8. Received: {self.seq_length}."
            )
        if self.document_per not in DOCUMENT_PER:
            raise ValueError(
                f"`document_per` must be one of {', '.join(DOCUMENT_PER)}. "
                f"Received: {self.document_per!r}."
            )


def data_config(flags: Mapping[str, Any]) -> DenoisingDataConfig:
    """Returns the data config for the flags of a run.

    Args:
        flags: Flags of the train verb by name.
    """
    options = {f.name: flags[f.name] for f in fields(DenoisingOptions)}
    return DenoisingDataConfig(
        seq_length=flags["seq_length"],
        batch_size=flags["batch_size"],
        noise=DenoisingOptions(**options),
        document_per=flags["document_per"],
        seed=flags["seed"],
    )
