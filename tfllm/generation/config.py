"""GenerationConfig: decoding options, in the published JSON layout."""

import dataclasses
import difflib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from tfllm.generation.field_types import TokenIds, typed

GENERATION_CONFIG_FILE = "generation_config.json"
# Default of a published file with `do_sample`.
PUBLISHED_TOP_K = 50
# Published fields, with values other than null, 0 or false that do nothing.
_NEUTRAL = {
    "max_length": 20,
    "guidance_scale": 1.0,
    "encoder_repetition_penalty": 1.0,
    "num_assistant_tokens_schedule": "constant",
    "assistant_confidence_threshold": 0.4,
    "assistant_lookbehind": 10,
    "target_lookbehind": 10,
}
# Published fields that do not change the tokens of a decoder.
_WITHOUT_EFFECT = {
    "_from_model_config",
    "_commit_hash",
    "cache_config",
    "cache_implementation",
    "compile_config",
    "disable_compile",
    "low_memory",
    "max_cache_len",
    "output_attentions",
    "output_hidden_states",
    "output_logits",
    "output_scores",
    "prefill_chunk_size",
    "return_dict_in_generate",
    "transformers_version",
    "use_cache",
}


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """Options of decoding: how tokens are chosen, and when to stop.

    The names are those of `generation_config.json`. A field at its default
    does nothing. The help of the generate verb is made of the lines below.

    Attributes:
        max_new_tokens: Largest number of tokens to generate per sequence, at
            least 1.
        min_new_tokens: Number of tokens before which the end of text is not
            chosen.
        do_sample: Draw each token from the distribution of the model, instead
            of taking the most probable one. With several `num_beams`
            candidates are drawn without replacement from the summed scores of
            the beams, as in Transformers.
        num_beams: Number of sequences that beam search follows at a time; 1
            for no beam search.
        num_beam_groups: Number of separate groups of beams (diverse beam
            search, Vijayakumar et al., 2018); `num_beams` must be a multiple
            of it.
        diversity_penalty: Number subtracted from the score of a token for each
            beam of an earlier group that chose it in the same step; at least
            0. Needs several `num_beam_groups`.
        length_penalty: Exponent of the length that divides the score of a
            beam: above 0 favours long sequences, below 0 short ones. Needs
            several `num_beams`.
        early_stopping: When beam search ends: true as soon as `num_beams`
            sequences are finished, false when better ones are unlikely,
            "never" when no better one is possible.
        penalty_alpha: Weight, from 0 to 1, of the degeneration penalty of
            contrastive search over the `top_k` most probable tokens (Su et
            al., 2022); 0 for no contrastive search.
        temperature: Divisor of the logits before a draw: below 1 makes
            probable tokens more probable, above 1 less. Needs `do_sample`.
        top_k: Number of the most probable tokens to keep; 0 for all of them.
            Needs `do_sample` or `penalty_alpha`.
        top_p: Keep the fewest tokens whose probabilities add up to this
            (nucleus sampling, Holtzman et al., 2020); above 0 and at most 1,
            which keeps all. Needs `do_sample`.
        min_p: Drop tokens below this share of the largest probability (Nguyen
            et al., 2024); from 0 to 1. Needs `do_sample`.
        typical_p: Keep the tokens whose information is nearest to the entropy
            until their probabilities add up to this (Meister et al., 2023);
            above 0 and at most 1, which keeps all. Needs `do_sample`.
        repetition_penalty: Divisor of the positive logits, and factor of the
            negative ones, of tokens that occurred in the prompt or the
            continuation; above 1 reduces repetition (Keskar et al., 2019).
        no_repeat_ngram_size: Size of the n-grams of tokens that must not occur
            twice; 0 for no such rule.
        presence_penalty: Number subtracted once from the logit of each token
            that has been generated.
        frequency_penalty: Number subtracted from the logit of a token for each
            time that it has been generated.
        bad_words_ids: Sequences of token ids that must not be generated; a
            single `eos_token_id` is ignored, as in Transformers.
        suppress_tokens: Token ids that are never chosen.
        begin_suppress_tokens: Token ids that are not chosen as the first new
            token.
        forced_bos_token_id: Token id that follows a prompt of one token.
        forced_eos_token_id: Token id that is chosen when `max_new_tokens` are
            reached.
        decoder_start_token_id: Token id that the decoder of an encoder-decoder
            reads first; without it that of the model's config.
        bos_token_id: Token id that replaces an empty prompt.
        eos_token_id: Token ids that end a sequence: one or several.
        pad_token_id: Token id that pads shorter sequences; without it the
            first `eos_token_id` does.
        stop_strings: Texts that end a sequence as soon as it holds one.
        num_return_sequences: Number of sequences per prompt; with several
            `num_beams`, or without `do_sample`, at most `num_beams`.
        num_assistant_tokens: Number of tokens that a draft model proposes at a
            time, at least 1.
        seed: Seed of the draws. The random numbers of a row depend on the
            seed, the number of the row and the step; with a draft they also
            depend on the other rows.
    """

    max_new_tokens: int = 20
    min_new_tokens: int = 0
    do_sample: bool = False
    num_beams: int = 1
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    penalty_alpha: float = 0.0
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    bad_words_ids: tuple[TokenIds, ...] = ()
    suppress_tokens: TokenIds = ()
    begin_suppress_tokens: TokenIds = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: int | None = None
    decoder_start_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: TokenIds = ()
    pad_token_id: int | None = None
    stop_strings: tuple[str, ...] = ()
    num_return_sequences: int = 1
    num_assistant_tokens: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Converts and validates the fields."""
        for field in dataclasses.fields(self):
            value = typed(field.name, field.type, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        self._check_ranges()
        self._check_agreement()

    def _check_ranges(self) -> None:
        """Raises ValueError for a field outside its range."""
        for name, least in (
            ("max_new_tokens", 1),
            ("min_new_tokens", 0),
            ("num_beams", 1),
            ("num_beam_groups", 1),
            ("top_k", 0),
            ("no_repeat_ngram_size", 0),
            ("num_return_sequences", 1),
            ("num_assistant_tokens", 1),
        ):
            value = getattr(self, name)
            if not least <= value < 2**31:
                limit = (
                    f"at least {least}" if value < least else "below 2 ** 31"
                )
                raise ValueError(
                    f"`{name}` must be an integer of {limit}. "
                    f"Received: {value!r}"
                )
        for name, low, high in (
            ("temperature", 0.0, math.inf),
            ("repetition_penalty", 0.0, math.inf),
            ("top_p", 0.0, 1.0),
            ("typical_p", 0.0, 1.0),
        ):
            value = getattr(self, name)
            if not low < value <= high:
                raise ValueError(
                    f"`{name}` must be above {low:g}"
                    + ("" if math.isinf(high) else f" and at most {high:g}")
                    + f". Received: {value!r}"
                    + (
                        "; greedy search is do_sample=False"
                        if name == "temperature" and not value
                        else ""
                    )
                )
        if not -(2**63) <= self.seed < 2**63:
            raise ValueError(
                f"`seed` must be a signed 64-bit integer. Received: {self.seed}"
            )
        for name in ("min_p", "penalty_alpha"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(
                    f"`{name}` must be from 0 to 1. "
                    f"Received: {getattr(self, name)!r}"
                )
        if self.diversity_penalty < 0.0:
            raise ValueError(
                "`diversity_penalty` must be at least 0. "
                f"Received: {self.diversity_penalty!r}"
            )
        for name, ids in self._ids():
            if min(ids, default=0) < 0:
                raise ValueError(
                    f"`{name}` must not be below 0. Received: {min(ids)}"
                )
        if any(not word for word in (*self.bad_words_ids, *self.stop_strings)):
            raise ValueError(
                "`bad_words_ids` and `stop_strings` must not contain empty "
                "entries. Received: an empty one"
            )

    def _check_agreement(self) -> None:
        """Raises ValueError for fields that contradict each other."""
        defaults = {f.name: f.default for f in dataclasses.fields(self)}

        def needs(condition: bool, reason: str, *names: str) -> None:
            for name in names:
                value = getattr(self, name)
                if not condition and value != defaults[name]:
                    raise ValueError(
                        f"`{name}` needs {reason}. Received: {name}={value!r}"
                    )

        sampling = "`do_sample`"
        needs(self.do_sample, sampling, "temperature", "top_p", "min_p")
        needs(self.do_sample, sampling, "typical_p")
        needs(
            self.do_sample or self.penalty_alpha > 0.0,
            "`do_sample` or `penalty_alpha`",
            "top_k",
        )
        needs(
            self.num_beams > 1,
            "`num_beams` above 1",
            "num_beam_groups",
            "length_penalty",
            "early_stopping",
        )
        needs(
            self.num_beam_groups > 1,
            "`num_beam_groups` above 1",
            "diversity_penalty",
        )
        if self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                "`min_new_tokens` must not be above `max_new_tokens`, "
                f"{self.max_new_tokens}. Received: {self.min_new_tokens}"
            )
        if self.num_beams % self.num_beam_groups:
            raise ValueError(
                "`num_beams` must be a multiple of `num_beam_groups`, "
                f"{self.num_beam_groups}. Received: {self.num_beams}"
            )
        if self.num_beams > 1 and self.penalty_alpha:
            raise ValueError(
                "`num_beams` above 1 does not go with `penalty_alpha`. "
                f"Received: num_beams={self.num_beams}"
            )
        if self.num_beam_groups > 1 and self.do_sample:
            raise ValueError(
                "`num_beam_groups` above 1 does not go with `do_sample`. "
                f"Received: num_beam_groups={self.num_beam_groups}"
            )
        first = {*self.suppress_tokens, *self.begin_suppress_tokens}
        last = first if self.max_new_tokens == 1 else {*self.suppress_tokens}
        for name, banned in (
            ("forced_bos_token_id", first),
            ("forced_eos_token_id", last),
        ):
            if getattr(self, name) in banned:
                raise ValueError(
                    f"`{name}` must not be suppressed as well. "
                    f"Received: {getattr(self, name)}"
                )
        if self.penalty_alpha and (self.do_sample or self.top_k < 2):
            raise ValueError(
                "`penalty_alpha` needs `top_k` above 1 and no `do_sample`. "
                f"Received: top_k={self.top_k}, do_sample={self.do_sample}"
            )
        alone = self.do_sample and self.num_beams == 1
        if not alone and self.num_return_sequences > self.num_beams:
            raise ValueError(
                "`num_return_sequences` must be at most `num_beams`, unless "
                "single sequences are drawn with `do_sample`. Received: "
                f"{self.num_return_sequences} with num_beams={self.num_beams}"
            )

    def check_vocabulary(self, vocab_size: int) -> None:
        """Checks the ids against the vocabulary of a model.

        Args:
            vocab_size: Size of the vocabulary.

        Raises:
            ValueError: An id is outside, or every token is forbidden.
        """
        for name, ids in self._ids():
            if max(ids, default=0) >= vocab_size:
                raise ValueError(
                    f"`{name}` must be below {vocab_size}, the model's "
                    f"vocabulary. Received: {max(ids)}"
                )
        banned = {*self.suppress_tokens, *self.begin_suppress_tokens}
        banned |= {word[0] for word in self.bad_words_ids if len(word) == 1}
        if self.min_new_tokens:
            banned |= {*self.eos_token_id}
        if len(banned) == vocab_size:
            raise ValueError(
                "`suppress_tokens`, `begin_suppress_tokens` and "
                "`bad_words_ids` must leave a token to choose. Received: all "
                f"{vocab_size} of the model's vocabulary"
            )

    def _ids(self) -> Iterator[tuple[str, TokenIds]]:
        """Yields (field, ids) of the fields that hold ids."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.type == TokenIds:
                yield field.name, value
            elif field.type == int | None and value is not None:
                yield field.name, (value,)
        yield (
            "bad_words_ids",
            tuple(itertools.chain.from_iterable(self.bad_words_ids)),
        )

    @property
    def pad_id(self) -> int:
        """Id of padding."""
        if self.pad_token_id is not None:
            return self.pad_token_id
        return self.eos_token_id[0] if self.eos_token_id else 0

    def replace(self, **changes: Any) -> "GenerationConfig":
        """Returns the config with some fields changed.

        Args:
            **changes: New values by field.

        Raises:
            ValueError: A field is unknown or its value is wrong.
        """
        _check_names(changes)
        return dataclasses.replace(self, **changes)

    def for_call(self, **changes: Any) -> "GenerationConfig":
        """Returns the config with the fields of a call changed.

        If the call chooses a strategy (sampling, beams or contrastive search),
        the strategy of this config does not count.

        Args:
            **changes: New values by field.

        Raises:
            ValueError: A field is unknown or its value is wrong, or fields of
                the call contradict each other.
        """
        _check_names(changes)
        fields = dataclasses.fields(self)
        merged = {f.name: getattr(self, f.name) for f in fields} | changes
        defaults = {f.name: f.default for f in fields}
        strategies = ("do_sample", "num_beams", "penalty_alpha")
        if any(changes.get(n, defaults[n]) != defaults[n] for n in strategies):
            merged |= {n: defaults[n] for n in strategies if n not in changes}
        idle = _idle(merged).difference(changes)
        return GenerationConfig(**{**merged, **{n: defaults[n] for n in idle}})

    def to_json(self) -> str:
        """Returns the contents of generation_config.json, without defaults.

        With `do_sample` it always has `top_k`: its default in Transformers is
        50.
        """
        values = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if getattr(self, f.name) != f.default
        }
        if self.do_sample:
            values["top_k"] = self.top_k
        ends = values.get("eos_token_id", ())
        if len(ends) == 1:
            values["eos_token_id"] = ends[0]
        return json.dumps(values, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_published(cls, values: dict[str, Any]) -> "GenerationConfig":
        """Returns the config of a generation_config.json.

        Null means the default, and a list of one id this id. With `do_sample`
        a missing `top_k` is 50, as in Transformers. Fields that tfllm does not
        have are left out (see `left_out`), as are options of a strategy that
        is off: published files have a temperature or `top_k` without
        `do_sample`.

        Args:
            values: Contents of the file.

        Raises:
            ValueError: A field has a wrong value.
        """
        known = {
            field.name: values[field.name]
            for field in dataclasses.fields(cls)
            if values.get(field.name) is not None
        }
        for field in dataclasses.fields(cls):
            value = known.get(field.name)
            if field.type == int | None and isinstance(value, list):
                known[field.name] = value[0] if len(value) == 1 else value
            if field.name in known:
                # Fields that are left out below are checked as well.
                typed(field.name, field.type, known[field.name])
        if known.get("do_sample"):
            known.setdefault("top_k", PUBLISHED_TOP_K)
        idle = _idle(known)
        return cls(**{k: v for k, v in known.items() if k not in idle})


def with_new_lengths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns published values with lengths that count new tokens alone.

    `max_length` and `min_length` of an encoder-decoder count the token that
    the decoder starts with. `max_new_tokens` and `min_new_tokens` win.

    Args:
        values: Contents of a generation_config.json.
    """
    values = dict(values)
    for old, new, least in (
        ("max_length", "max_new_tokens", 1),
        ("min_length", "min_new_tokens", 0),
    ):
        length = values.pop(old, None)
        if length and values.get(new) is None:
            values[new] = max(typed(old, int, length) - 1, least)
    return values


def left_out(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields that change the tokens and that tfllm does not have.

    Fields at null or a neutral value do not count, nor do those about the form
    or the computation of results.

    Args:
        values: Contents of a generation_config.json.
    """
    known = {field.name for field in dataclasses.fields(GenerationConfig)}
    return {
        name: value
        for name, value in values.items()
        if name not in known | _WITHOUT_EFFECT
        and value
        and value != _NEUTRAL.get(name)
    }


def _check_names(options: Iterable[str]) -> None:
    """Raises ValueError for an unknown option, with the nearest name."""
    names = [field.name for field in dataclasses.fields(GenerationConfig)]
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.0)[0]
            raise ValueError(
                f"generation has no option `{name}`. Did you mean `{near}`?"
            )


def _idle(values: Mapping[str, Any]) -> set[str]:
    """Returns the fields of strategies that are off."""
    idle = set()
    if not values.get("do_sample"):
        idle |= {"temperature", "top_p", "min_p", "typical_p"}
        if not values.get("penalty_alpha"):
            idle.add("top_k")
    if values.get("num_beams", 1) == 1:
        idle |= {"length_penalty", "early_stopping"}
    return idle
