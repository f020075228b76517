"""What pipelines can be called with: containers, streams, names of places."""

import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import tfllm
from tests.prediction.pipelines.small_folders import TEXTS, equal
from tfllm.prediction.pipelines import Pipeline, TextClassification
from tfllm.prediction.pipelines.inputs import open_inputs


class Column:
    """As a column of the package `datasets`: neither list nor iterator."""

    def __init__(self, texts: list[str]) -> None:
        self.texts, self.read = texts, 0

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, i: int) -> str:
        self.read += 1
        return self.texts[i]


@pytest.fixture(scope="module")
def pipe(folders: pathlib.Path) -> Pipeline:
    return tfllm.pipeline(
        "sentiment-analysis", model=folders / "classification"
    )


DATASET = tf.data.Dataset.from_tensor_slices
IN_MEMORY = {
    "tuple": tuple(TEXTS),
    "array": np.array(TEXTS),
    "object array": np.array(TEXTS, object),
    "bytes": np.array([text.encode() for text in TEXTS]),
    "series": pd.Series(TEXTS, index=["a", "b"]),
    "frame column": pd.DataFrame({"text": TEXTS, "label": [0, 1]})["text"],
    "tensor": tf.constant(TEXTS),
}
STREAMS = {
    "generator": lambda: (text for text in TEXTS),
    "iterator": lambda: iter(TEXTS),
    "map": lambda: map(str, TEXTS),
    "column": lambda: Column(TEXTS),
    "tf.data": lambda: DATASET(TEXTS),
    "tf.data as NumPy": lambda: DATASET(TEXTS).as_numpy_iterator(),
}


@pytest.mark.parametrize("name", IN_MEMORY)
def test_containers(pipe: Pipeline, name: str) -> None:
    equal(pipe(IN_MEMORY[name]), pipe(TEXTS))


@pytest.mark.parametrize("name", STREAMS)
def test_streams(pipe: Pipeline, name: str) -> None:
    results = pipe(STREAMS[name]())
    assert iter(results) is results
    equal(list(results), pipe(TEXTS))


def test_one_text(pipe: Pipeline) -> None:
    for text in (np.str_(TEXTS[0]), TEXTS[0].encode(), tf.constant(TEXTS[0])):
        equal(pipe(text), pipe(TEXTS[0]))


def test_pairs(pipe: Pipeline) -> None:
    pairs = [{"text": text, "text_pair": "kiki"} for text in TEXTS]
    dataset = DATASET({"text": TEXTS, "text_pair": ["kiki"] * 2})
    equal(list(pipe(dataset)), pipe(pairs))
    frame = pd.DataFrame(pairs)
    equal(pipe(frame.to_dict("records")), pipe(pairs))
    # Texts and pairs together.
    equal(pipe([TEXTS[0], *pairs]), [*pipe(TEXTS[0]), *pipe(pairs)])


def test_a_stream_is_read_a_batch_at_a_time(pipe: Pipeline) -> None:
    read = []

    def endless() -> Iterator[str]:
        while True:
            read.append(TEXTS[len(read) % 2])
            yield read[-1]

    results = pipe(endless(), batch_size=3)
    assert not read
    first = [next(results) for _ in range(3)]
    assert len(read) == 3
    next(results)
    assert len(read) == 6
    equal(first[:2], pipe(TEXTS))


def test_options_of_a_stream_are_checked_at_once(pipe: Pipeline) -> None:
    with pytest.raises(ValueError, match="`top_k` must be.*Received: 0"):
        pipe(iter(TEXTS), top_k=0)


def test_other_pipelines_take_streams(folders: pathlib.Path) -> None:
    ask = tfllm.pipeline(model=folders / "question_answering")
    asked = [{"question": "baba?", "context": text} for text in TEXTS]
    equal(list(ask(iter(asked))), ask(asked))
    contexts = pd.Series(TEXTS)
    equal(ask(question=pd.Series(["baba?"] * 2), context=contexts), ask(asked))
    write = tfllm.pipeline(
        model=folders / "causal_lm", max_new_tokens=3, do_sample=True
    )
    # The draws of a prompt do not depend on batches.
    texts = [*TEXTS, *TEXTS]
    assert list(write(iter(texts), batch_size=3)) == write(texts)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["a", float("nan")], "Received: nan as input 1"),
        (["a", None], "Received: None as input 1"),
        (
            pd.Series(["a", None], index=["x", "y"]),
            r"Received: \w+ as input 1 \(index 'y'\)",
        ),
        (["a", "b", " "], "Received: ' ' as input 2"),
        (np.array([1.5]), "Received: .*1.5.* as input 0"),
        (b"\xff", "must be UTF-8"),
        ([["a", "b"]], "pairs are dicts of `text` and `text_pair`"),
        (None, "Received: None"),
        (3, "Received: 3"),
        (
            pd.DataFrame({"text": TEXTS, "label": [0, 1]}),
            r"Received: a table with the columns \['text', 'label'\]",
        ),
        (np.array([TEXTS]), r"an array of shape \(1, 2\)"),
        (
            {"text": "a", "txt_pair": "b"},
            r"Received: \['txt_pair'\] as well in input 0",
        ),
        ([{"text_pair": "b"}], "`text` must be texts. Received: None"),
    ],
)
def test_what_is_no_input(pipe: Pipeline, inputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(inputs)


@pytest.mark.parametrize(
    "dataset", [DATASET((TEXTS, [0, 1])), DATASET(TEXTS).batch(2)]
)
def test_what_is_no_element(pipe: Pipeline, dataset: Any) -> None:
    with pytest.raises(ValueError, match="without labels or batches"):
        next(pipe(dataset))


def test_nothing_is_predicted_before_all_inputs_are_read(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def predict(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a text was predicted")

    monkeypatch.setattr(TextClassification, "predict", predict)
    with pytest.raises(ValueError, match=re.escape("None as input 20")):
        pipe(["a"] * 20 + [None])


def test_no_inputs(pipe: Pipeline) -> None:
    assert pipe([]) == []
    assert list(pipe(iter([]))) == []


def test_the_number_of_a_series_without_labels() -> None:
    (item,) = open_inputs(pd.Series(["a"])).items
    assert item == ("input 0 (index 0)", "a")
