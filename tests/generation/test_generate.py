"""Generation against plain loops and enumeration."""

import itertools
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfllm import stateless
from tfllm.generation import GenerationConfig
from tfllm.generation.buckets import bucket
from tfllm.generation.generate import count_traces, generate
from tfllm.generation.samplers import draw, draw_from, uniform
from tfllm.models import FAMILIES, LanguageModel

VOCAB = 23
PROMPTS = [[3, 4, 5], [6], [7, 8, 9, 10, 11, 12, 2], [13, 3]]


def build(
    seed: int, layers: int = 2, vocab: int = VOCAB, positions: int = 96
) -> LanguageModel:
    keras.utils.set_random_seed(seed)
    model = LanguageModel(
        FAMILIES["gpt2"].config(
            num_layers=layers,
            hidden_size=32,
            num_heads=2,
            vocab_size=vocab,
            max_position_embeddings=positions,
            initializer_range=0.4,
        )
    )
    model.build()
    return model


@pytest.fixture(name="model", scope="module")
def _model() -> LanguageModel:
    return build(0)


@pytest.fixture(name="draft", scope="module")
def _draft() -> LanguageModel:
    return build(1, layers=1)


def next_logits(model: LanguageModel, ids: list[int]) -> np.ndarray:
    """Without a cache, and without padding."""
    outputs = model(np.array([ids], "int32"))
    return outputs["clm"].numpy()[0, -1].astype(np.float64)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())


def greedy(model: LanguageModel, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(next_logits(model, ids).argmax()))
    return ids[len(prompt) :]


def flat(output: Any) -> list[list[int]]:
    return [ids for several in output.sequences for ids in several]


def test_greedy_equals_a_loop_without_cache(model: LanguageModel) -> None:
    config = GenerationConfig(max_new_tokens=9)
    output = generate(model, PROMPTS, config)
    assert flat(output) == [greedy(model, p, 9) for p in PROMPTS]
    assert output.steps == 9
    assert {r for row in output.finish_reasons for r in row} == {"length"}
    for prompt, (ids,), (score,) in zip(
        PROMPTS, output.sequences, output.scores, strict=True
    ):
        logs = [
            log_softmax(next_logits(model, prompt + ids[:i]))[ids[i]]
            for i in range(9)
        ]
        assert score == pytest.approx(sum(logs), abs=1e-3)


STRATEGIES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling": {
        "do_sample": True,
        "temperature": 0.8,
        "top_k": 9,
        "top_p": 0.9,
        "min_p": 0.01,
        "typical_p": 0.95,
        "seed": 5,
    },
    "repetition": {"repetition_penalty": 1.5},
    "counts": {"presence_penalty": 1.0, "frequency_penalty": 0.5},
    "ngram": {"no_repeat_ngram_size": 2},
    "words": {"bad_words_ids": ((3,), (4, 5)), "suppress_tokens": (6,)},
    "ends": {
        "min_new_tokens": 4,
        "forced_eos_token_id": 1,
        "begin_suppress_tokens": (7,),
        "forced_bos_token_id": 9,
    },
    "beams": {"num_beams": 3, "length_penalty": 2.0},
    "groups": {
        "num_beams": 4,
        "num_beam_groups": 2,
        "diversity_penalty": 0.7,
    },
    "sampled_beams": {
        "do_sample": True,
        "num_beams": 3,
        "temperature": 1.5,
        "top_p": 0.9,
    },
    "contrastive": {"penalty_alpha": 0.6, "top_k": 4},
}


# Single processors; the others have several of them, or another loop.
WIDE = ("repetition", "counts", "ngram", "words", "ends")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.wide] * (name in WIDE))
        for name in STRATEGIES
    ],
)
def test_compiled_equals_eager_and_rows_stand_alone(
    name: str, model: LanguageModel
) -> None:
    config = GenerationConfig(
        max_new_tokens=8, eos_token_id=1, **STRATEGIES[name]
    )
    output = generate(model, PROMPTS, config)
    eager = generate(model, PROMPTS, config, compiled=False)
    assert eager.sequences == output.sequences
    assert eager.finish_reasons == output.finish_reasons
    # The first row draws the same, whatever else is in the batch.
    alone = generate(model, PROMPTS[:1], config)
    assert alone.sequences[0] == output.sequences[0]


