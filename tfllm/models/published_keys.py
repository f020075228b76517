"""Keys of a published config.json <-> arguments of a family's `config()`.

`FIELDS` says, once for all families, how an argument is read and where a
TransformerConfig holds it. A family maps each key to an argument and a
default; the table is used in both directions.
"""

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Any

from tfllm.layers.config import Activation
from tfllm.models.config import TransformerConfig
from tfllm.models.published import (
    ACTIVATIONS,
    MAX_LAYERS,
    MAX_ROWS,
    MAX_WIDTH,
    PublishedConfig,
)

# Reads a key of a file. A default of None: it may be missing or null.
Read = Callable[[PublishedConfig, str, Any], Any]


@dataclasses.dataclass(frozen=True)
class Field:
    """An argument of `config()`.

    Attributes:
        read: Reads and checks its value in a file.
        path: Dotted attributes of a TransformerConfig that lead to it.
        write: Returns the published form of the value at `path`.
        shown_by: Path of a variable, and its axis of this size.
    """

    read: Read
    path: str
    write: Callable[[Any], Any] = lambda value: value
    shown_by: tuple[str, int] | None = None


def _count(limit: int) -> Read:
    """Returns a reader of integers from 1 to `limit`."""

    def read(values: PublishedConfig, key: str, default: Any) -> Any:
        if default is None:
            return values.optional_count(key, limit)
        return values.count(key, default, limit)

    return read


def _rate(values: PublishedConfig, key: str, default: Any) -> Any:
    """Reads a number from 0, below 1."""
    if default is None:
        return values.optional_rate(key)
    return values.rate(key, default)


def _limit(values: PublishedConfig, key: str, default: Any) -> Any:
    """Reads a number of tokens; null, 0 and -1 mean no limit."""
    return values.limit(key, MAX_ROWS, default, off=(None, 0, -1))


def activation_field(
    names: dict[str, Activation] = ACTIVATIONS,
    path: str = "block.feed_forward.activation",
) -> Field:
    """Returns the field of an activation.

    Args:
        names: Published name -> ours; of several, the first one is written.
        path: As in Field.
    """
    ours = {name: published for published, name in reversed(names.items())}

    def write(activation: Activation) -> str:
        if activation not in ours:
            raise ValueError(
                "`activation` must have a name in the config.json of its "
                f"family, as have {sorted(ours)}. Received: {activation!r}. "
                "Use one of these, or another family"
            )
        return ours[activation]

    return Field(
        lambda values, key, default: values.activation(key, default, names),
        path,
        write,
    )


width, rows = _count(MAX_WIDTH), _count(MAX_ROWS)
flag = PublishedConfig.flag

_TABLE = "transformer.embeddings"

FIELDS: dict[str, Field] = {
    "vocab_size": Field(
        rows, "vocab_size", shown_by=(f"{_TABLE}.token_table", 0)
    ),
    "hidden_size": Field(
        width,
        "hidden_size",
        shown_by=("transformer.blocks.0.feed_forward.up.kernel", 0),
    ),
    "embedding_size": Field(
        width,
        "embeddings.table_size",
        shown_by=(f"{_TABLE}.token_table", 1),
    ),
    "num_layers": Field(_count(MAX_LAYERS), "num_layers"),
    # For groups of several blocks: how often one is applied.
    "num_group_calls": Field(_count(MAX_LAYERS), "stack.num_group_calls"),
    "num_groups": Field(_count(MAX_LAYERS), "stack.num_groups"),
    "group_size": Field(_count(MAX_LAYERS), "stack.group_size"),
    # Of an encoder-decoder; what follows is of the stack that reads the input.
    "num_decoder_layers": Field(_count(MAX_LAYERS), "decoder.num_layers"),
    "num_heads": Field(width, "block.attention.num_heads"),
    "num_kv_heads": Field(width, "block.attention.kv_heads"),
    "head_dim": Field(width, "block.attention.head_size"),
    "intermediate_size": Field(
        width,
        "block.feed_forward.intermediate_size",
        shown_by=("transformer.blocks.0.feed_forward.up.kernel", 1),
    ),
    "max_position_embeddings": Field(
        rows, "max_length", shown_by=(f"{_TABLE}.positions.table", 0)
    ),
    # For a table with more rows than the longest sequence has tokens.
    "position_rows": Field(
        rows,
        "embeddings.positions.rows",
        shown_by=(f"{_TABLE}.positions.table", 0),
    ),
    # For a table with other rows.
    "longest_sequence": Field(rows, "max_length"),
    "sinusoidal_positions": Field(flag, "embeddings.positions.sinusoidal"),
    "num_segments": Field(
        rows,
        "embeddings.num_segments",
        shown_by=(f"{_TABLE}.segment_table", 0),
    ),
    "activation": activation_field(),
    "dropout": Field(_rate, "block.dropout"),
    "attention_dropout": Field(_rate, "block.attention.dropout"),
    "embedding_dropout": Field(_rate, "embeddings.dropout"),
    "classifier_dropout": Field(_rate, "task_head.dropout"),
    "span_dropout": Field(_rate, "task_head.span_dropout"),
    "summary_dropout": Field(_rate, "task_head.choice_dropout"),
    "pooler_activation": activation_field(path="pooler.activation"),
    "clamp_distance": Field(
        _limit,
        "stack.two_stream.clamp_distance",
        lambda length: -1 if length is None else length,
    ),
    "memory_length": Field(_limit, "stack.two_stream.memory_length"),
    "reuse_length": Field(_limit, "stack.two_stream.reuse_length"),
    "epsilon": Field(PublishedConfig.epsilon, "block.norm.epsilon"),
    "initializer_range": Field(
        PublishedConfig.spread, "embeddings.initializer_range"
    ),
    "scale_scores": Field(
        flag, "block.attention.scale", lambda scale: scale is None
    ),
    "scale_scores_by_layer": Field(flag, "stack.scale_scores_by_layer"),
    "tied": Field(flag, "output_head.tied"),
    "use_bias": Field(flag, "block.attention.use_bias"),
    "affine": Field(flag, "block.norm.affine"),
    "pre_norm": Field(
        flag, "block.norm_placement", lambda placement: placement == "pre"
    ),
    "attention_bias": Field(flag, "block.attention.use_bias"),
    "feed_forward_bias": Field(flag, "block.feed_forward.use_bias"),
    "pad_token_id": Field(PublishedConfig.token_id, "pad_token_id"),
    "bos_token_id": Field(PublishedConfig.token_id, "bos_token_id"),
    # Of several that end a text, the first; generation_config.json has all.
    "eos_token_id": Field(PublishedConfig.first_token_id, "eos_token_id"),
    "decoder_start_token_id": Field(
        PublishedConfig.token_id, "decoder_start_token_id"
    ),
}


