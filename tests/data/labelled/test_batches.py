"""Tests of tfllm.data.labelled.batches with one or two texts per record."""

import collections
import dataclasses
import itertools
import json
import pathlib
import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.labelled.batches import (
    NO_RECORD,
    LabelledData,
    open_labelled_data,
)
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.labelled.records.record import Record
from tfllm.data.tables.config import TableConfig
from tfllm.tokenizers import ByteBPETokenizer, WordPieceTokenizer

SYLLABLES = ["ba", "de", "ki", "lo", "mu", "na", "po", "ri", "su", "ta"]
CLS, SEP = 2, 3


def texts(count: int, longest: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [
        " ".join(rng.choices(SYLLABLES, k=rng.randint(1, longest)))
        for _ in range(count)
    ]


def records(count: int, longest: int = 30, pair: bool = False) -> list[Record]:
    firsts, seconds = texts(count, longest), texts(count, longest, 1)
    return [
        Record(
            str(i),
            f"file, line {i + 1}",
            (firsts[i], seconds[i]) if pair else (firsts[i],),
            gold=("no", "yes", "maybe")[i % 3],
        )
        for i in range(count)
    ]


def config(**settings: Any) -> LabelledDataConfig:
    return LabelledDataConfig(
        **{"seq_length": 16, "batch_size": 4, "seed": 3, **settings}
    )


def take(dataset: tf.data.Dataset, count: int) -> list[Any]:
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def equal(left: Any, right: Any) -> None:
    tf.nest.map_structure(np.testing.assert_array_equal, left, right)


@pytest.mark.parametrize("pair", [False, True])
def test_rows_are_those_of_the_exported_packing(
    pair: bool, tokenizer: WordPieceTokenizer
) -> None:
    own = records(50, pair=pair)
    data = LabelledData(own, tokenizer, config(pad_to_max=True))
    ((x, y, _),) = take(data.evaluation_dataset(50), 1)
    texts = [[record.texts[i] for record in own] for i in range(1 + pair)]
    expected = tokenizer(*texts, padding="max_length", max_length=16)
    equal(x, {name: value.numpy() for name, value in expected.items()})
    assert data.labels == ("maybe", "no", "yes")
    assert y["classification"].tolist() == [
        data.labels.index(record.gold) for record in own
    ]


def test_a_decoder_reads_texts_without_special_tokens(
    byte_bpe: ByteBPETokenizer,
) -> None:
    eos = byte_bpe.special.eos
    ids = byte_bpe.token_to_id
    data = LabelledData(
        [
            Record("0", "", ("ba", "aba")),
            Record("1", "", ("abababa", "bababab")),
        ],
        byte_bpe,
        config(seq_length=7, batch_size=2),
    )
    ((x, y, weights),) = take(data.evaluation_dataset(), 1)
    a, ba = ids("a"), ids("ba")
    assert x["token_ids"].tolist() == [
        [ba, eos, a, ba, eos, eos, eos],
        [a, ba, ba, eos, ba, ba, ba],
    ]
    assert x["padding_mask"].tolist() == [[1] * 4 + [0] * 3, [1] * 7]
    assert set(x) == {"token_ids", "padding_mask"}
    assert y == weights == {}
    single = LabelledData(
        [Record("0", "", ("",)), Record("1", "", ("aa",))],
        byte_bpe,
        config(batch_size=2),
    )
    ((x, _, _),) = take(single.evaluation_dataset(), 1)
    # A row without any token would have none to pool.
    assert x["token_ids"][:, :2].tolist() == [[eos, eos], [a, a]]
    assert x["padding_mask"][:, :2].tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize("settings", [{}, {"class_balanced": True}])
def test_training_is_seekable(
    settings: dict[str, Any], tokenizer: WordPieceTokenizer
) -> None:
    data = LabelledData(records(30), tokenizer, config(**settings))
    whole = take(data.dataset(), 20)
    for start in (1, 7, 13):
        equal(take(data.dataset(start), 20 - start), whole[start:])
    with pytest.raises(ValueError, match="-1"):
        data.dataset(-1)


def test_an_epoch_holds_every_row_once_padded_to_its_bucket(
    tokenizer: WordPieceTokenizer,
) -> None:
    own = records(96, longest=28)
    data = LabelledData(own, tokenizer, config(seq_length=32))
    assert data.steps_per_epoch == 24
    assert data.steps(1.5) == 36
    expected = collections.Counter(
        tuple(tokenizer.tokenize([r.texts[0]])[0].numpy()) for r in own
    )
    found: collections.Counter[tuple[int, ...]] = collections.Counter()
    tokens = 0
    for x, _, weights in take(data.dataset(), 24):
        width = x["token_ids"].shape[1]
        assert width in data.widths
        assert weights["classification"].tolist() == [1.0] * 4
        tokens += x["token_ids"].size
        longest = x["padding_mask"].sum(1).max()
        assert longest <= width < longest + 16
        for row, mask in zip(x["token_ids"], x["padding_mask"], strict=True):
            size = mask.sum()
            assert mask[:size].all()
            assert row[0] == CLS
            assert row[size - 1] == SEP
            assert not row[size:].any()
            found[tuple(row[1 : size - 1])] += 1
    assert found == expected
    assert tokens < 96 * 32 * 0.75


def test_an_evaluation_holds_every_row_once_and_says_whose(
    tokenizer: WordPieceTokenizer,
) -> None:
    own = records(30, longest=12)
    data = LabelledData(own, tokenizer, config())
    seen: list[int] = []
    for x, y, weights, numbers, marks in data.evaluation_rows(7):
        assert marks == {}
        assert len(x["token_ids"]) == 7
        real = numbers != NO_RECORD
        assert weights["classification"].tolist() == real.tolist()
        for row, label, number in zip(
            x["token_ids"][real],
            y["classification"][real],
            numbers[real],
            strict=True,
        ):
            ids = tokenizer.tokenize([own[number].texts[0]])[0].numpy()
            assert row[1 : len(ids) + 1].tolist() == ids.tolist()
            assert data.labels[label] == own[number].gold
        seen += numbers[real].tolist()
    assert sorted(seen) == list(range(30))
    batches = take(data.evaluation_dataset(7), 99)
    assert len(batches) == 5
    total = sum(weights["classification"].sum() for _, _, weights in batches)
    assert total == 30
    first = take(data.evaluation_dataset(7, max_steps=2), 99)
    assert len(first) == 2
    assert data.evaluation_dataset(7, max_steps=2).cardinality() == 2


@pytest.mark.parametrize("pair", [False, True])
def test_windows_cover_every_token(
    pair: bool, tokenizer: WordPieceTokenizer
) -> None:
    own = [
        dataclasses.replace(r, texts=(r.texts[0][:8], r.texts[0])[1 - pair :])
        for r in records(20, longest=60)
    ]
    data = LabelledData(own, tokenizer, config(stride=5))
    assert data.num_examples > 60
    windows: dict[int, list[list[int]]] = collections.defaultdict(list)
    shares: dict[int, float] = collections.defaultdict(float)
    for x, _, weights, numbers, _ in data.evaluation_rows():
        for i in np.flatnonzero(numbers != NO_RECORD):
            size = x["padding_mask"][i].sum()
            begin = 1 + x["token_ids"][i].tolist().index(SEP) if pair else 1
            windows[numbers[i]].append(
                x["token_ids"][i, begin : size - 1].tolist()
            )
            shares[numbers[i]] += weights["classification"][i]
    for number, record in enumerate(own):
        whole = tokenizer.tokenize([record.texts[-1]])[0].numpy().tolist()
        room = (
            14
            if not pair
            else 13 - len(tokenizer.tokenize([record.texts[0]])[0])
        )
        count = 1 + max(0, -(-(len(whole) - room) // 5))
        expected = [whole[5 * i : 5 * i + room] for i in range(count)]
        assert sorted(windows[number]) == sorted(expected)
        assert shares[number] == pytest.approx(1.0)


def test_regression_and_several_labels(tokenizer: WordPieceTokenizer) -> None:
    own = [
        Record(str(i), "", (text,), gold)
        for i, (text, gold) in enumerate(
            zip(["ba", "de ki", "lo"], [0.5, 2.0, 4.25], strict=True)
        )
    ]
    data = LabelledData(own, tokenizer, config(task="regression", batch_size=3))
    ((_, y, weights),) = take(data.evaluation_dataset(), 1)
    assert y["regression"].tolist() == [0.5, 2.0, 4.25]
    assert y["regression"].dtype == weights["regression"].dtype == np.float32
    assert data.labels == ()
    golds = [("x",), (), ("y", "x")]
    own = [
        dataclasses.replace(r, gold=gold)
        for r, gold in zip(own, golds, strict=True)
    ]
    data = LabelledData(
        own, tokenizer, config(task="multi_label", batch_size=3)
    )
    ((_, y, _),) = take(data.evaluation_dataset(), 1)
    assert data.labels == ("x", "y")
    assert y["multi_label"].tolist() == [[1, 0], [0, 0], [1, 1]]
    assert y["multi_label"].dtype == np.float32


def test_class_weights_reach_the_rows(tokenizer: WordPieceTokenizer) -> None:
    data = LabelledData(
        records(40), tokenizer, config(class_weights="yes=3,no=0.5")
    )
    for _, y, weights in take(data.dataset(), 5):
        expected = np.array([1.0, 0.5, 3.0])[y["classification"]]
        assert weights["classification"].tolist() == expected.tolist()


def write_csv(path: pathlib.Path, rows: list[tuple[str, str]]) -> str:
    lines = [f"{text},{label}" for text, label in rows]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return str(path)


def test_files_to_batches(
    tmp_path: pathlib.Path, tokenizer: WordPieceTokenizer
) -> None:
    train = write_csv(
        tmp_path / "train.csv", [("ba de", "10"), ("ki", "9"), ("lo", "10")]
    )
    data = open_labelled_data(train, tokenizer, config(batch_size=2))
    assert isinstance(data, LabelledData)
    assert data.labels == ("9", "10")
    assert [r.where for r in data.records] == [
        f"{train}, line {line}" for line in (2, 3, 4)
    ]
    held_out = write_csv(tmp_path / "eval.csv", [("mu", "10"), ("na", "11")])
    with pytest.raises(ValueError, match=r"eval\.csv, line 3: .*'11'"):
        open_labelled_data(held_out, tokenizer, config(labels=data.labels))
    skipping = config(
        labels=data.labels, table=TableConfig(on_bad_record="skip")
    )
    rest = open_labelled_data(held_out, tokenizer, skipping)
    assert [record.gold for record in rest.records] == ["10"]
    assert rest.skipped == {held_out: 1}
    both = open_labelled_data(f"{train},{held_out}", tokenizer, config())
    assert [record.id for record in both.records] == list("01234")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"text": 3, "label": "x"}, "must be text, not 3"),
        ({"text": " ", "label": "x"}, "'text' is blank"),
        ({"text": "ba"}, "no column 'label'"),
        ({"text": "ba", "label": None}, "a name or number, not None"),
        ({"text": "ba", "labels": "x"}, "did you mean 'labels'"),
    ],
)
def test_bad_records_say_where(
    record: dict[str, Any],
    reason: str,
    tmp_path: pathlib.Path,
    tokenizer: WordPieceTokenizer,
) -> None:
    path = tmp_path / "a.jsonl"
    good = {"text": "ba", "label": "x"}
    path.write_text(json.dumps(good) + "\n" + json.dumps(record) + "\n")
    with pytest.raises(ValueError, match=f"line 2: .*{reason}"):
        open_labelled_data(str(path), tokenizer, config())
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(ValueError, match="at least one record.* 1 bad"):
        open_labelled_data(
            str(path),
            tokenizer,
            config(table=TableConfig(on_bad_record="skip")),
        )


