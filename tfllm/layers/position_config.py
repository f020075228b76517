"""Configs of positions: learned, sinusoidal, rotary, or a relative bias.

Learned and sinusoidal positions are added to the token embeddings; rotary
positions and relative biases act in every attention.
"""

import dataclasses
from typing import ClassVar, Literal

from tfllm.layers.fields import (
    check_literals,
    check_not_negative,
    check_positive,
    check_positive_number,
    check_spread,
    is_finite,
)

# "start": position 0 is the first token of a row, and padding counts. "mask":
# position 0 is the first real token, and padding does not count.
CountedFrom = Literal["start", "mask"]


@dataclasses.dataclass(frozen=True)
class LearnedPositionsConfig:
    """A table of positions (Gehring et al., 2017).

    Attributes:
        rows: Rows of the table.
        offset: Row of position 0.
        counted_from: Token at position 0; see `CountedFrom`.
        sinusoidal: The table starts as interleaved sines and cosines and is
            not trained. Unlike those of SinusoidalPositionsConfig, its numbers
            are weights of the model, which files hold.
    """

    type: ClassVar[str] = "learned"
    rows: int
    offset: int = 0
    counted_from: CountedFrom = "start"
    sinusoidal: bool = False

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive(self, "rows")
        check_not_negative(self, "offset")
        if self.offset >= self.rows:
            raise ValueError(
                "`offset` must be below `rows`. Received: "
                f"offset={self.offset}, rows={self.rows}"
            )


@dataclasses.dataclass(frozen=True)
class SinusoidalPositionsConfig:
    """Fixed sines and cosines of positions (Vaswani et al., 2017).

    Attributes:
        layout: Sines and cosines "interleaved" (paper), or in "halves"
            [sines, cosines].
        theta: Base of the wavelengths.
        reaches_theta: The longest wavelength is 2 pi theta, and not a step
            shorter. NOTE: so in the code of the paper's authors, tensor2tensor.
        offset: Added to every position.
        counted_from: Token at position 0; see `CountedFrom`.
    """

    type: ClassVar[str] = "sinusoidal"
    layout: Literal["interleaved", "halves"] = "interleaved"
    theta: float = 10000.0
    reaches_theta: bool = False
    offset: int = 0
    counted_from: CountedFrom = "start"

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_literals(self)
        check_positive_number(self, "theta")
        check_not_negative(self, "offset")


@dataclasses.dataclass(frozen=True)
class LinearScaling:
    """All angles divided by a factor (Chen et al., 2023).

    Attributes:
        factor: How many times longer sequences may be.
    """

    type: ClassVar[str] = "linear"
    factor: float

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive_number(self, "factor")


@dataclasses.dataclass(frozen=True)
class DynamicScaling:
    """A base that grows for sequences beyond a length (dynamic NTK).

    Attributes:
        factor: How many times longer sequences may be.
        original_length: Longest sequence in pretraining.
    """

    type: ClassVar[str] = "dynamic"
    factor: float
    original_length: int

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive_number(self, "factor")
        check_positive(self, "original_length")


@dataclasses.dataclass(frozen=True)
class YarnScaling:
    """Long wavelengths stretched, short ones not (Peng et al., 2024).

    Attributes:
        factor: How many times longer sequences may be.
        original_length: Longest sequence in pretraining.
        beta_fast: A dimension that turns this often within `original_length`
            keeps its frequency.
        beta_slow: A dimension that turns less often than this has its
            frequency divided by `factor`.
        attention_factor: Factor on sines and cosines; None:
            0.1 ln(factor) + 1, or with `mscale` and `mscale_all_dim` the
            ratio of two such terms.
        mscale: Weight of the logarithm in the numerator, or None.
        mscale_all_dim: Weight of the logarithm in the denominator, or None.
        truncate: Round the bounds of the ramp outwards to integers.
    """

    type: ClassVar[str] = "yarn"
    factor: float
    original_length: int
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive_number(self, "factor", "beta_fast", "beta_slow")
        check_positive(self, "original_length")
        for name in ("attention_factor", "mscale", "mscale_all_dim"):
            if getattr(self, name) is not None:
                check_spread(self, name)


