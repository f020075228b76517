"""Multiple choice: which of several texts goes on best."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.labelled.rows import row_layout
from tfllm.evaluation.probabilities import softmax
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
from tfllm.tasks.multiple_choice import MultipleChoice

CHOICES = "choices"
OUTPUTS = {
    "choice": "int32 [B]: the number of the best choice, from 0",
    "choice_text": "string [B]: its text",
    "score": "float32 [B]: its probability",
    "scores": "float32 [B, C]: the probabilities of all choices",
    "logits": "float32 [B, C]",
}
# Of a choice that is blank: below any other, and finite for JSON.
_NO_CHOICE = -1e9
# What is put beside the texts of the gate.
_CHOICES = (b"the best of times", "自然 dog, 🙂".encode(), b"it was " * 60)


class ChoiceServing(LabelledServing):
    """A task that takes a text and choices, string [B] and [B, C].

    Requests of one batch have as many choices each; those that are missing
    are blank, and never chosen.

    Args:
        task: The task.
        tokenizer: Its tokenizer.
        settings: `seq_length` counts; with `pairs`, choices continue a second
            text.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self, task: MultipleChoice, tokenizer: Any, settings: ExportSettings
    ) -> None:
        """See the class."""
        layout = row_layout.layout_of(tokenizer)
        super().__init__(task, tokenizer, settings, layout)
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
                self.from_ids, {**ids, "lengths": lengths}, id_outputs
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
        is_one = tf.strings.strip(choices) != ""
        seconds, shape = choices, tf.shape(choices)
        if text_pair is not None:
            before = valid_utf8(text_pair)[:, None]
            before = tf.broadcast_to(before, shape)
            seconds = tf.strings.join([before, choices], " ")
        owners = tf.repeat(tf.range(shape[0]), shape[1])
        rows = self.rows.cut_pair(
            tf.gather(self.tokenizer.tokenize(valid_utf8(text)), owners),
            self.tokenizer.tokenize(tf.reshape(seconds, [-1])),
        )
        answer = self._answer(rows.inputs, shape, is_one)
        best = tf.gather(choices, answer["choice"], batch_dims=1)
        return {**answer, "choice_text": best}

    def from_ids(self, **inputs: tf.Tensor) -> Tensors:
        """Chooses among rows of ids, int32 [B, C, T]."""
        lengths = inputs["lengths"]
        width = tf.shape(inputs["token_ids"])[2]
        rows = self.rows.from_ids(
            **{
                name: tf.reshape(
                    values, [-1] if name == "lengths" else [-1, width]
                )
                for name, values in inputs.items()
            }
        )
        return self._answer(rows, tf.shape(lengths), lengths > 0)

    def _answer(
        self, rows: Tensors, shape: tf.Tensor, is_one: tf.Tensor
    ) -> Tensors:
        """Returns the outputs for rows [B * C, T].

        Args:
            rows: Inputs of the model.
            shape: int32, B and C.
            is_one: bool [B, C], whether there is such a choice.
        """
        folded = {
            name: tf.reshape(part, tf.concat([shape, tf.shape(part)[1:]], 0))
            for name, part in rows.items()
        }
        logits = self.task(folded)["multiple_choice"]
        logits = tf.where(is_one, logits, _NO_CHOICE)
        scores = tf.where(is_one, tf.nn.softmax(logits), 0.0)
        return {
            "choice": tf.argmax(logits, axis=1, output_type=tf.int32),
            "score": tf.reduce_max(scores, axis=1),
            "scores": scores,
            "logits": logits,
        }

    def checks(self) -> list[Check]:
        """See ServedTask."""
        found = []
        for texts in probes.batches(probes.texts(self.rows.seq_length)):
            # As many as that, and as many with one that is missing.
            found.append(self._check(texts, _CHOICES, 0))
            found.append(self._check(texts[:2], _CHOICES[:2], 1))
        row = self.row(b"the best of times")
        arrays = self.id_arrays([row, row[:-1], row[:3]])
        lengths = arrays["lengths"][..., None]
        mask = np.arange(len(row)) < lengths
        inputs = {**arrays, "padding_mask": mask.astype(np.int32)}
        del inputs["lengths"]
        logits = self.task(inputs)["multiple_choice"].numpy()[0]
        expected = _expected(logits, _CHOICES)
        del expected["choice_text"]
        return [*found, Check(TOKEN_IDS, arrays, [expected])]

    def _check(
        self, texts: list[bytes], choices: tuple[bytes, ...], missing: int
    ) -> Check:
        """Returns a request of texts with the same choices."""
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
            DEFAULT, inputs, [_expected(one, choices) for one in outputs]
        )

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """See the base class."""
        inputs = {name: as_strings([text]) for name in self.names}
        inputs[CHOICES] = as_strings([*_CHOICES, text])[None]
        return [(DEFAULT, inputs)]

    def id_request(self, x: Arrays) -> Arrays:
        """See the base class."""
        request = super().id_request(x)
        if "choice_mask" in x:
            request["lengths"] *= x["choice_mask"]
        return request

    def shaped(self, arrays: Arrays) -> Arrays:
        """See the base class: rows are the choices of one text."""
        return {name: array[np.newaxis] for name, array in arrays.items()}

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """See the base class."""
        return {"multiple_choice": answer["logits"]}


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
