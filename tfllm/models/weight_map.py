"""Weight maps: which published tensor is which variable of a model."""

import dataclasses
from typing import Literal, Protocol

import numpy as np

from tfllm.layers.config import AttentionConfig
from tfllm.models.config import TransformerConfig
from tfllm.models.stack_config import StackConfig

Transform = Literal["copy", "transpose", "row"]


@dataclasses.dataclass(frozen=True)
class Weight:
    """A published tensor and the variable that holds it here.

    Attributes:
        published: Name in the family's safetensors files.
        path: Dotted attributes from the model to the variable.
        transform: "transpose" if the published matrix is (out, in), "row" if
            the published vector has an axis of one before it.
        columns: (start, stop) on the last axis of the variable, if it holds
            several published tensors side by side; None for all of it.
        optional: Files may lack the tensor, which is then zero.
    """

    published: str
    path: str
    transform: Transform = "copy"
    columns: tuple[int, int] | None = None
    optional: bool = False


class TensorSource(Protocol):
    """Tensors by published name, read one at a time."""

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every tensor, without reading it."""
        ...

    def read(self, name: str) -> np.ndarray:
        """Returns one tensor as float32."""
        ...


def dense_weights(
    published: str,
    path: str,
    transform: Transform = "transpose",
    columns: tuple[int, int] | None = None,
    bias: bool = True,
) -> list[Weight]:
    """Returns the weights of a dense layer.

    Args:
        published: Published name of the layer.
        path: Path of the layer here.
        transform: Transform of the matrix; torch's Linear is (out, in).
        columns: Columns of matrix and bias; see `Weight`.
        bias: Whether the layer has a bias.
    """
    kernel = Weight(f"{published}.weight", f"{path}.kernel", transform, columns)
    if not bias:
        return [kernel]
    return [
        kernel,
        Weight(f"{published}.bias", f"{path}.bias", "copy", columns),
    ]


def stack_paths(config: TransformerConfig) -> dict[str, str]:
    """Returns the paths of the stacks by "encoder" and "decoder".

    Args:
        config: Of a model with one stack or with both.
    """
    names = [n for n in ("encoder", "decoder") if getattr(config, n)]
    if len(names) == 1:
        return {names[0]: "transformer"}
    return {name: f"transformer.{name}" for name in names}


class WeightTable:
    """The rows of a family's table, added part by part.

    `table.part("bert.embeddings", "transformer.embeddings")` adds to the same
    rows, with these prefixes before all names.

    Args:
        published: Prefix of published names.
        path: Prefix of paths.
        rows: List to add rows to; None for a new one.

    Attributes:
        rows: All rows so far.
    """

    def __init__(
        self,
        published: str = "",
        path: str = "",
        rows: list[Weight] | None = None,
    ) -> None:
        self._published, self._path = published, path
        self.rows: list[Weight] = [] if rows is None else rows

    def part(self, published: str, path: str) -> "WeightTable":
        """Returns a table of the same rows, with these prefixes."""
        return WeightTable(f"{published}.", f"{path}.", self.rows)

    def blocks(
        self, published: str, stack: StackConfig, path: str = "transformer"
    ) -> list["WeightTable"]:
        """Returns a part for each block of a stack.

        Args:
            published: Published prefix of the blocks, without their number.
            stack: The stack.
            path: Path of the stack; see `stack_paths`.
        """
        return [
            self.part(f"{published}.{i}", f"{path}.blocks.{i}")
            for i in range(stack.num_blocks)
        ]

    def tensor(self, published: str, path: str) -> None:
        """Adds a tensor that has the same layout on both sides."""
        self.rows.append(Weight(self._published + published, self._path + path))

    def row(self, published: str, path: str) -> None:
        """Adds a vector with an axis of one before it, zero if missing."""
        self.rows.append(
            Weight(
                self._published + published,
                self._path + path,
                "row",
                optional=True,
            )
        )

    def norm(self, published: str, path: str, bias: bool = True) -> None:
        """Adds a normalization; RMSNorm has no `bias`."""
        self.tensor(f"{published}.weight", f"{path}.scale")
        if bias:
            self.tensor(f"{published}.bias", f"{path}.bias")

    def dense(
        self,
        published: str,
        path: str,
        transform: Transform = "transpose",
        columns: tuple[int, int] | None = None,
        bias: bool = True,
    ) -> None:
        """Adds a dense layer; see `dense_weights`."""
        self.rows += dense_weights(
            self._published + published,
            self._path + path,
            transform,
            columns,
            bias,
        )

    def attention(
        self,
        config: AttentionConfig,
        published: str,
        names: tuple[str, str, str, str],
        path: str = "attention",
    ) -> None:
        """Adds an attention with separate published projections.

        Args:
            config: Config of the attention.
            published: Prefix of the four names, with its dot.
            names: Names of the layers for queries, keys, values and output.
            path: Path of the attention here.
        """
        counts = (config.num_heads, config.kv_heads, config.kv_heads)
        start = 0
        for name, count in zip(names, counts, strict=False):
            stop = start + count * config.head_size
            self.dense(
                published + name,
                f"{path}.qkv",
                columns=(start, stop),
                bias=config.use_bias,
            )
            start = stop
        self.dense(
            published + names[-1],
            f"{path}.output_projection",
            bias=config.has_output_bias,
        )

    def output_table(self, config: TransformerConfig) -> None:
        """Adds the table of an output head that has its own."""
        if config.output_head is not None and not config.output_head.tied:
            self.tensor("lm_head.weight", "lm_head.table")

    def heads(
        self,
        sequence: str = "classifier",
        token: str = "classifier",
        choice: str = "classifier",
        span: str = "qa_outputs",
        sequence_bias: bool = True,
    ) -> None:
        """Adds the heads of labelled tasks.

        Args:
            sequence: Published name of the head for labels of a sequence, or
                "" if the family has none.
            token: Name of the head for labels of tokens, or "".
            choice: Name of the head for choices, or "".
            span: Name of the head for spans, or "".
            sequence_bias: Whether the head for a sequence has a bias.
        """
        if sequence:
            self.dense(sequence, "sequence_classifier", bias=sequence_bias)
        for name, path in (
            (token, "token_classifier"),
            (choice, "choice_classifier"),
            (span, "span_classifier"),
        ):
            if name:
                self.dense(name, path)
