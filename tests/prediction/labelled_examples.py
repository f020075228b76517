"""A tiny task of every kind, with records and rows made by hand."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tests.tasks.tiny_task import LENGTH, VOCABULARY, dataset, model_config
from tfllm import tasks
from tfllm.data.labelled.records.record import Record

Arrays = dict[str, np.ndarray]
Rows = tuple[Arrays, Arrays, Arrays, np.ndarray, Arrays]

BATCH = 4
NAMES = ("ham", "späm", "eggs")
TAGS = ("O", "B-X", "I-X")


@dataclasses.dataclass(frozen=True)
class Gold:
    """A gold answer."""

    text: str


class FixedRows:
    """What LabelledData offers for evaluation, from rows in memory."""

    is_labelled = True

    def __init__(self, records: list[Record], batches: list[Rows]) -> None:
        self.records = records
        self.batches = batches

    def evaluation_rows(
        self, batch_size: int | None = None, max_steps: int | None = None
    ) -> Iterator[Rows]:
        yield from self.batches[:max_steps]

    def dataset(self) -> tf.data.Dataset:
        return dataset([batch[:3] for batch in self.batches])

    def shuffled(self) -> "FixedRows":
        """The batches back to front, and a row in each that fills it up."""
        found = []
        for x, y, weights, numbers, marks in reversed(self.batches):

            def add(values: np.ndarray, fill: float | None = None) -> Any:
                last = values[-1:] if fill is None else values[-1:] * 0 + fill
                return np.concatenate([values[::-1], last]).astype(values.dtype)

            found.append(
                (
                    {n: add(v) for n, v in x.items()},
                    {n: add(v) for n, v in y.items()},
                    {n: add(v, 0) for n, v in weights.items()},
                    add(numbers, -1),
                    {n: add(v) for n, v in marks.items()},
                )
            )
        return FixedRows(self.records, found)

    def without_gold(self) -> "FixedRows":
        records = [dataclasses.replace(r, gold=None) for r in self.records]
        return FixedRows(
            records, [(x, {}, {}, n, m) for x, _, _, n, m in self.batches]
        )


@dataclasses.dataclass
class Example:
    """A task and data for it."""

    task: Any
    data: FixedRows


def inputs(rng: np.random.Generator, *shape: int) -> Arrays:
    """Token ids and what goes with them, [*shape, T]."""
    ids = rng.integers(5, VOCABULARY, (*shape, LENGTH)).astype("int32")
    lengths = rng.integers(4, LENGTH + 1, (*shape, 1))
    return {
        "token_ids": ids,
        "segment_ids": (ids > 20).astype("int32"),
        "padding_mask": (np.arange(LENGTH) < lengths).astype("int32"),
    }


def batches(
    numbers: list[int],
    make: Callable[[np.random.Generator, np.ndarray], tuple[Any, Any, Any]],
    weights: Callable[[Any], Arrays] | None = None,
) -> list[Rows]:
    """Cuts rows, given by the numbers of their records, into batches."""
    rng = np.random.default_rng(1)
    found = []
    for start in range(0, len(numbers), BATCH):
        part = np.array(numbers[start : start + BATCH], "int32")
        x, y, marks = make(rng, part)
        ones = {n: np.ones(v.shape, "float32") for n, v in y.items()}
        found.append((x, y, weights(marks) if weights else ones, part, marks))
    return found


def texts(golds: list[Any], *, count: int = 1) -> list[Record]:
    return [
        Record(str(i), f"file, line {i + 1}", (f"text {i}",) * count, gold)
        for i, gold in enumerate(golds)
    ]


# Two of the records are two windows.
WINDOWS = [0, 0, 1, 2, 3, 4, 4, 5]


def label_example(task: Any) -> Example:
    golds = [NAMES[i] for i in (0, 1, 2, 1, 0, 1)]
    ids = np.array([NAMES.index(name) for name in golds], "int32")
    return Example(
        task,
        FixedRows(
            texts(golds),
            batches(
                WINDOWS,
                lambda rng, n: (
                    inputs(rng, len(n)),
                    {"classification": ids[n]},
                    {},
                ),
            ),
        ),
    )


def several_example(task: Any) -> Example:
    table = np.random.default_rng(2).integers(0, 2, (6, len(NAMES)))
    golds = [
        tuple(n for n, has in zip(NAMES, row, strict=True) if has)
        for row in table
    ]
    return Example(
        task,
        FixedRows(
            texts(golds),
            batches(
                WINDOWS,
                lambda rng, n: (
                    inputs(rng, len(n)),
                    {"multi_label": table[n].astype("float32")},
                    {},
                ),
                lambda _: {"multi_label": np.ones(BATCH, "float32")},
            ),
        ),
    )


def number_example(task: Any) -> Example:
    golds = [0.5, 2.0, 3.5, 1.0, 0.0, 5.0]
    return Example(
        task,
        FixedRows(
            texts(golds),
            batches(
                WINDOWS,
                lambda rng, n: (
                    inputs(rng, len(n)),
                    {"regression": np.array(golds, "float32")[n]},
                    {},
                ),
            ),
        ),
    )


def tag_example(task: Any) -> Example:
    words = ((0, 1), (2, 3), (4, 5))
    golds = [("B-X", "I-X", "O"), ("O", "O", "B-X")] * 3
    records = [
        Record(str(i), "", ("a b c",), gold, words=words)
        for i, gold in enumerate(golds)
    ]

    def make(rng: np.random.Generator, n: np.ndarray) -> tuple[Any, Any, Any]:
        places = np.full((len(n), LENGTH), -1, "int32")
        labels = np.zeros((len(n), LENGTH), "int32")
        for row, number in enumerate(n):
            # Each word once, though record 0 and 4 have two windows.
            first = row > 0 and n[row - 1] == number
            two = WINDOWS.count(number) == 2
            mine = [0, 1, 2] if not two else [2] if first else [0, 1]
            for word in mine:
                places[row, 1 + word] = word
                labels[row, 1 + word] = TAGS.index(golds[number][word])
        return inputs(rng, len(n)), {"tagging": labels}, {"words": places}

    return Example(
        task,
        FixedRows(
            records,
            batches(
                [0, 0, 1, 2, 3, 4, 4, 5],
                make,
                lambda marks: {
                    "tagging": (marks["words"] >= 0).astype("float32")
                },
            ),
        ),
    )


def answer_example(task: Any) -> Example:
    context = "aa bb cc dd"
    golds = [(Gold("bb"),), (), (Gold("cc dd"), Gold("dd")), ()]
    records = [
        Record(str(i), "", ("who?", context), gold)
        for i, gold in enumerate(golds)
    ]
    offsets = np.full((LENGTH, 2), -1, "int32")
    offsets[3:7] = [(0, 2), (3, 5), (6, 8), (9, 11)]

    def make(rng: np.random.Generator, n: np.ndarray) -> tuple[Any, Any, Any]:
        x = inputs(rng, len(n))
        x["answer_mask"] = np.tile(
            (offsets[:, 0] >= 0).astype("int32"), (len(n), 1)
        )
        x["answer_mask"][:, 0] = 1
        places = np.array([4, 0, 5, 0], "int32")[n]
        marks = {
            "offsets": np.tile(offsets, (len(n), 1, 1)),
            "widest": np.ones((len(n), LENGTH), bool),
            "null": np.zeros(len(n), "int32"),
        }
        return x, {"start": places, "end": places}, marks

    return Example(
        task,
        FixedRows(records, batches([0, 0, 1, 1, 2, 3, 3, 3], make)),
    )


def pair_example(task: Any) -> Example:
    records = [
        Record(str(i), "", (f"first {i}", f"second {i}")) for i in range(8)
    ]
    return Example(
        task,
        FixedRows(
            records,
            batches(
                list(range(8)),
                lambda rng, n: (
                    inputs(rng, len(n), 2),
                    {"embedding": np.arange(len(n), dtype="int32")},
                    {},
                ),
            ),
        ),
    )


def choice_example(task: Any) -> Example:
    golds = [0, 2, 1, 1, 0, 2, 2, 0]
    return Example(
        task,
        FixedRows(
            texts(golds, count=4),
            batches(
                list(range(8)),
                lambda rng, n: (
                    inputs(rng, len(n), 3),
                    {"multiple_choice": np.array(golds, "int32")[n]},
                    {},
                ),
            ),
        ),
    )


EXAMPLES: dict[str, tuple[Callable[[Any], Example], dict[str, Any]]] = {
    "classification": (label_example, {"labels": NAMES}),
    "multi_label": (several_example, {"labels": NAMES}),
    "regression": (number_example, {}),
    "tagging": (tag_example, {"labels": TAGS}),
    "question_answering": (answer_example, {}),
    "embedding": (pair_example, {}),
    "multiple_choice": (choice_example, {}),
}


def example_of(kind: str) -> Example:
    """Returns a task with random weights, and data."""
    make, settings = EXAMPLES[kind]
    keras.utils.set_random_seed(1)
    config = model_config().with_initializer_range(0.5)
    return make(tasks.create(kind, config, **settings))
