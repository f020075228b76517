"""Signatures of tasks with one output for a text: labels, numbers, vectors.

The outputs for the windows of a long text are averaged.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfllm.outputs.probabilities import sigmoid, softmax
from tfllm.serving import probes
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.signatures.labelled_serving import LabelledServing
from tfllm.serving.signatures.served_task import (
    DEFAULT,
    TOKEN_IDS,
    Arrays,
    Check,
    ServedFunction,
    Tensors,
    as_strings,
    strings,
    valid_utf8,
)
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer

CLASSIFY = "classify"
REGRESS = "regress"
_EXAMPLE = "inputs"


@dataclasses.dataclass(frozen=True)
class SequenceOutput:
    """Outputs of a kind of task.

    Attributes:
        outputs: Output name -> description.
        main: Name of the output that equals the task's output.
        post: Task, mean output [B, ...] -> outputs by name.
        expected: Task, mean output of one text -> the same in NumPy.
        method: Method of TensorFlow Serving besides Predict: CLASSIFY for
            `scores` of labels, REGRESS for a `value`, "" for none.
    """

    outputs: dict[str, str]
    main: str
    post: Callable[[Task, tf.Tensor], Tensors]
    expected: Callable[[Task, np.ndarray], Arrays]
    method: str = ""


class SequenceServing(LabelledServing):
    """Signatures of a task with one output for a text or a pair.

    Args:
        task: A Classification or an Embedding.
        tokenizer: Tokenizer of the task.
        settings: Reads `seq_length`, `stride` and `pairs`.
        output: Outputs of the signatures.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: Tokenizer,
        settings: ExportSettings,
        output: SequenceOutput,
    ) -> None:
        super().__init__(task, tokenizer, settings, tokenizer.row_template)
        self.output = output
        self.names = ("text", "text_pair") if settings.pairs else ("text",)
        outputs = output.outputs
        self.functions = self.signatures(self.names, outputs, outputs)
        if output.method == CLASSIFY:
            self.functions[CLASSIFY] = ServedFunction(
                self.classify,
                strings(_EXAMPLE),
                {
                    "classes": "string [B, L]: names of the labels",
                    "scores": "float32 [B, L]: their probabilities",
                },
            )
        elif output.method == REGRESS:
            self.functions[REGRESS] = ServedFunction(
                self.regress,
                strings(_EXAMPLE),
                {"outputs": "float32 [B]: the predicted numbers"},
            )

    def from_text(self, **texts: tf.Tensor) -> Tensors:
        """Answers for texts, string [B]."""
        prompt = self.task.prompt
        ids = [
            self.tokenizer.tokenize(prompt + valid_utf8(texts[name]))
            for name in self.names
        ]
        rows = self.rows.single(*ids) if len(ids) == 1 else self.rows.pair(*ids)
        outputs = self.run_rows(rows.inputs)[self.task.kind]
        # [R, ...] -> [B, ...]
        mean = tf.math.unsorted_segment_mean(
            outputs, rows.owners, tf.shape(texts["text"])[0]
        )
        mean.set_shape([None, *outputs.shape[1:]])
        return self.output.post(self.task, mean)

    def from_ids(self, **inputs: tf.Tensor) -> Tensors:
        """Answers for rows of ids, int32 [B, T], special tokens included."""
        outputs = self.run_rows(self.rows.from_ids(**inputs))[self.task.kind]
        return self.output.post(self.task, outputs)

    def classify(self, inputs: tf.Tensor) -> Tensors:
        """Answers Classify: serialized tf.Examples, string [B]."""
        scores = self.from_text(**self._parse(inputs))["scores"]
        names = tf.constant([list(self.task.labels)])  # [1, L]
        return {
            "classes": tf.tile(names, [tf.shape(scores)[0], 1]),  # [B, L]
            "scores": scores,
        }

    def regress(self, inputs: tf.Tensor) -> Tensors:
        """Answers Regress: serialized tf.Examples, string [B]."""
        return {"outputs": self.from_text(**self._parse(inputs))["value"]}

    def _parse(self, examples: tf.Tensor) -> Tensors:
        feature = tf.io.FixedLenFeature([], tf.string, "")
        return tf.io.parse_example(examples, dict.fromkeys(self.names, feature))

    def checks(self) -> list[Check]:
        """Returns requests with the answers of the Python task."""
        checks = []
        for texts in probes.batches(probes.texts(self.rows.seq_length)):
            groups = probes.groups(texts, len(self.names) == 2)
            expected = self._expected(groups)
            inputs = self._inputs(groups)
            checks.append(Check(DEFAULT, inputs, expected))
            examples = {_EXAMPLE: as_strings(_examples(self.names, groups))}
            if CLASSIFY in self.functions:
                classes = np.array(
                    [n.encode() for n in self.task.labels], object
                )
                rows = [
                    {"classes": classes, "scores": answer["scores"]}
                    for answer in expected
                ]
                checks.append(Check(CLASSIFY, examples, rows))
            if REGRESS in self.functions:
                rows = [{"outputs": answer["value"]} for answer in expected]
                checks.append(Check(REGRESS, examples, rows))
            if len(self.names) == 1 and len(groups) > 1:
                ids = [self.row(text) for (text,) in groups]
                fits = max(map(len, ids)) <= self.rows.seq_length
                if fits:
                    arrays = self.id_arrays(ids)
                    checks.append(Check(TOKEN_IDS, arrays, expected))
        return checks

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """Returns requests with a text, for Predict, Classify and Regress."""
        groups = probes.groups([text], len(self.names) == 2)
        examples = {_EXAMPLE: as_strings(_examples(self.names, groups))}
        methods = [
            name for name in (CLASSIFY, REGRESS) if name in self.functions
        ]
        return [
            (DEFAULT, self._inputs(groups)),
            *((name, examples) for name in methods),
        ]

    def id_request(self, x: Arrays) -> Arrays:
        """Returns a request with rows of a dataset, [B, T] or [B, 2, T]."""
        width = x["token_ids"].shape[-1]
        # Pairs of texts to embed: [B, 2, T] -> [2 * B, T]
        return super().id_request(
            {name: part.reshape(-1, width) for name, part in x.items()}
        )

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """Returns the main output, float32 [B, ...], or [B, 2, D] for pairs."""
        output, shape = answer[self.output.main], x["token_ids"].shape
        if len(shape) == 3:
            output = output.reshape(*shape[:2], -1)  # [2 * B, D] -> [B, 2, D]
        return {self.task.kind: output}

    def _inputs(self, groups: list[tuple[bytes, ...]]) -> Arrays:
        return {
            name: as_strings([group[i] for group in groups])
            for i, name in enumerate(self.names)
        }

    def _expected(self, groups: list[tuple[bytes, ...]]) -> list[Arrays]:
        """Returns the answers of the Python task."""
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