@pytest.mark.wide
@pytest.mark.parametrize(
    "name", [n for n, o in STRATEGIES.items() if not o.get("do_sample")]
)
def test_every_row_stands_alone(name: str, model: LanguageModel) -> None:
    config = GenerationConfig(
        max_new_tokens=8, eos_token_id=1, **STRATEGIES[name]
    )
    output = generate(model, PROMPTS, config)
    for i, prompt in enumerate(PROMPTS):
        one = generate(model, [prompt], config)
        assert one.sequences[0] == output.sequences[i]


def enumerate_all(
    model: LanguageModel, prompt: list[int], length: int, end: int
) -> dict[tuple[int, ...], float]:
    """Log-probability of every sequence that ends, or is full."""
    found: dict[tuple[int, ...], float] = {}
    running: dict[tuple[int, ...], float] = {(): 0.0}
    for step in range(length):
        longer: dict[tuple[int, ...], float] = {}
        for ids, score in running.items():
            logs = log_softmax(next_logits(model, prompt + list(ids)))
            for token, log in enumerate(logs):
                new = (*ids, token)
                if token == end or step + 1 == length:
                    found[new] = score + log
                else:
                    longer[new] = score + log
        running = longer
    return found


@pytest.mark.parametrize(
    ("penalty", "early"),
    [
        (0.6, False),
        (2.0, "never"),
        *(
            pytest.param(*case, marks=pytest.mark.wide)
            for case in ((0.6, "never"), (1.0, False), (1.0, "never"))
        ),
        pytest.param(2.0, False, marks=pytest.mark.wide),
    ],
)
def test_wide_beams_equal_brute_force(penalty: float, early: Any) -> None:
    model = build(2, layers=1, vocab=4)
    prompt, length, end = [2, 3], 3, 1
    found = enumerate_all(model, prompt, length, end)
    expected = sorted(
        found, key=lambda ids: found[ids] / len(ids) ** penalty, reverse=True
    )[:3]
    config = GenerationConfig(
        max_new_tokens=length,
        num_beams=16,
        num_return_sequences=3,
        length_penalty=penalty,
        early_stopping=early,
        eos_token_id=end,
    )
    # 16 beams hold all that go on, at most 3 ** 2.
    output = generate(model, [prompt], config)
    if early == "never" or penalty <= 1.0:
        assert [tuple(ids) for ids in output.sequences[0]] == expected
        scores = [found[ids] / len(ids) ** penalty for ids in expected]
        assert output.scores[0] == pytest.approx(scores, abs=1e-3)
    assert all(tuple(ids) in found for ids in output.sequences[0])


def test_groups_differ_in_their_first_token(model: LanguageModel) -> None:
    config = GenerationConfig(
        max_new_tokens=4,
        num_beams=3,
        num_beam_groups=3,
        diversity_penalty=1e4,
        num_return_sequences=3,
    )
    for rows in generate(model, PROMPTS, config).sequences:
        assert len({ids[0] for ids in rows}) == 3


def test_contrastive_search_equals_a_loop(model: LanguageModel) -> None:
    alpha, k, count = 0.6, 4, 7

    def unit(vectors: np.ndarray) -> np.ndarray:
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    def search(prompt: list[int]) -> list[int]:
        ids = list(prompt)
        for _ in range(count):
            before = model(np.array([ids], "int32"))
            chances = np.exp(
                log_softmax(before["clm"].numpy()[0, -1].astype(np.float64))
            )
            seen = unit(before["hidden_states"].numpy()[0])
            best = np.argsort(-chances, kind="stable")[:k]
            worth = []
            for token in best:
                after = model(np.array([[*ids, token]], "int32"))
                state = unit(after["hidden_states"].numpy()[0, -1])
                likeness = (seen @ state).max()
                worth.append((1 - alpha) * chances[token] - alpha * likeness)
            ids.append(int(best[int(np.argmax(worth))]))
        return ids[len(prompt) :]

    config = GenerationConfig(
        max_new_tokens=count, penalty_alpha=alpha, top_k=k
    )
    output = generate(model, PROMPTS, config)
    assert flat(output) == [search(prompt) for prompt in PROMPTS]