def vectors(path: pathlib.Path, rows: list[object]) -> str:
    path.write_text(
        "".join(json.dumps({"text": "ba", "label": row}) + "\n" for row in rows)
    )
    return str(path)


def test_vectors_become_targets(
    tmp_path: pathlib.Path, tokenizer: WordPieceTokenizer
) -> None:
    rows = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    settings = config(task="multi_label", labels=("x", "a", "b"))
    data = open_labelled_data(
        vectors(tmp_path / "a.jsonl", rows), tokenizer, settings
    )
    assert [{*record.gold} for record in data.records] == [
        {"x", "b"},
        set(),
        {"a"},
    ]
    ((_, y, _),) = take(data.evaluation_dataset(batch_size=3), 1)
    assert y["multi_label"].tolist() == rows
    # A column per label: in the order of the columns, also never 1.
    path = tmp_path / "a.csv"
    path.write_text("text,x,never,b\nba,1,0,1.0\nde,0,0,false\n")
    columns = config(task="multi_label", label_column="x, never,b")
    data = open_labelled_data(str(path), tokenizer, columns)
    assert data.labels == ("x", "never", "b")
    ((_, y, _),) = take(data.evaluation_dataset(batch_size=2), 1)
    assert y["multi_label"].tolist() == [[1, 0, 1], [0, 0, 0]]
    path.write_text("ba,1,0\nde,0,1\n")
    numbered = config(
        task="multi_label",
        text_column="0",
        label_column="1,2",
        labels=("x", "b"),
    )
    data = open_labelled_data(str(path), tokenizer, numbered)
    assert [record.gold for record in data.records] == [("x",), ("b",)]
    path.write_text("text,x,b\nba,1,2\n")
    with pytest.raises(ValueError, match="a.csv, line 2: column 'b'.*not '2'"):
        open_labelled_data(
            str(path), tokenizer, config(task="multi_label", label_column="x,b")
        )