def _label(task: Task, logits: tf.Tensor) -> Tensors:
    scores = tf.nn.softmax(logits)
    label_id = tf.argmax(logits, axis=1, output_type=tf.int32)
    return {
        "label": tf.gather(tf.constant(list(task.labels)), label_id),
        "label_id": label_id,
        "score": tf.reduce_max(scores, axis=1),
        "scores": scores,
        "logits": logits,
    }


def _expected_label(task: Task, logits: np.ndarray) -> Arrays:
    best, scores = int(logits.argmax()), softmax(logits)
    return {
        "label": np.array(task.labels[best].encode(), object),
        "label_id": np.array(best, np.int32),
        "score": scores.max(),
        "scores": scores,
        "logits": logits,
    }


def _labels(task: Task, logits: tf.Tensor) -> Tensors:
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


def _expected_labels(task: Task, logits: np.ndarray) -> Arrays:
    order = [i for i in np.argsort(-logits, kind="stable") if logits[i] >= 0.0]
    names = np.full(len(logits), b"", object)
    names[: len(order)] = [task.labels[i].encode() for i in order]
    return {
        "labels": names,
        "num_labels": np.array(len(order), np.int32),
        "scores": sigmoid(logits),
        "logits": logits,
    }


ONE_LABEL = SequenceOutput(
    {
        "label": "string [B]: the most probable label",
        "label_id": "int32 [B]: its index",
        "score": "float32 [B]: its probability",
        "scores": "float32 [B, L]: the probabilities of all labels",
        "logits": "float32 [B, L]",
    },
    "logits",
    _label,
    _expected_label,
    CLASSIFY,
)
SEVERAL_LABELS = SequenceOutput(
    {
        "labels": "string [B, L]: the labels with a probability of at least "
        "0.5, best first, then empty",
        "num_labels": "int32 [B]: number of these labels",
        "scores": "float32 [B, L]: the probability of each label",
        "logits": "float32 [B, L]",
    },
    "logits",
    _labels,
    _expected_labels,
    CLASSIFY,
)
NUMBER = SequenceOutput(
    {"value": "float32 [B]: the number, after the model's activation"},
    "value",
    lambda _, values: {"value": values},
    lambda _, value: {"value": np.asarray(value)},
    REGRESS,
)
VECTOR = SequenceOutput(
    {"embedding": "float32 [B, D]: the vector"},
    "embedding",
    lambda _, values: {"embedding": values},
    lambda _, value: {"embedding": np.reshape(value, [-1])},
)
