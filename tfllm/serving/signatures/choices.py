"""Signatures of multiple choice: the text that continues another one best."""

import numpy as np
import tensorflow as tf

from tfllm.outputs.probabilities import softmax
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

CHOICES = "choices"
OUTPUTS = {
    "choice": "int32 [B]: the number of the best choice, from 0",
    "choice_text": "string [B]: its text",
    "score": "float32 [B]: its probability",
    "scores": "float32 [B, C]: the probabilities of all choices",
    "logits": "float32 [B, C]",
}
# Logit of a blank choice: below all others, and finite for JSON.
_NO_CHOICE = -1e9
# Choices beside the texts of the gate.
_CHOICES = (b"the best of times", "自然 dog, 🙂".encode(), b"it was " * 60)


class ChoiceServing(LabelledServing):
    """Signatures of a task that chooses among texts.

    A request holds texts, string [B], and choices, string [B, C]. Blank choices
    fill up rows with fewer choices; they are never chosen.

    Args:
        task: The task.
        tokenizer: Tokenizer of the task.
        settings: Reads `seq_length` and `pairs`; with `pairs`, choices continue
            a second text.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self, task: Task, tokenizer: Tokenizer, settings: ExportSettings
    ) -> None:
        super().__init__(task, tokenizer, settings, tokenizer.row_template)
        self.names = ("text", "text_pair") if settings.pairs else ("text",)
        choices = tf.TensorSpec([None, None], tf.string, CHOICES)
        id_outputs = {k: v for k, v in OUTPUTS.items() if k != "choice_text"}
        ids = {
            name: tf.TensorSpec([None, None, None], tf.int32, name)
            for name in ("token_ids", "segment_ids")[: 1 + self.has_segments]
        }
        lengths = tf.TensorSpec([None, None], tf.int32, "lengths")
        self.functions = {
            DEFAULT: ServedFunction(
                self.from_text,
                {**strings(*self.names), CHOICES: choices},
                OUTPUTS,
            ),
            TOKEN_IDS: ServedFunction(
                self.from_ids,
                {**ids, "lengths": lengths},
                id_outputs,
                self.limits,
            ),
        }

    def from_text(
        self,
        text: tf.Tensor,
        choices: tf.Tensor,
        text_pair: tf.Tensor | None = None,
    ) -> Tensors:
        """Chooses for texts, string [B], among choices, string [B, C]."""
        choices = valid_utf8(choices)
        exists = tf.strings.strip(choices) != ""
        seconds, shape = choices, tf.shape(choices)
        if text_pair is not None:
            before = valid_utf8(text_pair)[:, None]
            before = tf.broadcast_to(before, shape)  # [B, C]
            seconds = tf.strings.join([before, choices], " ")
        owners = tf.repeat(tf.range(shape[0]), shape[1])  # [B * C]
        rows = self.rows.cut_pair(
            tf.gather(self.tokenizer.tokenize(valid_utf8(text)), owners),
            self.tokenizer.tokenize(tf.reshape(seconds, [-1])),
        )
        answer = self._answer(rows.inputs, shape, exists)
        # [B, C] -> [B]
        best = tf.gather(choices, answer["choice"], batch_dims=1)
        return {**answer, "choice_text": best}

    def from_ids(self, **inputs: tf.Tensor) -> Tensors:
        """Chooses among rows of ids, int32 [B, C, T]."""
        lengths = inputs["lengths"]
        width = tf.shape(inputs["token_ids"])[2]
        rows = self.rows.from_ids(
            **{
                # [B, C] -> [B * C] and [B, C, T] -> [B * C, T]
                name: tf.reshape(
                    tensor, [-1] if name == "lengths" else [-1, width]
                )
                for name, tensor in inputs.items()
            }
        )
        return self._answer(rows, tf.shape(lengths), lengths > 0)

    def _answer(
        self, rows: Tensors, shape: tf.Tensor, exists: tf.Tensor
    ) -> Tensors:
        """Chooses among rows [B * C, T].

        Args:
            rows: Inputs of the model.
            shape: int32 [2], B and C.
            exists: bool [B, C], False for blank choices.
        """
        folded = {
            # [B * C, T] -> [B, C, T]
            name: tf.reshape(part, tf.concat([shape, tf.shape(part)[1:]], 0))
            for name, part in rows.items()
        }
        logits = self.task(folded)[self.task.kind]  # [B, C]
        logits = tf.where(exists, logits, _NO_CHOICE)
        scores = tf.where(exists, tf.nn.softmax(logits), 0.0)
        return {
            "choice": tf.argmax(logits, axis=1, output_type=tf.int32),
            "score": tf.reduce_max(scores, axis=1),
            "scores": scores,
            "logits": logits,
        }

    def checks(self) -> list[Check]:
        """Returns requests with the answers of the Python task."""
        checks = []
        for texts in probes.batches(probes.texts(self.rows.seq_length)):
            checks.append(self._check(texts, _CHOICES, 0))
            checks.append(self._check(texts[:2], _CHOICES[:2], 1))
        row = self.row(b"the best of times")
        arrays = self.id_arrays([row, row[:-1], row[:3]])
        lengths = arrays["lengths"][..., None]
        mask = np.arange(len(row)) < lengths
        inputs = {**arrays, "padding_mask": mask.astype(np.int32)}
        del inputs["lengths"]
        logits = self.task(inputs)[self.task.kind].numpy()[0]
        expected = _expected(logits, _CHOICES)
        del expected["choice_text"]
        return [*checks, Check(TOKEN_IDS, arrays, [expected])]

    def _check(
        self, texts: list[bytes], choices: tuple[bytes, ...], missing: int
    ) -> Check:
        """Returns a request of texts with the same choices.

        Args:
            texts: Texts of the request.
            choices: Choices of each text.
            missing: Number of blank choices to add.
        """
        pair = (b"and it",) * len(texts)
        seconds = choices
        inputs = {"text": as_strings(texts)}
        if "text_pair" in self.names:
            inputs["text_pair"] = as_strings(pair)
            seconds = tuple(pair[0] + b" " + choice for choice in choices)
        inputs[CHOICES] = np.stack(
            [as_strings([*choices, *[b" "] * missing])] * len(texts)
        )
        outputs = self.answers([(text, *seconds) for text in texts]).outputs
        return Check(
            DEFAULT, inputs, [_expected(logits, choices) for logits in outputs]
        )

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """Returns a request with a text and choices."""
        inputs = {name: as_strings([text]) for name in self.names}
        inputs[CHOICES] = as_strings([*_CHOICES, text])[None]
        return [(DEFAULT, inputs)]

    def id_request(self, x: Arrays) -> Arrays:
        """Returns a request with rows [B, C, T]; missing choices are empty."""
        request = super().id_request(x)
        if "choice_mask" in x:
            request["lengths"] *= x["choice_mask"]
        return request

    def shaped(self, arrays: Arrays) -> Arrays:
        """Returns rows [C, T] as the choices of one text, [1, C, T]."""
        return {name: array[np.newaxis] for name, array in arrays.items()}

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """Returns the logits of an answer, float32 [B, C]."""
        return {self.task.kind: answer["logits"]}


def _expected(logits: np.ndarray, choices: tuple[bytes, ...]) -> Arrays:
    """Returns the answer for the logits of choices, float [C]."""
    scores = softmax(logits)
    best = int(logits.argmax())
    return {
        "choice": np.array(best, np.int32),
        "choice_text": np.array(choices[best], object),
        "score": scores.max(),
        "scores": scores,
        "logits": logits,
    }
