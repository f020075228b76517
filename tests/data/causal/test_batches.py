"""Tests of tfllm.data.causal.batches."""

import dataclasses
import itertools
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.data.token_stream.test_stream import EOS, Bytes
from tfllm.data.causal import batches as causal_batches
from tfllm.data.causal.batches import CausalDataConfig, open_causal_data
from tfllm.tokenizers import SpecialIds

LENGTH, BATCH = 8, 4
_CONFIG = CausalDataConfig(seq_length=LENGTH, batch_size=BATCH, seed=3)


@pytest.fixture(name="file", scope="module")
def _file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Documents of 1 to 30 letters."""
    rng = np.random.default_rng(1)
    documents = [
        "".join(rng.choice(list("abcdef"), rng.integers(1, 30)))
        for _ in range(20)
    ]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join(documents))
    return str(path)


def ids_of(file: str) -> list[int]:
    documents = pathlib.Path(file).read_bytes().split(b"\n\n")
    found = list(documents[0])
    for document in documents[1:]:
        found += [EOS, *document]
    return found


def take(dataset: tf.data.Dataset, count: int) -> list[Any]:
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def predicted(batches: list[Any]) -> list[tuple[bytes, int]]:
    """(context in the row, next token) of every label with weight."""
    found = []
    for x, y, weights in batches:
        for tokens, labels, row in zip(
            x["token_ids"], y["clm"], weights["clm"], strict=True
        ):
            for i in np.flatnonzero(row):
                found.append((tokens[: i + 1].tobytes(), int(labels[i])))
    return found


def test_every_token_but_the_first_is_predicted_once(file: str) -> None:
    whole = ids_of(file)
    data = open_causal_data(file, Bytes(), _CONFIG)
    rows = -(-(len(whole) - 1) // LENGTH)
    assert data.num_examples == rows
    batches = take(data.evaluation_dataset(), 99)
    labels = [label for _, label in predicted(batches)]
    assert labels == whole[1:]
    inputs = np.concatenate([x["token_ids"].ravel() for x, _, _ in batches])
    assert inputs[: len(whole) - 1].tolist() == whole[:-1]


def test_an_epoch_holds_every_row_once(file: str) -> None:
    data = open_causal_data(
        file, Bytes(), dataclasses.replace(_CONFIG, batch_size=1)
    )
    batches = take(data.dataset(), data.num_examples)
    inputs = [x["token_ids"].tobytes() for x, _, _ in batches]
    expected = take(data.evaluation_dataset(), data.num_examples)
    assert sorted(inputs) == sorted(
        x["token_ids"].tobytes() for x, _, _ in expected
    )
    assert inputs != [x["token_ids"].tobytes() for x, _, _ in expected]


@pytest.mark.parametrize("start", [1, 5, 30])
def test_training_is_seekable(
    file: str, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal_batches, "_ROWS_PER_UNIT", 4)
    config = dataclasses.replace(_CONFIG, units_per_group=2)
    data = open_causal_data(file, Bytes(), config)
    assert data.steps_per_epoch < 30
    whole = take(data.dataset(), start + 3)[start:]
    for one, other in zip(whole, take(data.dataset(start), 3), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize("stride", [1, 3, LENGTH])
def test_a_stride_predicts_once_with_more_context(
    file: str, stride: int
) -> None:
    whole = ids_of(file)
    config = dataclasses.replace(_CONFIG, stride=stride)
    data = open_causal_data(file, Bytes(), config)
    found = predicted(take(data.evaluation_dataset(), 999))
    assert [label for _, label in found] == whole[1:]
    for place, (context, _) in enumerate(found):
        size = len(context) // 4
        assert size >= min(place + 1, LENGTH - stride + 1)
        expected = np.array(whole[place + 1 - size : place + 1], np.int32)
        assert context == expected.tobytes()


def test_isolated_documents(file: str) -> None:
    config = dataclasses.replace(_CONFIG, isolate_documents=True)
    data = open_causal_data(file, Bytes(), config)
    seen = 0
    for x, _, _ in take(data.evaluation_dataset(), 99):
        for row, numbers, positions in zip(
            x["token_ids"], x["document_ids"], x["position_ids"], strict=True
        ):
            number = position = 0
            for i, token in enumerate(row):
                if token == EOS:
                    number, position, seen = number + 1, 0, seen + 1
                elif i:
                    position += 1
                assert (numbers[i], positions[i]) == (number, position)
    assert seen == 19


def test_isolation_needs_an_end_of_text(file: str) -> None:
    tokenizer = Bytes()
    tokenizer.special = SpecialIds()
    config = dataclasses.replace(_CONFIG, isolate_documents=True)
    with pytest.raises(ValueError, match="isolate_documents"):
        open_causal_data(file, tokenizer, config)


def test_shapes_are_static(file: str) -> None:
    data = open_causal_data(file, Bytes(), _CONFIG)
    for dataset in (data.dataset(), data.evaluation_dataset()):
        x, y, weights = dataset.element_spec
        for spec in (x["token_ids"], y["clm"], weights["clm"]):
            assert spec.shape == (BATCH, LENGTH)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 9}, "stride.*8.*Received: 9"),
        ({"stride": 0}, "stride.*Received: 0"),
        ({"document_per": "page"}, "document_per.*Received: 'page'"),
        ({"seq_length": 0}, "seq_length.*Received: 0"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(_CONFIG, **changes)


def test_too_little_text(file: str) -> None:
    config = dataclasses.replace(_CONFIG, batch_size=1000)
    data = open_causal_data(file, Bytes(), config)
    with pytest.raises(ValueError, match="batch_size.*Received: 1000"):
        data.dataset()
