"""Settings that turn running text into batches of causal language models.

They need no TensorFlow, as flags are made of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfllm.data.corpus.sources import DOCUMENT_PER, FilesConfig
from tfllm.data.positive import check_positive

TASK = "causal_lm"


@dataclass(frozen=True)
class CausalDataConfig:
    """Settings that turn a stream of tokens into batches.

    Args:
        seq_length: Tokens per row, T.
        batch_size: Rows per global batch, B.
        document_per: What a document is; see `open_stream`.
        isolate_documents: Tokens attend only to their own document, and
            positions restart in each document.
        stride: Tokens from one evaluation row to the next; None means
            `seq_length`. Smaller strides give each token more context, at
            least `seq_length - stride`; each is still predicted once.
        seed: Seed of the order.
        units_per_group: Units of 256 rows that are shuffled together.
    """

    seq_length: int = 128
    batch_size: int = 32
    document_per: str = FilesConfig.document_per
    isolate_documents: bool = False
    stride: int | None = None
    seed: int = 0
    units_per_group: int = 32

    def __post_init__(self) -> None:
        """Checks the values."""
        check_positive(self, "seq_length", "batch_size", "units_per_group")
        if self.document_per not in DOCUMENT_PER:
            raise ValueError(
                f"`document_per` must be one of {', '.join(DOCUMENT_PER)}. "
                f"Received: {self.document_per!r}."
            )
        if not 1 <= self.step <= self.seq_length:
            raise ValueError(
                "`stride` must be from 1 to `seq_length`, "
                f"{self.seq_length}. Received: {self.stride}."
            )

    @property
    def step(self) -> int:
        """Tokens from one evaluation row to the next."""
        return self.seq_length if self.stride is None else self.stride


def data_config(flags: Mapping[str, Any]) -> CausalDataConfig:
    """Returns the data config for the flags of a run.

    Args:
        flags: Flags of the train verb by name.
    """
    return CausalDataConfig(
        seq_length=flags["seq_length"],
        batch_size=flags["batch_size"],
        document_per=flags["document_per"],
        isolate_documents=flags["isolate_documents"],
        stride=flags["eval_stride"] or None,
        seed=flags["seed"],
    )
