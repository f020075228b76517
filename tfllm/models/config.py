"""Settings of a whole model: its stacks and its heads."""

import dataclasses
from typing import Any, Literal

from tfllm.layers.config import BlockConfig, EmbeddingConfig
from tfllm.layers.fields import (
    check_optional_positive,
    from_dict,
    to_dict,
)
from tfllm.layers.heads import (
    DetectionHeadConfig,
    MaskedLMHeadConfig,
    PoolerConfig,
    TaskHeadConfig,
)
from tfllm.layers.output_head import OutputHeadConfig
from tfllm.layers.position_config import LearnedPositionsConfig
from tfllm.models.stack_config import StackConfig

Kind = Literal["encoder", "decoder", "encoder_decoder"]
PairObjective = Literal["nsp", "sop", "none"]


@dataclasses.dataclass(frozen=True)
class TransformerConfig:
    """An encoder stack, a decoder stack, or both, and the heads.

    Attributes:
        family: Name in `tfllm.models.FAMILIES`.
        encoder: Bidirectional stack, or None.
        decoder: Causal stack, or None. With an encoder, its blocks have
            `cross_attention`.
        share_embeddings: The decoder uses the token table of the encoder.
        max_length: Longest sequence, or None if there is no limit.
        pooler: Head that gives one vector for a sequence, or None.
        masked_lm_head: Head that predicts masked tokens, or None.
        detection_head: Head that detects replaced tokens, or None.
        output_head: Head that predicts the next token, or None.
        task_head: Heads of fine-tuning.
        pair_objective: Pretraining objective on two texts: "nsp" (next
            sentence), "sop" (sentence order), or "none".
        pad_token_id: Id of the padding token.
        bos_token_id: Id of the token that opens a text, or None.
        eos_token_id: Id of the token that ends a text, or None.
        decoder_start_token_id: First id that the decoder of an
            encoder-decoder reads, or None.
    """

    family: str
    encoder: StackConfig | None = None
    decoder: StackConfig | None = None
    share_embeddings: bool = True
    max_length: int | None = None
    pooler: PoolerConfig | None = None
    masked_lm_head: MaskedLMHeadConfig | None = None
    detection_head: DetectionHeadConfig | None = None
    output_head: OutputHeadConfig | None = None
    task_head: TaskHeadConfig = TaskHeadConfig()
    pair_objective: PairObjective = "none"
    pad_token_id: int = 0
    bos_token_id: int | None = None
    eos_token_id: int | None = None
    decoder_start_token_id: int | None = None

    def __post_init__(self) -> None:
        """Validates the fields."""
        check_optional_positive(self, "max_length")
        self._check_stacks()
        for name in (
            "pad_token_id",
            "bos_token_id",
            "eos_token_id",
            "decoder_start_token_id",
        ):
            value = getattr(self, name)
            # The decoder may have a vocabulary of its own.
            stack = self.stacks[-1 if name.startswith("decoder") else 0]
            size = stack.embeddings.vocab_size
            if value is not None and not 0 <= value < size:
                raise ValueError(
                    f"`{name}` must be an id of the vocabulary of "
                    f"{size}. Received: {value}"
                )
        for stack in self.stacks:
            positions = stack.embeddings.positions
            if not isinstance(positions, LearnedPositionsConfig):
                continue
            room = positions.rows - positions.offset
            if self.max_length is None or self.max_length > room:
                raise ValueError(
                    "`max_length` must be at most the positions learned, "
                    f"{room}. Received: {self.max_length}"
                )

    def _check_stacks(self) -> None:
        """Raises ValueError if the stacks do not form a model."""
        if not self.stacks:
            raise ValueError(
                "`encoder` or `decoder` must be given. Received: neither"
            )
        if self.encoder is not None and self.encoder.is_causal:
            raise ValueError(
                "`encoder` must not be causal: give such a stack as "
                "`decoder`. Received: `block.attention.causal` true"
            )
        if self.decoder is None:
            return
        if not self.decoder.is_causal:
            raise ValueError(
                "`decoder` must be causal. Received: "
                "`block.attention.causal` false"
            )
        if self.encoder is not None and self.encoder.final_projection:
            raise ValueError(
                "`encoder.final_projection` must be None beside a `decoder`, "
                "which reads vectors of `hidden_size`. Received: "
                f"{self.encoder.final_projection}"
            )
        has_cross = self.decoder.block.cross_attention is not None
        if self.encoder is not None and not has_cross:
            raise ValueError(
                "`decoder` beside an `encoder` must have a "
                "`block.cross_attention`. Received: none"
            )

    @property
    def stacks(self) -> tuple[StackConfig, ...]:
        """The encoder, the decoder, or both in this order."""
        return tuple(s for s in (self.encoder, self.decoder) if s is not None)

    @property
    def stack(self) -> StackConfig:
        """The stack that reads the input: the encoder if there is one."""
        return self.stacks[0]

    @property
    def kind(self) -> Kind:
        """Kind of the model: an encoder, a decoder, or both."""
        if self.decoder is None:
            return "encoder"
        return "decoder" if self.encoder is None else "encoder_decoder"

    @property
    def generates(self) -> bool:
        """Whether the model generates text, token by token."""
        return self.decoder is not None

    @property
    def reads_both_sides(self) -> bool:
        """Whether tokens of the input attend to later ones."""
        return self.encoder is not None

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states in the blocks, D."""
        return self.stacks[-1].hidden_size

    @property
    def output_size(self) -> int:
        """Width of the output of the last stack, which the heads read."""
        return self.stacks[-1].output_size

    @property
    def num_layers(self) -> int:
        """Number of layers of the stack that reads the input."""
        return self.stack.num_layers

    @property
    def embeddings(self) -> EmbeddingConfig:
        """Embeddings of the stack that reads the input."""
        return self.stack.embeddings

    @property
    def block(self) -> BlockConfig:
        """Block config of the stack that reads the input."""
        return self.stack.block

    @property
    def vocab_size(self) -> int:
        """Rows of the token table, V."""
        return self.embeddings.vocab_size

    @property
    def num_segments(self) -> int | None:
        """Number of segment ids; None if any do, as they are only compared."""
        if self.stack.two_stream is not None:
            return None
        return self.embeddings.num_segments

    def only(self, part: Literal["encoder", "decoder"]) -> "TransformerConfig":
        """Returns the config with the encoder or the decoder alone."""
        replace = dataclasses.replace
        if part == "encoder":
            return replace(
                self,
                decoder=None,
                output_head=None,
                decoder_start_token_id=None,
            )
        assert self.decoder is not None
        embeddings = replace(
            self.decoder.embeddings, has_token_table=not self.share_embeddings
        )
        return replace(
            self,
            encoder=None,
            decoder=replace(self.decoder, embeddings=embeddings),
        )

    def with_dropout(self, rate: float) -> "TransformerConfig":
        """Returns the config with one rate for every dropout."""
        return dataclasses.replace(
            self._with_stacks("with_dropout", rate),
            task_head=self.task_head.with_dropout(rate),
        )

    def with_initializer_range(self, spread: float) -> "TransformerConfig":
        """Returns the config with another standard deviation of new weights.

        Deviations of a layer that differ from the common one keep their
        ratio to it.
        """
        factor = spread / self.embeddings.initializer_range

        def scaled(values: dict[str, Any]) -> dict[str, Any]:
            return {
                name: scaled(value)
                if isinstance(value, dict)
                else value * factor
                if name.endswith("initializer_range") and value is not None
                else value
                for name, value in values.items()
            }

        return self.from_dict(scaled(self.to_dict()))

    def with_max_length(self, length: int) -> "TransformerConfig":
        """Returns the config with another longest sequence."""
        # The limit must fit both the old tables and the new ones meanwhile.
        shorter = min(length, self.max_length or length)
        config = dataclasses.replace(self, max_length=shorter)
        config = config._with_stacks("with_max_length", length)
        return dataclasses.replace(config, max_length=length)

    def with_vocab_size(self, size: int) -> "TransformerConfig":
        """Returns the config with tables and heads for another vocabulary."""
        replace = dataclasses.replace
        masked, output = self.masked_lm_head, self.output_head
        return replace(
            self._with_stacks("with_vocab_size", size),
            masked_lm_head=masked and replace(masked, vocab_size=size),
            output_head=output and replace(output, vocab_size=size),
        )

    def _with_stacks(self, method: str, value: Any) -> "TransformerConfig":
        """Returns the config with a method called on every stack."""
        encoder, decoder = (
            stack and getattr(stack, method)(value)
            for stack in (self.encoder, self.decoder)
        )
        return dataclasses.replace(self, encoder=encoder, decoder=decoder)

    def to_dict(self) -> dict[str, Any]:
        """Returns nested plain dicts, ready for JSON."""
        return to_dict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TransformerConfig":
        """Builds the config from what `to_dict` returned."""
        return from_dict(cls, values)
