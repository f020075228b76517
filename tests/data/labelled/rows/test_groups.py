"""Tests of embedding and multiple choice: rows that stay together."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest

from tests.data.labelled.test_batches import equal, take, texts
from tests.tasks.tiny_task import model_config
from tfllm import tasks
from tfllm.data.bad_records import BadRecords
from tfllm.data.labelled.batches import NO_RECORD, LabelledData
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.named_settings import check_pair_column
from tfllm.data.labelled.records.read import read_records
from tfllm.data.labelled.records.record import Record
from tfllm.prediction.forward import predict
from tfllm.prediction.measure import evaluate_labelled
from tfllm.prediction.results import results
from tfllm.runs.run_config import RunConfig
from tfllm.tokenizers import WordPieceTokenizer


def config(task: str, **settings: Any) -> LabelledDataConfig:
    return LabelledDataConfig(
        **{"task": task, "seq_length": 16, "batch_size": 4, **settings}
    )


def records(count: int, num_texts: int, gold: bool) -> list[Record]:
    columns = [texts(count, 20, seed) for seed in range(num_texts)]
    return [
        Record(str(i), "", own, i % 2 if gold else None)
        for i, own in enumerate(zip(*columns, strict=True))
    ]


@pytest.mark.parametrize("gold", [False, True])
def test_pairs_to_embed(gold: bool, tokenizer: WordPieceTokenizer) -> None:
    own = records(10, 2, gold)
    data = LabelledData(own, tokenizer, config("embedding", pad_to_max=True))
    assert data.num_examples == 10
    seen = []
    for x, y, weights, numbers, marks in data.evaluation_rows():
        assert x["token_ids"].shape == x["segment_ids"].shape == (4, 2, 16)
        real = numbers != NO_RECORD
        assert weights["embedding"].tolist() == real.tolist()
        assert marks == {}
        for side in range(2):
            texts = [own[n].texts[side] for n in numbers[real]]
            expected = tokenizer(texts, padding="max_length", max_length=16)
            equal(x["token_ids"][real, side], expected["token_ids"].numpy())
        if gold:
            assert y["embedding"].dtype == np.float32
            expected = [own[n].gold for n in numbers[real]]
            assert y["embedding"][real].tolist() == expected
        else:
            assert y["embedding"].dtype == np.int32
            assert y["embedding"].tolist() == [0, 1, 2, 3]
        seen += numbers[real].tolist()
        # What fills a batch up is not a text that it has already.
        assert len({row.tobytes() for row in x["token_ids"]}) == 4
    assert sorted(seen) == list(range(10))
    x, y, _ = data.dataset().element_spec
    assert x["token_ids"].shape == [4, 2, 16]
    assert y["embedding"].shape == [4]


def test_few_pairs_are_no_candidates_twice(
    tokenizer: WordPieceTokenizer,
) -> None:
    own = records(5, 2, gold=False)
    settings = config("embedding", batch_size=8, seq_length=8)
    data = LabelledData(own, tokenizer, settings)
    ((x, y, weights, numbers, _),) = data.evaluation_rows()
    assert sorted(numbers.tolist()) == y["embedding"].tolist() == [*range(5)]
    assert weights["embedding"].tolist() == [1.0] * 5
    assert len(x["token_ids"]) == 5
    ((batch, *_),) = take(data.evaluation_dataset(), 2)
    equal(batch, x)
    # The loss is that of five candidates, by numpy.
    task = tasks.create("embedding", model_config(), temperature=0.5)
    values = evaluate_labelled(task, data)
    pairs = task(x, training=False)["embedding"].numpy()
    powers = np.exp(pairs[:, 0] @ pairs[:, 1].T / 0.5)
    own_share = np.diag(powers) / powers.sum(axis=1)
    assert values["loss"] == pytest.approx(-np.log(own_share).mean(), rel=1e-4)


def test_single_texts_to_embed(tokenizer: WordPieceTokenizer) -> None:
    own = records(6, 1, gold=False)
    data = LabelledData(own, tokenizer, config("embedding", batch_size=6))
    ((x, y, _),) = take(data.evaluation_dataset(), 1)
    assert x["token_ids"].shape[:2] == (6, 1)
    assert x["token_ids"].shape[2] == data.widths[-1]
    assert y == {}
    assert data.dataset().element_spec[0]["token_ids"].shape == [
        6,
        1,
        None if len(data.widths) > 1 else data.widths[0],
    ]
    long = LabelledData(own, tokenizer, config("embedding", stride=5))
    assert long.num_examples > 6
    numbers = np.concatenate([batch[3] for batch in long.evaluation_rows()])
    assert set(range(6)) <= set(numbers.tolist())
    with pytest.raises(ValueError, match="single texts"):
        LabelledData(
            records(6, 2, False), tokenizer, config("embedding", stride=5)
        )


def test_pairs_are_needed_to_learn_from() -> None:
    message = "`text_pair_column` is needed for the task embedding.*: nothing"
    with pytest.raises(ValueError, match=message):
        check_pair_column("embedding", "")
    with pytest.raises(ValueError, match=message):
        RunConfig.of(
            task="embedding",
            label_column="",
            train_files="x",
            tokenizer="x",
            model_dir="x",
            train_steps=1,
        ).check()
    check_pair_column("embedding", "1")
    check_pair_column("classification", "")


def test_choices(tokenizer: WordPieceTokenizer) -> None:
    own = records(8, 4, gold=True)
    data = LabelledData(own, tokenizer, config("multiple_choice", batch_size=8))
    assert data.num_examples == 8
    ((x, y, weights),) = take(data.evaluation_dataset(), 1)
    assert weights["multiple_choice"].tolist() == [1.0] * 8
    ((*_, numbers, _),) = data.evaluation_rows()
    assert y["multiple_choice"].tolist() == [own[n].gold for n in numbers]
    width = x["token_ids"].shape[2]
    for choice in range(3):
        texts = [[own[n].texts[i] for n in numbers] for i in (0, choice + 1)]
        packed = tokenizer(*texts, padding="max_length", max_length=16)
        for name, values in packed.items():
            equal(x[name][:, choice], values[:, :width].numpy())
    whole = take(data.dataset(), 5)
    equal(take(data.dataset(2), 3), whole[2:])
    with pytest.raises(ValueError, match="`stride`"):
        LabelledData(own, tokenizer, config("multiple_choice", stride=3))


def test_unequal_numbers_of_choices(tokenizer: WordPieceTokenizer) -> None:
    own = records(2, 4, True) + records(2, 3, True) + records(2, 5, True)
    settings = config("multiple_choice", batch_size=6)
    data = LabelledData(own, tokenizer, settings)
    ((x, y, _, numbers, _),) = data.evaluation_rows()
    assert x["token_ids"].shape[:2] == x["choice_mask"].shape == (6, 4)
    assert x["choice_mask"].dtype == np.int32
    width = x["token_ids"].shape[2]
    for row, number in enumerate(numbers):
        before, *choices = own[number].texts
        assert x["choice_mask"][row].tolist() == [
            int(place < len(choices)) for place in range(4)
        ]
        texts = [before] * len(choices), choices
        packed = tokenizer(*texts, padding="max_length", max_length=16)
        for name, values in packed.items():
            equal(x[name][row, : len(choices)], values[:, :width].numpy())
    spec = data.dataset().element_spec[0]
    assert spec["choice_mask"].shape == [6, 4]


def test_a_choice_is_told_as_it_was_given(
    tokenizer: WordPieceTokenizer,
) -> None:
    task = tasks.create("multiple_choice", model_config())
    own = [
        Record("0", "", ("ba", "de ki", "de lo"), 1, choices=("ki", "lo"))
    ] * 4
    data = LabelledData(own, tokenizer, config("multiple_choice", seq_length=8))
    for found in results(predict(task, data)):
        assert found["choice_text"] == ("ki", "lo")[found["choice"]]


def test_missing_choices_are_never_chosen(
    tokenizer: WordPieceTokenizer,
) -> None:
    """A record has the same result beside records with more choices."""
    task = tasks.create("multiple_choice", model_config())
    few, more = records(4, 3, True), records(4, 6, True)
    settings = config("multiple_choice", seq_length=8)
    alone = LabelledData(few, tokenizer, settings)
    beside = LabelledData(few + more, tokenizer, settings)
    expected = results(predict(task, alone))
    found = results(predict(task, beside))[:4]
    for one, other in zip(found, expected, strict=True):
        assert one["choice_text"] == other["choice_text"]
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
    losses = [
        evaluate_labelled(task, LabelledData(own, tokenizer, settings))["loss"]
        for own in (few, more, few + more)
    ]
    assert losses[2] == pytest.approx((losses[0] + losses[1]) / 2, abs=1e-5)


def test_some_gold_is_an_error(tokenizer: WordPieceTokenizer) -> None:
    mixed = records(2, 2, True) + records(3, 2, False)
    for task in ("embedding", "regression"):
        with pytest.raises(ValueError, match="2 of 5"):
            LabelledData(mixed, tokenizer, config(task))


def test_similarities_that_are_no_cosines(
    tokenizer: WordPieceTokenizer,
) -> None:
    own = [
        Record(str(i), f"a.tsv, line {i + 1}", tuple(texts(2, 5, i)), gold)
        for i, gold in enumerate((0.5, 5.0, -1.0))
    ]
    with pytest.raises(
        ValueError, match=r"label_scale=1 and 5 in a\.tsv, line 2\."
    ):
        LabelledData(own, tokenizer, config("embedding"))
    data = LabelledData(
        own, tokenizer, config("embedding", batch_size=3, label_scale=5.0)
    )
    ((_, y, _),) = take(data.evaluation_dataset(), 1)
    assert sorted(y["embedding"].tolist()) == pytest.approx([-0.2, 0.1, 1.0])


def read(path: pathlib.Path, **settings: Any) -> list[Record]:
    own = config("multiple_choice", **settings)
    return list(read_records(str(path), own, BadRecords("fail")))


def test_choices_from_files(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,start,e0,e1,label\nIt rains.,She,runs,sits,B\n")
    (record,) = read(
        path, text_pair_column="start", choice_columns=("e0", "e1")
    )
    assert record.texts == ("It rains.", "She runs", "She sits")
    assert record.choices == ("runs", "sits")
    assert record.gold == 1
    path.write_text("text,e0,e1,e2,label\nt,a,b, ,0\nt,a,,c,0\n")
    columns = ("e0", "e1", "e2")
    with pytest.raises(ValueError, match="line 3: choice 1 is not text: ''"):
        read(path, choice_columns=columns)
    path.write_text("text,e0,e1,e2,label\nt,a,b, ,0\n")
    assert read(path, choice_columns=columns)[0].texts == ("t", "a", "b")
    path = tmp_path / "a.jsonl"
    good = {"text": "t", "choices": ["a", "b", "c"], "label": 2}
    path.write_text(json.dumps(good))
    assert read(path)[0].texts == ("t", "a", "b", "c")
    assert read(path)[0].gold == 2
    assert read(path, label_column="")[0].gold is None
    # What is missing at the end is no choice.
    for fields in (
        {"choices": ["a", "b", "c", "", None]},
        {"c0": "a", "c1": "b", "c2": "c"},
    ):
        path.write_text(json.dumps({"text": "t", "label": 2, **fields}))
        given = (
            ("choices",) if "choices" in fields else ("c0", "c1", "c2", "c3")
        )
        assert read(path, choice_columns=given)[0].texts == (
            "t",
            "a",
            "b",
            "c",
        )
    for fields, reason in [
        ({"choices": ["a"]}, "two texts or more"),
        ({"choices": ["a", " "]}, "choice 1 is not text: ' '"),
        ({"choices": ["a", "", "b"]}, "choice 1 is not text: ''"),
        ({"choices": ["a", "b"]}, "from 0 to 1, or its letter, not 2"),
        ({"label": 3}, "from 0 to 2, or its letter, not 3"),
        ({"label": "D"}, "not 'D'"),
        ({"label": -1}, "not -1"),
    ]:
        lines = [json.dumps(good), json.dumps(good | fields)]
        path.write_text("\n".join(lines))
        with pytest.raises(ValueError, match=f"line 2: .*{reason}"):
            read(path)


def test_pairs_from_files(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("a\tb\t0.5\n")
    own = config(
        "embedding", text_column="0", text_pair_column="1", label_column="2"
    )
    (record,) = read_records(str(path), own, BadRecords("fail"))
    assert (record.texts, record.gold) == (("a", "b"), 0.5)