def test_vectors_need_names(
    tmp_path: pathlib.Path, tokenizer: WordPieceTokenizer
) -> None:
    settings = config(task="multi_label")
    path = vectors(tmp_path / "a.jsonl", [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1\. .*--labels=0,1"):
        open_labelled_data(path, tokenizer, settings)
    # Ids of labels are names.
    path = vectors(tmp_path / "a.jsonl", [[1, 0], [2]])
    data = open_labelled_data(path, tokenizer, settings)
    assert data.labels == ("0", "1", "2")
    # And so are 0 and 1, if asked for.
    data = open_labelled_data(
        vectors(tmp_path / "a.jsonl", [[1, 0], [0]]),
        tokenizer,
        config(task="multi_label", labels=("0", "1")),
    )
    assert [record.gold for record in data.records] == [("1", "0"), ("0",)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"task": "multi_label", "label_column": "1,2", "labels": ("a",)},
            "1 names for 2 columns",
        ),
        (
            {"task": "multi_label", "label_column": "a,b", "labels": ("a",)},
            "columns a, b for the labels a",
        ),
        ({"task": "multi_label", "label_column": "a,a"}, "different columns"),
        ({"task": "clasification"}, "`task`"),
        ({"seq_length": 0}, "`seq_length`"),
        ({"stride": 0}, "`stride`"),
        ({"text_column": ""}, "`text_column`"),
        ({"task": "regression", "class_weights": "balanced"}, "class_weights"),
        ({"task": "multi_label", "class_balanced": True}, "class_balanced"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**settings)


def test_settings_must_leave_room(tokenizer: WordPieceTokenizer) -> None:
    with pytest.raises(ValueError, match="Received: 2. Use at least 3"):
        LabelledData(records(4), tokenizer, config(seq_length=2))
    with pytest.raises(ValueError, match="14 with seq_length=16.*: 15"):
        LabelledData(records(4), tokenizer, config(stride=15))
    with pytest.raises(ValueError, match="Received: 4"):
        LabelledData(records(3), tokenizer, config()).dataset()


def test_two_replicas_share_a_batch(tokenizer: WordPieceTokenizer) -> None:
    data = LabelledData(records(30), tokenizer, config())
    ((x, y, _),) = take(data.dataset(), 1)
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    spread = strategy.experimental_distribute_dataset(data.dataset())
    inputs, labels, _ = next(iter(spread))
    equal(
        strategy.experimental_local_results(inputs["token_ids"])[0].numpy(),
        x["token_ids"],
    )
    equal(
        strategy.experimental_local_results(labels["classification"])[
            0
        ].numpy(),
        y["classification"],
    )
    halves = next(iter(data.dataset().rebatch(2)))
    equal(halves[0]["token_ids"].numpy(), x["token_ids"][:2])


def test_no_records(tokenizer: WordPieceTokenizer) -> None:
    with pytest.raises(ValueError, match="`records` .*none"):
        LabelledData([], tokenizer, config())
