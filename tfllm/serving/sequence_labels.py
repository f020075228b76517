"""Tasks with one output for a whole text: labels, numbers, vectors.

The outputs of the windows of a long text are averaged.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.labelled.rows import row_layout
from tfllm.evaluation.probabilities import sigmoid, softmax
from tfllm.serving import probes
from tfllm.serving.labelled_serving import LabelledServing
from tfllm.serving.served_task import (
    DEFAULT,
    TOKEN_IDS,
    Arrays,
    Check,
    ExportSettings,
    ServedFunction,
    Tensors,
    as_strings,
    strings,
    valid_utf8,
)

CLASSIFY = "classify"
REGRESS = "regress"
_EXAMPLE = "inputs"


@dataclasses.dataclass(frozen=True)
class SequenceOutput:
    """What a kind of task answers.

    Attributes:
        outputs: Name -> what it is, for people.
        main: Name of the output that is the task's own.
        post: Task, mean output [B, ...] -> outputs by name.
        expected: Task, mean output of one text -> the same in NumPy.
    """

    outputs: dict[str, str]
    main: str
    post: Callable[[Any, tf.Tensor], Tensors]
    expected: Callable[[Any, np.ndarray], Arrays]


class SequenceServing(LabelledServing):
    """A task with one output for a text, or for a pair.

    Args:
        task: A Classification or an Embedding.
        tokenizer: Its tokenizer.
        settings: `seq_length`, `stride` and `pairs` count.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self, task: Any, tokenizer: Any, settings: ExportSettings
    ) -> None:
        """See the class."""
        layout = row_layout.layout_of(tokenizer)
        super().__init__(task, tokenizer, settings, layout)
        self.output = SEQUENCE_OUTPUTS[task.kind]
        self.names = ("text", "text_pair") if settings.pairs else ("text",)
        outputs = self.output.outputs
        self.functions = self.signatures(self.names, outputs, outputs)
        if task.kind in ("classification", "multi_label"):
            self.functions[CLASSIFY] = ServedFunction(
                self.classify,
                strings(_EXAMPLE),
                {
                    "classes": "string [B, L]: names of the labels",
                    "scores": "float32 [B, L]: their probabilities",
                },
            )
        elif task.kind == "regression":
            self.functions[REGRESS] = ServedFunction(
                self.regress,
                strings(_EXAMPLE),
                {"outputs": "float32 [B]: the numbers"},
            )

    def from_text(self, **texts: tf.Tensor) -> Tensors:
        """Answers for texts, string [B]."""
        ids = [
            self.tokenizer.tokenize(valid_utf8(texts[name]))
            for name in self.names
        ]
        rows = self.rows.single(*ids) if len(ids) == 1 else self.rows.pair(*ids)
        values = self.task(rows.inputs)[self.task.kind]
        mean = tf.math.unsorted_segment_mean(
            values, rows.owners, tf.shape(texts["text"])[0]
        )
        mean.set_shape([None, *values.shape[1:]])
        return self.output.post(self.task, mean)

    def from_ids(self, **inputs: tf.Tensor) -> Tensors:
        """Answers for rows of ids, special tokens included."""
        rows = self.rows.from_ids(**inputs)
        return self.output.post(self.task, self.task(rows)[self.task.kind])

    def classify(self, inputs: tf.Tensor) -> Tensors:
        """Answers for serialized tf.Examples, as Classify asks for."""
        scores = self.from_text(**self._parse(inputs))["scores"]
        names = tf.constant([list(self.task.labels)])
        return {
            "classes": tf.tile(names, [tf.shape(scores)[0], 1]),
            "scores": scores,
        }

    def regress(self, inputs: tf.Tensor) -> Tensors:
        """Answers for serialized tf.Examples, as Regress asks for."""
        return {"outputs": self.from_text(**self._parse(inputs))["value"]}

    def _parse(self, examples: tf.Tensor) -> Tensors:
        feature = tf.io.FixedLenFeature([], tf.string, "")
        return tf.io.parse_example(examples, dict.fromkeys(self.names, feature))

    def checks(self) -> list[Check]:
        """See ServedTask."""
        found = []
        for texts in probes.batches(probes.texts(self.rows.seq_length)):
            groups = probes.groups(texts, len(self.names) == 2)
            expected = self._expected(groups)
            inputs = self._inputs(groups)
            found.append(Check(DEFAULT, inputs, expected))
            examples = {_EXAMPLE: as_strings(_examples(self.names, groups))}
            if CLASSIFY in self.functions:
                classes = np.array(
                    [n.encode() for n in self.task.labels], object
                )
                rows = [
                    {"classes": classes, "scores": one["scores"]}
                    for one in expected
                ]
                found.append(Check(CLASSIFY, examples, rows))
            if REGRESS in self.functions:
                rows = [{"outputs": one["value"]} for one in expected]
                found.append(Check(REGRESS, examples, rows))
            if len(self.names) == 1 and len(groups) > 1:
                ids = [self.row(text) for (text,) in groups]
                fits = max(map(len, ids)) <= self.rows.seq_length
                if fits:
                    arrays = self.id_arrays(ids)
                    found.append(Check(TOKEN_IDS, arrays, expected))
        return found

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """See the base class."""
        groups = probes.groups([text], len(self.names) == 2)
        examples = {_EXAMPLE: as_strings(_examples(self.names, groups))}
        own = [name for name in (CLASSIFY, REGRESS) if name in self.functions]
        return [
            (DEFAULT, self._inputs(groups)),
            *((name, examples) for name in own),
        ]

    def id_request(self, x: Arrays) -> Arrays:
        """See the base class; pairs to embed, [B, 2, T], one by one."""
        width = x["token_ids"].shape[-1]
        return super().id_request(
            {name: part.reshape(-1, width) for name, part in x.items()}
        )

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """See the base class."""
        values, shape = answer[self.output.main], x["token_ids"].shape
        if len(shape) == 3:
            values = values.reshape(*shape[:2], -1)
        return {self.task.kind: values}

    def _inputs(self, groups: list[tuple[bytes, ...]]) -> Arrays:
        return {
            name: as_strings([group[i] for group in groups])
            for i, name in enumerate(self.names)
        }

    def _expected(self, groups: list[tuple[bytes, ...]]) -> list[Arrays]:
        """Returns what the Python task says.

        Pairs to embed are not pairs of a row.
        """
        outputs = self.answers(groups).outputs
        return [self.output.expected(self.task, output) for output in outputs]


