"""What to generate: one validated config, in the published JSON layout."""

import dataclasses
import difflib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from tfllm.generation.field_types import TokenIds, typed

GENERATION_CONFIG_FILE = "generation_config.json"
# Of a published file that samples and does not say.
PUBLISHED_TOP_K = 50


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
    """How tokens are chosen, and when to stop.

    The names are those of `generation_config.json`. A field at its default
    does nothing.

    Attributes:
        max_new_tokens: Tokens to generate at most, per sequence.
        min_new_tokens: The end of text is not chosen before.
        do_sample: Draw from the distribution, instead of taking the most
            probable token.
        num_beams: Sequences that beam search follows; 1 for none.
        num_beam_groups: Groups of beams that are kept apart (diverse beam
            search, Vijayakumar et al., 2018).
        diversity_penalty: Taken off the score of a token for each beam of
            an earlier group that chose it in the same step.
        length_penalty: Beam scores are divided by length ** it.
        early_stopping: True stops at `num_beams` finished sequences, False
            when no better ones seem likely, "never" when none can follow.
        penalty_alpha: Weight of the degeneration penalty of contrastive
            search over the `top_k` best tokens (Su et al., 2022); 0 for
            none.
        temperature: Logits are divided by it.
        top_k: Keep the k most probable tokens; 0 for all.
        top_p: Keep the fewest tokens that have this probability together
            (Holtzman et al., 2020).
        min_p: Drop tokens less probable than this share of the best one
            (Nguyen et al., 2024).
        typical_p: Keep the tokens whose information is nearest to the
            entropy, up to this probability (Meister et al., 2023).
        repetition_penalty: Divides positive scores of tokens that occurred,
            and multiplies negative ones (Keskar et al., 2019).
        no_repeat_ngram_size: No n-gram of this size occurs twice; 0 for any.
        presence_penalty: Taken off the logit of a generated token, once.
        frequency_penalty: Taken off for each time that it was generated.
        bad_words_ids: Sequences that must not occur; an `eos_token_id` alone
            is none of them, as in Transformers.
        suppress_tokens: Tokens that are never chosen.
        begin_suppress_tokens: Tokens that are not chosen first.
        forced_bos_token_id: Follows a prompt of one token.
        forced_eos_token_id: Is chosen when `max_new_tokens` are reached.
        bos_token_id: Stands for an empty prompt.
        eos_token_id: Ends a sequence: an id, or several.
        pad_token_id: Fills up; None means the first `eos_token_id`.
        stop_strings: Texts that end a sequence once they are in its bytes.
        num_return_sequences: Sequences per prompt.
        num_assistant_tokens: Tokens that a draft model proposes at a time.
        seed: Of the draws. The random numbers of a row are those of the seed,
            the row's number and the step. With a draft they are others, and
            which are used depends on the rows beside it.
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
    bos_token_id: int | None = None
    eos_token_id: TokenIds = ()
    pad_token_id: int | None = None
    stop_strings: tuple[str, ...] = ()
    num_return_sequences: int = 1
    num_assistant_tokens: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        """Brings lists into one form; refuses what cannot be meant."""
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
                "`seed` must fit into 64 bits with a sign. "
                f"Received: {self.seed}"
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
                "`bad_words_ids` and `stop_strings` must not hold empty "
                "ones. Received: an empty one"
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
        if self.num_beams > 1 and (self.do_sample or self.penalty_alpha):
            raise ValueError(
                "`num_beams` above 1 goes with neither `do_sample` nor "
                f"`penalty_alpha`. Received: num_beams={self.num_beams}"
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
        several = self.num_beams if self.num_beams > 1 else 1
        if not self.do_sample and self.num_return_sequences > several:
            raise ValueError(
                "`num_return_sequences` must be at most `num_beams` unless "
                "`do_sample` is set: the others would be equal. Received: "
                f"{self.num_return_sequences} with num_beams={self.num_beams}"
            )

    def check_vocabulary(self, vocab_size: int) -> None:
        """Checks the ids against a model's vocabulary.

        Raises:
            ValueError: One is outside, or no token is left to choose.
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
        """Yields the fields that hold ids, and these."""
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
        """Id that fills up."""
        if self.pad_token_id is not None:
            return self.pad_token_id
        return self.eos_token_id[0] if self.eos_token_id else 0

    def replace(self, **changes: Any) -> "GenerationConfig":
        """Returns the config with some fields changed.

        Raises:
            ValueError: There is no such field, with the nearest name.
        """
        _check_names(changes)
        return dataclasses.replace(self, **changes)

    def for_call(self, **changes: Any) -> "GenerationConfig":
        """Returns the config with the fields of a call changed.

        What this config says of a strategy gives way where the call chooses
        another: sampling, several beams or contrastive search.

        Raises:
            ValueError: See `replace`; or fields of the call contradict each
                other.
        """
        _check_names(changes)
        fields = dataclasses.fields(self)
        given = {f.name: getattr(self, f.name) for f in fields} | changes
        own = {f.name: f.default for f in fields}
        strategies = ("do_sample", "num_beams", "penalty_alpha")
        if any(changes.get(n, own[n]) != own[n] for n in strategies):
            given |= {n: own[n] for n in strategies if n not in changes}
        idle = _idle(given).difference(changes)
        return GenerationConfig(**{**given, **{n: own[n] for n in idle}})

    def to_json(self) -> str:
        """Returns what generation_config.json holds: all but defaults.

        With `do_sample` also a `top_k` of 0: where it is missing, Transformers
        keeps 50.
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
        """Returns the config that a generation_config.json describes.

        Null means the default, and a list of one id this id. With `do_sample`
        a missing `top_k` is 50, as in Transformers. Fields that tfllm does not
        have are left out, as are settings of a strategy that is not chosen:
        published files hold a temperature or `top_k` without `do_sample`.

        Raises:
            ValueError: A field has an impossible value.
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
        if known.get("do_sample"):
            known.setdefault("top_k", PUBLISHED_TOP_K)
        idle = _idle(known)
        return cls(**{k: v for k, v in known.items() if k not in idle})


def _check_names(options: Iterable[str]) -> None:
    """Raises ValueError for an option that there is not, with the nearest."""
    names = [field.name for field in dataclasses.fields(GenerationConfig)]
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.0)[0]
            raise ValueError(
                f"generation has no option `{name}`. Did you mean `{near}`?"
            )


def _idle(values: Mapping[str, Any]) -> set[str]:
    """Returns the fields of strategies that other fields do not choose."""
    found = set()
    if not values.get("do_sample"):
        found |= {"temperature", "top_p", "min_p", "typical_p"}
        if not values.get("penalty_alpha"):
            found.add("top_k")
    if values.get("num_beams", 1) == 1:
        found |= {"length_penalty", "early_stopping"}
    return found