@dataclasses.dataclass(frozen=True)
class Llama3Scaling:
    """Long wavelengths divided by a factor, middle ones in part (Llama 3.1).

    Attributes:
        factor: How many times longer sequences may be.
        original_length: Longest sequence in pretraining.
        low_freq_factor: Wavelengths above `original_length` divided by this
            are long.
        high_freq_factor: Wavelengths below `original_length` divided by this
            are short.
    """

    type: ClassVar[str] = "llama3"
    factor: float
    original_length: int
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive_number(
            self, "factor", "low_freq_factor", "high_freq_factor"
        )
        check_positive(self, "original_length")
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError(
                "`high_freq_factor` must be above `low_freq_factor`. Received: "
                f"{self.high_freq_factor} and {self.low_freq_factor}"
            )


@dataclasses.dataclass(frozen=True)
class LongRopeScaling:
    """A factor for each wavelength, other ones for long sequences.

    Reference: Ding et al., 2024.

    Attributes:
        original_length: Longest sequence in pretraining.
        short_factors: Divisors of the frequencies up to that length.
        long_factors: Divisors for longer sequences.
        attention_factor: Factor on sines and cosines.
    """

    type: ClassVar[str] = "longrope"
    original_length: int
    short_factors: tuple[float, ...]
    long_factors: tuple[float, ...]
    attention_factor: float = 1.0

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "original_length")
        check_positive_number(self, "attention_factor")
        for name in ("short_factors", "long_factors"):
            factors = getattr(self, name)
            if not all(is_finite(f) and f > 0 for f in factors):
                raise ValueError(
                    f"`{name}` must be positive and finite. "
                    f"Received: {factors!r}"
                )


RopeScaling = (
    LinearScaling
    | DynamicScaling
    | YarnScaling
    | Llama3Scaling
    | LongRopeScaling
)


@dataclasses.dataclass(frozen=True)
class RotaryConfig:
    """Queries and keys turned by angles of their positions (Su et al., 2021).

    Pairs of components are (i, i + R / 2). Positions are counted from the
    first real token.

    Attributes:
        rotary_size: Components of a head that turn, the first ones, R.
        theta: Base of the wavelengths.
        scaling: Scaling for sequences longer than in pretraining, or None.
    """

    type: ClassVar[str] = "rotary"
    rotary_size: int
    theta: float = 10000.0
    scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "rotary_size")
        check_positive_number(self, "theta")
        if self.rotary_size % 2:
            raise ValueError(
                f"`rotary_size` must be even. Received: {self.rotary_size}"
            )
        if isinstance(self.scaling, LongRopeScaling):
            sizes = {
                len(self.scaling.short_factors),
                len(self.scaling.long_factors),
            }
            if sizes != {self.rotary_size // 2}:
                raise ValueError(
                    "`short_factors` and `long_factors` must have "
                    f"{self.rotary_size // 2} numbers, half of `rotary_size`. "
                    f"Received: {sorted(sizes)}"
                )

    @property
    def counted_from(self) -> CountedFrom:
        """Token at position 0: the first real one."""
        return "mask"


@dataclasses.dataclass(frozen=True)
class RelativeBiasConfig:
    """A trained bias of each head by distance (Raffel et al., 2020).

    All blocks of a stack share one table.

    Attributes:
        num_heads: Query heads, N.
        num_buckets: Rows of the table: one for each near distance, and
            logarithmic ranges for far ones.
        max_distance: All distances from here on share the last bucket.
        bidirectional: Use half of the buckets for keys after the query.
        initializer_range: Standard deviation of the truncated normal.
    """

    type: ClassVar[str] = "relative_bias"
    num_heads: int
    num_buckets: int = 32
    max_distance: int = 128
    bidirectional: bool = True
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_positive(self, "num_heads", "num_buckets", "max_distance")
        check_spread(self, "initializer_range")
        exact = self.num_buckets // (4 if self.bidirectional else 2)
        if not 0 < exact < self.max_distance:
            raise ValueError(
                "`num_buckets` must leave buckets for far distances below "
                f"`max_distance`={self.max_distance}. Received: "
                f"{self.num_buckets}"
            )

    @property
    def counted_from(self) -> CountedFrom:
        """Token at position 0: any, as only distances count."""
        return "start"


PositionsConfig = (
    LearnedPositionsConfig
    | SinusoidalPositionsConfig
    | RotaryConfig
    | RelativeBiasConfig
)