@dataclasses.dataclass(frozen=True)
class PublishedKeys:
    """The config.json of a family.

    Attributes:
        model_type: Its `model_type`.
        keys: Published key -> argument of `config()` and the key's default.
            If two keys have one argument, the first that is not null counts.
        fixed: Keys that may have only this value.
        invariants: The same, but these are written too.
        derived: Keys that may have only the value that follows from the
            arguments of `config()`, or null.
        constants: Keys that are written but not read.
        fields: Arguments that `FIELDS` lacks, or holds at another path.
    """

    model_type: str
    keys: Mapping[str, tuple[str, Any]]
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    invariants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    derived: Mapping[str, Callable[[Mapping[str, Any]], Any]] = (
        dataclasses.field(default_factory=dict)
    )
    constants: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fields: Mapping[str, Field] = dataclasses.field(default_factory=dict)

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Returns arguments of `config()`.

        Args:
            values: The object in a config.json; unknown keys are ignored.

        Raises:
            ValueError: A value is out of its range, or the family does not
                support it.
        """
        for key, expected in {**self.fixed, **self.invariants}.items():
            self._check_value(values, key, expected)
        published = PublishedConfig(values)
        arguments: dict[str, Any] = {}
        for key, (name, default) in self.keys.items():
            value = self.field(name).read(published, key, default)
            if arguments.get(name) is None:
                arguments[name] = value
        self._check_heads(arguments)
        for key, expected_from in self.derived.items():
            if values.get(key) is not None:
                self._check_value(values, key, expected_from(arguments))
        return arguments

    def write(self, config: TransformerConfig) -> dict[str, Any]:
        """Returns the config.json of a config.

        Keys of a stack or a head that the config lacks are left out.
        """
        values: dict[str, Any] = {"model_type": self.model_type}
        for key, (name, _) in self.keys.items():
            field = self.field(name)
            part, _, _ = field.path.partition(".")
            if getattr(config, part) is not None or part == field.path:
                value = operator.attrgetter(field.path)(config)
                values[key] = field.write(value)
        return {**values, **self.constants, **self.invariants}

    def field(self, name: str) -> Field:
        """Returns the Field of an argument of `config()`."""
        return self.fields[name] if name in self.fields else FIELDS[name]

    def _check_value(
        self, values: Mapping[str, Any], key: str, expected: Any
    ) -> None:
        """Raises ValueError if a file has another value for a key."""
        if values.get(key, expected) != expected:
            raise ValueError(
                f"`{key}` must be {_json(expected)} in the family "
                f"{self.model_type}. Received: {values[key]!r}"
            )

    def _check_heads(self, arguments: Mapping[str, Any]) -> None:
        """Raises ValueError if the width is no multiple of the heads."""
        size, count = arguments["hidden_size"], arguments["num_heads"]
        if arguments.get("head_dim") is None and size % count:
            key = {name: key for key, (name, _) in self.keys.items()}
            raise ValueError(
                f"`{key['hidden_size']}` must be a multiple of "
                f"`{key['num_heads']}`. Received: {key['hidden_size']}={size}, "
                f"{key['num_heads']}={count}"
            )


def _json(value: Any) -> str:
    """Returns a value as config.json writes it."""
    return str(value).lower() if isinstance(value, bool) else repr(value)