@pytest.mark.parametrize("k", [5, VOCAB + 1])
def test_contrastive_search_keeps_to_what_is_allowed(
    k: int, model: LanguageModel
) -> None:
    config = GenerationConfig(
        max_new_tokens=7,
        penalty_alpha=0.9,
        top_k=k,
        suppress_tokens=[i for i in range(VOCAB) if i not in (1, 3, 9)],
        forced_eos_token_id=1,
    )
    for ids in flat(generate(model, PROMPTS, config)):
        assert set(ids) <= {1, 3, 9}
        assert ids[-1] == 1


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 6},
        {"penalty_alpha": 0.6, "top_k": 5},
        {"draft": True, "do_sample": True},
        *(
            pytest.param(options, marks=pytest.mark.wide)
            for options in (
                {"num_return_sequences": 3, "do_sample": True, "top_p": 0.9},
                {"do_sample": True, "min_p": 0.1, "typical_p": 0.9},
                {
                    "num_beams": 6,
                    "num_beam_groups": 2,
                    "diversity_penalty": 1.0,
                },
                {"num_beams": 6, "do_sample": True},
                {"draft": True},
            )
        ),
    ],
)
def test_a_sequence_stops_where_every_token_is_forbidden(
    options: dict[str, Any], model: LanguageModel, draft: LanguageModel
) -> None:
    allowed = {1, 3, 9}
    config = GenerationConfig(
        max_new_tokens=7,
        suppress_tokens=[i for i in range(VOCAB) if i not in allowed],
        no_repeat_ngram_size=1,
        **{k: v for k, v in options.items() if k != "draft"},
    )
    output = generate(
        model, PROMPTS, config, draft=draft if "draft" in options else None
    )
    for prompt, rows, scores, reasons in zip(
        PROMPTS,
        output.sequences,
        output.scores,
        output.finish_reasons,
        strict=True,
    ):
        left = sorted(allowed - set(prompt))
        assert all(sorted(ids) == left for ids in rows)
        assert np.isfinite(scores).all()
        assert set(reasons) == {"stop"}
        if options == {"num_beams": 6}:
            # As many beams as there are orders of three tokens.
            orders = {
                ids: sum(
                    log_softmax(next_logits(model, prompt + list(ids[:i])))[t]
                    for i, t in enumerate(ids)
                )
                for ids in itertools.permutations(left)
            }
            best = max(orders, key=orders.__getitem__)
            assert tuple(rows[0]) == best
            expected = orders[best] / len(left)
            assert scores[0] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("ahead", "options"),
    [
        (3, {}),
        *(
            pytest.param(ahead, options, marks=pytest.mark.wide)
            for ahead in (1, 3, 5)
            for options in ({}, {"repetition_penalty": 1.4})
            if ahead != 3 or options
        ),
    ],
)
def test_speculative_greedy_equals_greedy(
    ahead: int,
    options: dict[str, Any],
    model: LanguageModel,
    draft: LanguageModel,
) -> None:
    config = GenerationConfig(
        max_new_tokens=13, eos_token_id=1, num_assistant_tokens=ahead, **options
    )
    expected = generate(model, PROMPTS, config)
    for helper in (draft, model):
        found = generate(model, PROMPTS, config, draft=helper)
        assert found.sequences == expected.sequences
        assert found.finish_reasons == expected.finish_reasons
        assert found.acceptance_rate is not None
        if helper is model:
            assert found.acceptance_rate == 1.0


@pytest.mark.parametrize(("ahead", "compiled"), [(8, True), (5, False)])
def test_proposals_may_reach_past_the_last_position(
    ahead: int, compiled: bool
) -> None:
    model = build(6, positions=32)
    small = build(7, layers=1, positions=32)
    prompts = [[2 + i % 20 for i in range(26)], [5, 6, 7]]
    config = GenerationConfig(max_new_tokens=6, num_assistant_tokens=ahead)
    expected = [greedy(model, prompt, 6) for prompt in prompts]
    for helper in (small, model):
        found = generate(
            model,
            prompts,
            config,
            draft=helper,
            max_length=32,
            draft_max_length=32,
            compiled=compiled,
        )
        assert flat(found) == expected


def test_a_prompt_must_fit_into_the_draft(model: LanguageModel) -> None:
    with pytest.raises(ValueError, match="16 positions of the draft.*prompt 1"):
        generate(
            model,
            [[2], [3] * 12],
            GenerationConfig(max_new_tokens=5),
            draft=build(8, layers=1, positions=16),
            max_length=96,
            draft_max_length=16,
        )


