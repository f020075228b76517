"""Question answering: the span of a context that answers, and its place."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.labelled.rows.questions import question_layout
from tfllm.evaluation.answers import MAX_ANSWER_TOKENS, N_BEST
from tfllm.evaluation.results import results
from tfllm.models.task_models import HIDDEN_LOGIT
from tfllm.serving import probes
from tfllm.serving.characters import Characters, stripped
from tfllm.serving.labelled_serving import LabelledServing
from tfllm.serving.rows import Rows, Shown
from tfllm.serving.served_task import (
    DEFAULT,
    Arrays,
    Check,
    ExportSettings,
    Tensors,
    as_strings,
    valid_utf8,
)
from tfllm.tasks.question_answering import QuestionAnswering

OUTPUTS = {
    "answer": "string [B]: the part of the context that answers; empty where "
    "there is no answer",
    "start": "int32 [B]: its first character in the context",
    "end": "int32 [B]: the character after its last",
    "score": "float32 [B]: its probability among the best spans",
    "null_difference": "float32 [B]: how far no answer lies above the best "
    "span; 0 where there is no span",
}
ID_OUTPUTS = {
    "start_logits": "float32 [B, T]: of the first token of the answer",
    "end_logits": "float32 [B, T]: of its last token",
}
# Below any logit, and above what overflows.
_NEVER = -1e30
_QUESTIONS = (b"", b" what was it? ", "wer  war 自然?".encode())


class QuestionAnsweringServing(LabelledServing):
    """A reader that takes a question and a context of any length.

    Args:
        task: The task.
        tokenizer: Its tokenizer.
        settings: `seq_length`, `stride` and `question_length` count.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self,
        task: QuestionAnswering,
        tokenizer: Any,
        settings: ExportSettings,
    ) -> None:
        """See the class."""
        layout = question_layout(tokenizer)
        # As everywhere: less where a window holds less.
        room = settings.seq_length - layout.num_special(1)
        settings = dataclasses.replace(
            settings, stride=min(settings.stride, room)
        )
        super().__init__(task, tokenizer, settings, layout)
        names = ("question", "context")
        self.functions = self.signatures(names, OUTPUTS, ID_OUTPUTS)

    def from_text(self, question: tf.Tensor, context: tf.Tensor) -> Tensors:
        """Answers questions, string [B], from contexts, string [B]."""
        context = valid_utf8(context)
        characters = Characters(context)
        asked = self.tokenizer.tokenize(stripped(valid_utf8(question)))
        ids, starts, ends = self.tokenizer.tokenize_with_offsets(context)
        texts = ids.value_rowids()
        last = characters.from_byte(texts, ends.flat_values)
        first = characters.holding(texts, starts.flat_values)
        first = tf.minimum(characters.filled(texts, first), last)
        rows = self.rows.behind(asked, ids, self.question_length)
        shown = rows.shown()
        places = tf.gather(ids.row_starts(), tf.gather(rows.owners, shown.rows))
        places += shown.sources
        spans = _Spans(
            rows, shown, tf.gather(first, places), tf.gather(last, places)
        )
        null = self._null(rows)
        mask = spans.inside | tf.one_hot(
            null, tf.shape(spans.inside)[1], True, False, dtype=tf.bool
        )
        outputs = self.task(
            {**rows.inputs, "answer_mask": tf.cast(mask, tf.int32)}
        )
        start, end = outputs["start"], outputs["end"]
        count = tf.shape(context)[0]
        null_logit = tf.math.unsorted_segment_min(
            tf.gather(start, null, batch_dims=1)
            + tf.gather(end, null, batch_dims=1),
            rows.owners,
            count,
        )
        logits, firsts, lasts = spans.best(start, end, ids.nrows())
        return self._answer(characters, logits, firsts, lasts, null_logit)

    def _answer(
        self,
        characters: Characters,
        logits: tf.Tensor,
        firsts: tf.Tensor,
        lasts: tf.Tensor,
        null_logit: tf.Tensor,
    ) -> Tensors:
        """Chooses among spans, best first, and no answer.

        Args:
            characters: Of the contexts.
            logits: float32 [B, K], `_NEVER` where there is no span.
            firsts: int64 [B, K], first characters.
            lasts: int64 [B, K], the characters after the last.
            null_logit: float32 [B].
        """
        best = logits[:, 0]
        has_span = best > _NEVER
        difference = tf.where(has_span, null_logit - best, 0.0)
        threshold = self.task.null_threshold
        chosen = has_span
        if threshold is not None:
            chosen &= difference <= threshold
        # No answer is one of them where it is possible.
        with_null = ~has_span if threshold is None else tf.ones_like(chosen)
        last = tf.where(with_null, null_logit, _NEVER)
        scores = tf.nn.softmax(tf.concat([logits, last[:, None]], axis=1))
        rows = tf.range(tf.shape(firsts, tf.int64)[0])
        start = tf.where(chosen, firsts[:, 0], 0)
        end = tf.where(chosen, lasts[:, 0], 0)
        return {
            "answer": characters.cut(rows, start, end),
            "start": tf.cast(start, tf.int32),
            "end": tf.cast(end, tf.int32),
            "score": tf.where(chosen, scores[:, 0], scores[:, -1]),
            "null_difference": difference,
        }

    def _null(self, rows: Rows) -> tf.Tensor:
        """Returns the place of no answer in each row, int32 [R]."""
        lengths = tf.reduce_sum(rows.inputs["padding_mask"], axis=1)
        if self.rows.layout.opens:
            return tf.zeros_like(lengths)
        return lengths - 1

    def from_ids(self, **inputs: tf.Tensor) -> Tensors:
        """Returns the logits of rows of ids, special tokens included."""
        width = tf.shape(inputs["token_ids"])[1]
        outputs = self.task(self.rows.from_ids(**inputs))
        return {
            "start_logits": outputs["start"][:, :width],
            "end_logits": outputs["end"][:, :width],
        }

    def checks(self) -> list[Check]:
        """See ServedTask."""
        found = []
        for contexts in probes.batches(probes.texts(self.rows.seq_length)):
            questions = [
                _QUESTIONS[i % len(_QUESTIONS)] for i in range(len(contexts))
            ]
            inputs = {
                "question": as_strings(questions),
                "context": as_strings(contexts),
            }
            groups = list(zip(questions, contexts, strict=True))
            found.append(Check(DEFAULT, inputs, self._expected(groups)))
        return [*found, self.id_check(_by_served_name)]

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """See the base class."""
        inputs = {"question": [b"what was it?"], "context": [text]}
        return [(DEFAULT, {n: as_strings(v) for n, v in inputs.items()})]

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """See the base class; logits where no span may be are hidden."""
        hidden = np.where(x["answer_mask"], 0.0, HIDDEN_LOGIT)
        hidden = hidden.astype(np.float32)
        return {
            "start": answer["start_logits"] - hidden,
            "end": answer["end_logits"] - hidden,
        }

    def _expected(self, groups: list[tuple[bytes, bytes]]) -> list[Arrays]:
        """Returns what the Python task says."""
        predictions = self.answers(groups)
        found = []
        for one, output in zip(
            results(predictions), predictions.outputs, strict=True
        ):
            gap = output.null_difference if output.best else 0.0
            found.append(
                {
                    "answer": np.array(one["answer"].encode(), object),
                    "start": np.array(one["start"], np.int32),
                    "end": np.array(one["end"], np.int32),
                    "score": np.array(one["score"], np.float32),
                    "null_difference": np.array(gap, np.float32),
                }
            )
        return found