def _examples(
    names: tuple[str, ...], groups: list[tuple[bytes, ...]]
) -> list[bytes]:
    """Returns texts as serialized tf.Examples."""
    return [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    name: tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[text])
                    )
                    for name, text in zip(names, group, strict=True)
                }
            )
        ).SerializeToString()
        for group in groups
    ]


def _label(task: Any, logits: tf.Tensor) -> Tensors:
    scores = tf.nn.softmax(logits)
    label_id = tf.argmax(logits, axis=1, output_type=tf.int32)
    return {
        "label": tf.gather(tf.constant(list(task.labels)), label_id),
        "label_id": label_id,
        "score": tf.reduce_max(scores, axis=1),
        "scores": scores,
        "logits": logits,
    }


def _expected_label(task: Any, logits: np.ndarray) -> Arrays:
    best, scores = int(logits.argmax()), softmax(logits)
    return {
        "label": np.array(task.labels[best].encode(), object),
        "label_id": np.array(best, np.int32),
        "score": scores.max(),
        "scores": scores,
        "logits": logits,
    }


def _labels(task: Any, logits: tf.Tensor) -> Tensors:
    order = tf.argsort(logits, axis=1, direction="DESCENDING", stable=True)
    counts = tf.reduce_sum(tf.cast(logits >= 0.0, tf.int32), axis=1)
    names = tf.gather(tf.constant(list(task.labels)), order)
    place = tf.range(tf.shape(names)[1])
    return {
        "labels": tf.where(place < counts[:, None], names, ""),
        "num_labels": counts,
        "scores": tf.sigmoid(logits),
        "logits": logits,
    }


def _expected_labels(task: Any, logits: np.ndarray) -> Arrays:
    order = [i for i in np.argsort(-logits, kind="stable") if logits[i] >= 0.0]
    names = np.full(len(logits), b"", object)
    names[: len(order)] = [task.labels[i].encode() for i in order]
    return {
        "labels": names,
        "num_labels": np.array(len(order), np.int32),
        "scores": sigmoid(logits),
        "logits": logits,
    }


# Kind of task -> what it answers.
SEQUENCE_OUTPUTS = {
    "classification": SequenceOutput(
        {
            "label": "string [B]: the most probable label",
            "label_id": "int32 [B]: its number",
            "score": "float32 [B]: its probability",
            "scores": "float32 [B, L]: the probabilities of all labels",
            "logits": "float32 [B, L]",
        },
        "logits",
        _label,
        _expected_label,
    ),
    "multi_label": SequenceOutput(
        {
            "labels": "string [B, L]: the labels of a probability of at least "
            "0.5, best first, then empty",
            "num_labels": "int32 [B]: how many these are",
            "scores": "float32 [B, L]: the probability of each label",
            "logits": "float32 [B, L]",
        },
        "logits",
        _labels,
        _expected_labels,
    ),
    "regression": SequenceOutput(
        {"value": "float32 [B]: the number"},
        "value",
        lambda _, values: {"value": values},
        lambda _, value: {"value": np.asarray(value)},
    ),
    "embedding": SequenceOutput(
        {"embedding": "float32 [B, D]: the vector"},
        "embedding",
        lambda _, values: {"embedding": values},
        lambda _, value: {"embedding": np.reshape(value, [-1])},
    ),
}