def test_speculative_draws_have_the_models_distribution() -> None:
    large, small = build(3, vocab=4), build(4, layers=1, vocab=4)
    config = GenerationConfig(
        max_new_tokens=2,
        do_sample=True,
        num_return_sequences=4000,
        num_assistant_tokens=1,
        seed=1,
    )
    rows = flat(generate(large, [[2, 3]], config, draft=small))
    first = log_softmax(next_logits(large, [2, 3]))
    for pair in itertools.product(range(4), repeat=2):
        second = log_softmax(next_logits(large, [2, 3, pair[0]]))
        chance = np.exp(first[pair[0]] + second[pair[1]])
        share = rows.count(list(pair)) / len(rows)
        deviation = np.sqrt(chance * (1 - chance) / len(rows))
        assert abs(share - chance) < 4.5 * deviation + 1e-3


def test_draws_have_their_distribution() -> None:
    logits = tf.constant([[0.0, 1.0, 2.0, float("-inf"), -1.0]])
    count = 20_000
    found = draw(
        tf.repeat(logits, count, axis=0),
        tf.constant(7, tf.int64),
        tf.range(count, dtype=tf.int64),
        tf.constant(0),
    ).numpy()
    chances = tf.nn.softmax(logits).numpy()[0]
    shares = np.bincount(found, minlength=5) / count
    np.testing.assert_allclose(shares, chances, atol=0.015)
    assert shares[3] == 0


def test_a_draw_never_takes_an_impossible_token() -> None:
    chances = tf.constant([[0.0, 0.5, 0.0, 0.5, 0.0]] * 1000)
    found = draw_from(
        chances,
        tf.constant(0, tf.int64),
        tf.range(1000, dtype=tf.int64),
        tf.constant(3),
    )
    assert set(found.numpy()) == {1, 3}


def test_all_bits_of_a_seed_count() -> None:
    seeds = [0, 1, 2**32 - 1, 2**32, 2**32 + 1, 2**40, 2**63 - 1, -1, -(2**32)]
    rows = tf.range(50, dtype=tf.int64)
    found = {
        tuple(uniform(tf.constant(s, tf.int64), rows, tf.constant(2)).numpy())
        for s in seeds
    }
    assert len(found) == len(seeds)
    # Those of 32 bits give what they always gave.
    for seed in seeds[:3]:
        drawn = uniform(tf.constant(seed, tf.int64), rows, tf.constant(2))
        for row in range(50):
            key = stateless.key(0, 2, _signed(seed * 2**32 + row))
            bits = stateless._mix(key + stateless._GOLDEN)
            assert drawn[row] == (bits >> 40) / 2**24


def _signed(value: int) -> int:
    """Returns what 64 bits hold of a value."""
    return (value + 2**63) % 2**64 - 2**63


def test_seeds(model: LanguageModel) -> None:
    config = GenerationConfig(
        max_new_tokens=10, do_sample=True, num_return_sequences=3
    )
    first = generate(model, PROMPTS, config)
    assert generate(model, PROMPTS, config).sequences == first.sequences
    other = generate(model, PROMPTS, config.replace(seed=1))
    assert other.sequences != first.sequences
    assert len({tuple(ids) for ids in first.sequences[0]}) == 3


def test_twenty_lengths_trace_once_per_bucket() -> None:
    model = build(5, layers=1)
    for length in range(1, 21):
        config = GenerationConfig(max_new_tokens=3 + length % 5, seed=length)
        generate(model, [[2] * length], config, jit_compile=False)
    buckets = {bucket(length) for length in range(1, 21)}
    # Each bucket traces the start and the loop.
    assert count_traces(model) == 2 * len(buckets)


def test_the_functions_used_last_are_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The package has a function of the module's name.
    module: Any = sys.modules[generate.__module__]
    made = []
    create = module._create

    def count(*args: Any) -> Any:
        made.append(args[1].repetition_penalty)
        return create(*args)

    monkeypatch.setattr(module, "_MOST_FUNCTIONS", 2)
    monkeypatch.setattr(module, "_create", count)
    model = build(9)
    for penalty in (1.5, 2.0, 1.5, 3.0, 1.5, 2.0):
        config = GenerationConfig(max_new_tokens=2, repetition_penalty=penalty)
        generate(model, PROMPTS[:1], config, compiled=False)
    assert made == [1.5, 2.0, 3.0, 2.0]