def _by_served_name(outputs: Arrays) -> Arrays:
    """Returns the answer to a row of ids."""
    return {"start_logits": outputs["start"], "end_logits": outputs["end"]}


class _Spans:
    """The spans of contexts that may be answers.

    Args:
        rows: The rows.
        shown: The tokens of contexts in them.
        first: int64 [S], first character of each token.
        last: int64 [S], the character after its last.
    """

    def __init__(
        self, rows: Rows, shown: Shown, first: tf.Tensor, last: tf.Tensor
    ) -> None:
        """See the class."""
        like = rows.inputs["token_ids"]
        filled = first < last
        self._owners = rows.owners
        self._firsts = shown.spread(first, like)
        self._lasts = shown.spread(last, like)
        self.inside = shown.spread(tf.cast(filled, tf.int32), like) > 0
        opens = tf.cast(filled & shown.widest, tf.int32)
        self._opens = shown.spread(opens, like) > 0

    def best(
        self, start: tf.Tensor, end: tf.Tensor, count: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns the best spans of each context.

        Args:
            start: float32 [R, T].
            end: float32 [R, T].
            count: Number of contexts, B.

        Returns:
            Logits float32 [B, K], first characters and those after the last,
            int64 [B, K]; `_NEVER`, 0 and 0 where there are no more.
        """
        width = tf.shape(start)[1]
        start = tf.where(self._opens, start, _NEVER)
        end = tf.where(self.inside, end, _NEVER)
        end = tf.pad(
            end, [[0, 0], [0, MAX_ANSWER_TOKENS]], constant_values=_NEVER
        )
        columns = tf.range(width)[:, None] + tf.range(MAX_ANSWER_TOKENS)
        logits = start[:, :, None] + tf.gather(end, columns, axis=1)
        logits = tf.maximum(logits, _NEVER)
        logits = tf.reshape(logits, tf.stack([tf.shape(start)[0], -1]))
        top = tf.math.top_k(logits, N_BEST)
        first = top.indices // MAX_ANSWER_TOKENS
        last = tf.minimum(first + top.indices % MAX_ANSWER_TOKENS, width - 1)
        parts = (
            top.values,
            tf.gather(self._firsts, first, batch_dims=1),
            tf.gather(self._lasts, last, batch_dims=1),
        )
        # The spans of all windows of a context side by side.
        joined = [
            tf.RaggedTensor.from_value_rowids(
                part, self._owners, count, validate=False
            )
            .merge_dims(1, 2)
            .to_tensor(default)
            for part, default in zip(parts, (_NEVER, 0, 0), strict=True)
        ]
        logits, firsts, lasts = joined
        ranked = _ranked(logits, firsts, lasts, tf.shape(logits)[1])
        logits, firsts, lasts = ranked
        unique = _unique(logits, firsts, lasts)
        return _ranked(unique, firsts, lasts, N_BEST)


def _ranked(
    logits: tf.Tensor, firsts: tf.Tensor, lasts: tf.Tensor, count: Any
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the best spans, best first."""
    top = tf.math.top_k(logits, count)
    return (
        top.values,
        tf.gather(firsts, top.indices, batch_dims=1),
        tf.gather(lasts, top.indices, batch_dims=1),
    )


def _unique(
    logits: tf.Tensor, firsts: tf.Tensor, lasts: tf.Tensor
) -> tf.Tensor:
    """Returns logits without those of spans that came before.

    Several tokens may show the same characters.
    """
    same = (firsts[:, :, None] == firsts[:, None]) & (
        lasts[:, :, None] == lasts[:, None]
    )
    place = tf.range(tf.shape(logits)[1])
    earlier = place[None, :] < place[:, None]
    seen = tf.reduce_any(same & earlier, axis=2)
    return tf.where(seen, _NEVER, logits)