def test_the_end_of_text(model: LanguageModel) -> None:
    plain = flat(generate(model, PROMPTS, GenerationConfig(max_new_tokens=9)))
    end = plain[0][3]
    config = GenerationConfig(max_new_tokens=9, eos_token_id=end)
    output = generate(model, PROMPTS, config)
    for before, (ids,), (reason,) in zip(
        plain, output.sequences, output.finish_reasons, strict=True
    ):
        stop = before.index(end) + 1 if end in before else 9
        assert ids == before[:stop]
        assert reason == ("eos" if end in before else "length")


def test_stop_strings_across_tokens(model: LanguageModel) -> None:
    table = [bytes([97 + i]) for i in range(VOCAB)]
    plain = flat(generate(model, PROMPTS, GenerationConfig(max_new_tokens=9)))
    stop = b"".join(table[i] for i in plain[2][3:5]).decode()
    config = GenerationConfig(max_new_tokens=9, stop_strings=(stop,))
    output = generate(model, PROMPTS, config, token_bytes=table)
    for before, (ids,), (reason,) in zip(
        plain, output.sequences, output.finish_reasons, strict=True
    ):
        text = b"".join(table[i] for i in before).decode()
        place = text.find(stop)
        expected = before[: place + 2] if place >= 0 else before
        assert ids == expected
        assert reason == ("stop" if place >= 0 else "length")
    with pytest.raises(ValueError, match="stop_strings.*token_bytes"):
        generate(model, PROMPTS, config)


def test_stop_strings_are_found_in_the_bytes_of_the_call(
    model: LanguageModel,
) -> None:
    plain = flat(generate(model, PROMPTS, GenerationConfig(max_new_tokens=9)))
    stop = plain[0][2]
    config = GenerationConfig(max_new_tokens=9, stop_strings=("!",))

    table: list[bytes] = []

    def lengths(mark: int) -> list[int]:
        # One list with other bytes, as one made where another was may be.
        table[:] = [b"!" if i == mark else b"." for i in range(VOCAB)]
        found = generate(model, PROMPTS, config, token_bytes=table)
        return [len(ids) for ids in flat(found)]

    for mark in (stop, 0, stop, *plain[2][:3]):
        assert lengths(mark) == [
            ids.index(mark) + 1 if mark in ids else 9 for ids in plain
        ]


def test_streaming_tells_every_token_in_order(model: LanguageModel) -> None:
    config = GenerationConfig(max_new_tokens=6, eos_token_id=1)
    heard: dict[int, list[int]] = {}
    calls = []

    def stream(row: int, ids: list[int]) -> None:
        heard.setdefault(row, []).extend(ids)
        calls.append(len(ids))

    output = generate(model, PROMPTS, config, stream=stream)
    assert [heard[i] for i in range(len(PROMPTS))] == flat(output)
    assert set(calls) == {1}
    assert output.sequences == generate(model, PROMPTS, config).sequences


def test_a_draft_cannot_be_streamed(
    model: LanguageModel, draft: LanguageModel
) -> None:
    with pytest.raises(ValueError, match="`stream` does not go with `draft`"):
        generate(model, PROMPTS, draft=draft, stream=lambda row, ids: None)


@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([], {}, "no prompt"),
        ([[1], []], {}, "bos_token_id.*prompt 1 is empty"),
        ([[1, 99]], {}, "below 23.*Received: 99 in prompt 0"),
        ([[1] * 90], {}, "96 positions.*prompt 0 of 90 tokens"),
        ([[1]], {"eos_token_id": 50}, "`eos_token_id` must be below 23"),
    ],
)
def test_prompts_that_cannot_be_continued(
    model: LanguageModel,
    prompts: list[list[int]],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(
            model,
            prompts,
            GenerationConfig(**options),
            max_length=96,
            vocab_size=VOCAB,
        )


def test_an_empty_prompt_begins_with_the_first_token(
    model: LanguageModel,
) -> None:
    config = GenerationConfig(max_new_tokens=5, bos_token_id=2)
    output = generate(model, [[]], config)
    assert flat(output) == [greedy(model, [2], 5)]
