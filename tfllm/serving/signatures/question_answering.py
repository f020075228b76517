"""Signatures of question answering: the span of a context that answers."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfllm.data.labelled.rows.questions import (
    no_answer_is_first,
    question_layout,
)
from tfllm.models.task_models import HIDDEN_LOGIT
from tfllm.outputs.answers import MAX_ANSWER_TOKENS, N_BEST
from tfllm.prediction.results import results
from tfllm.serving import probes
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.graph.characters import Characters, stripped
from tfllm.serving.graph.rows import Rows, Shown
from tfllm.serving.signatures.labelled_serving import LabelledServing
from tfllm.serving.signatures.served_task import (
    DEFAULT,
    Arrays,
    Check,
    Tensors,
    as_strings,
    valid_utf8,
)
from tfllm.tasks.question_answering import QuestionAnswering
from tfllm.tokenizers import Tokenizer

OUTPUTS = {
    "answer": "string [B]: the part of the context that answers; empty where "
    "there is no answer",
    "start": "int32 [B]: its first character in the context",
    "end": "int32 [B]: the character after its last",
    "score": "float32 [B]: its probability among the best spans",
    "null_difference": "float32 [B]: logit of no answer minus that of the best "
    "span; 0 where there is no span",
}
ID_OUTPUTS = {
    "start_logits": "float32 [B, T]: logits of the first token of the answer",
    "end_logits": "float32 [B, T]: logits of its last token",
}
# Below any logit, but two of them do not overflow.
_NEVER = -1e30
_QUESTIONS = (b"", b" what was it? ", "wer  war 自然?".encode())


class QuestionAnsweringServing(LabelledServing):
    """Signatures that take a question and a context of any length.

    Args:
        task: The task.
        tokenizer: Tokenizer of the task.
        settings: Reads `seq_length`, `stride` and `question_length`.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self,
        task: QuestionAnswering,
        tokenizer: Tokenizer,
        settings: ExportSettings,
    ) -> None:
        template = question_layout(tokenizer)
        # A stride beyond the window would skip tokens.
        room = settings.seq_length - template.num_special(1)
        settings = dataclasses.replace(
            settings, stride=min(settings.stride, room)
        )
        super().__init__(task, tokenizer, settings, template)
        names = ("question", "context")
        self.functions = self.signatures(names, OUTPUTS, ID_OUTPUTS)

    def from_text(self, question: tf.Tensor, context: tf.Tensor) -> Tensors:
        """Answers questions, string [B], from contexts, string [B]."""
        context = valid_utf8(context)
        characters = Characters(context)
        asked = self.tokenizer.tokenize(stripped(valid_utf8(question)))
        ids, starts, ends = self.tokenizer.tokenize_with_offsets(context)
        texts = ids.value_rowids()
        # [tokens]: first character of each token, and that after its last
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
        null = self._null_columns(rows)
        # [R, T], where an answer may be
        mask = spans.inside | tf.one_hot(
            null, tf.shape(spans.inside)[1], True, False, dtype=tf.bool
        )
        outputs = self.run_rows(
            {**rows.inputs, "answer_mask": tf.cast(mask, tf.int32)},
            "start",
            "end",
        )
        start, end = outputs["start"], outputs["end"]
        count = tf.shape(context)[0]
        # [R] -> [B]
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
        """Chooses between the best span and no answer.

        Args:
            characters: Characters of the contexts.
            logits: float32 [B, K], best first; `_NEVER` for missing spans.
            firsts: int64 [B, K], first characters.
            lasts: int64 [B, K], characters after the last.
            null_logit: float32 [B], logit of no answer.
        """
        best = logits[:, 0]
        has_span = best > _NEVER
        difference = tf.where(has_span, null_logit - best, 0.0)
        threshold = self.task.null_threshold
        chosen = has_span
        if threshold is not None:
            chosen &= difference <= threshold
        # No answer competes only where it is allowed.
        with_null = ~has_span if threshold is None else tf.ones_like(chosen)
        last = tf.where(with_null, null_logit, _NEVER)
        # [B, K + 1]
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

    def _null_columns(self, rows: Rows) -> tf.Tensor:
        """Returns the column that stands for no answer, int32 [R]."""
        lengths = tf.reduce_sum(rows.inputs["padding_mask"], axis=1)
        firsts = tf.zeros_like(lengths)
        if self.rows.template.padding_side == "left":
            firsts = tf.shape(rows.inputs["token_ids"])[1] - lengths
        if no_answer_is_first(self.tokenizer):
            return firsts
        return firsts + lengths - 1

    def from_ids(self, **inputs: tf.Tensor) -> Tensors:
        """Returns logits for rows of ids, int32 [B, T], specials included."""
        width = tf.shape(inputs["token_ids"])[1]
        rows = self.rows.from_ids(**inputs)
        outputs = self.run_rows(rows, "start", "end")
        return {
            "start_logits": outputs["start"][:, :width],
            "end_logits": outputs["end"][:, :width],
        }

    def checks(self) -> list[Check]:
        """Returns requests with the answers of the Python task."""
        checks = []
        for contexts in probes.batches(probes.texts(self.rows.seq_length)):
            questions = [
                _QUESTIONS[i % len(_QUESTIONS)] for i in range(len(contexts))
            ]
            inputs = {
                "question": as_strings(questions),
                "context": as_strings(contexts),
            }
            groups = list(zip(questions, contexts, strict=True))
            checks.append(Check(DEFAULT, inputs, self._expected(groups)))
        return [*checks, self.id_check(_by_served_name)]

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """Returns a request with a question and a context."""
        inputs = {"question": [b"what was it?"], "context": [text]}
        arrays = {name: as_strings(texts) for name, texts in inputs.items()}
        return [(DEFAULT, arrays)]

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """Returns start and end logits, float32 [B, T], masked as the task's.

        Columns where no answer may be get `HIDDEN_LOGIT`.
        """
        hidden = np.where(x["answer_mask"], 0.0, HIDDEN_LOGIT)
        hidden = hidden.astype(np.float32)
        return {
            "start": answer["start_logits"] - hidden,
            "end": answer["end_logits"] - hidden,
        }

    def _expected(self, groups: list[tuple[bytes, bytes]]) -> list[Arrays]:
        """Returns the answers of the Python task."""
        predictions = self.answers(groups)
        answers = []
        for result, output in zip(
            results(predictions), predictions.outputs, strict=True
        ):
            gap = output.null_difference if output.best else 0.0
            answers.append(
                {
                    "answer": np.array(result["answer"].encode(), object),
                    "start": np.array(result["start"], np.int32),
                    "end": np.array(result["end"], np.int32),
                    "score": np.array(result["score"], np.float32),
                    "null_difference": np.array(gap, np.float32),
                }
            )
        return answers


def _by_served_name(outputs: Arrays) -> Arrays:
    """Renames the outputs of the task as the signature does."""
    return {"start_logits": outputs["start"], "end_logits": outputs["end"]}


class _Spans:
    """Spans of contexts that may be answers.

    Args:
        rows: Rows of questions and contexts.
        shown: Tokens of the contexts in these rows.
        first: int64 [S], first character of each token.
        last: int64 [S], character after its last.

    Attributes:
        inside: bool [R, T], whether a span may contain the token.
    """

    def __init__(
        self, rows: Rows, shown: Shown, first: tf.Tensor, last: tf.Tensor
    ) -> None:
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
            Logits float32 [B, K]; first characters and characters after the
            last, int64 [B, K]. Missing spans have `_NEVER`, 0 and 0.
        """
        width = tf.shape(start)[1]
        start = tf.where(self._opens, start, _NEVER)
        end = tf.where(self.inside, end, _NEVER)
        # [R, T + A], A the most tokens of an answer
        end = tf.pad(
            end, [[0, 0], [0, MAX_ANSWER_TOKENS]], constant_values=_NEVER
        )
        # [T, A]
        columns = tf.range(width)[:, None] + tf.range(MAX_ANSWER_TOKENS)
        # [R, T, 1] + [R, T, A] -> [R, T, A] -> [R, T * A]
        logits = start[:, :, None] + tf.gather(end, columns, axis=1)
        logits = tf.maximum(logits, _NEVER)
        logits = tf.reshape(logits, tf.stack([tf.shape(start)[0], -1]))
        top = tf.math.top_k(logits, N_BEST)  # [R, K]
        first = top.indices // MAX_ANSWER_TOKENS
        last = tf.minimum(first + top.indices % MAX_ANSWER_TOKENS, width - 1)
        parts = (
            top.values,
            tf.gather(self._firsts, first, batch_dims=1),
            tf.gather(self._lasts, last, batch_dims=1),
        )
        # [R, K] -> [B, windows * K]
        joined = [
            tf.RaggedTensor.from_value_rowids(
                part, self._owners, count, validate=False
            )
            .merge_dims(1, 2)
            .to_tensor(default)
            for part, default in zip(parts, (_NEVER, 0, 0), strict=True)
        ]
        # A request without rows has no columns.
        missing = tf.maximum(N_BEST - tf.shape(joined[0])[1], 0)
        joined = [tf.pad(part, [[0, 0], [0, missing]]) for part in joined]
        logits, firsts, lasts = joined
        ranked = _ranked(logits, firsts, lasts, tf.shape(logits)[1])
        logits, firsts, lasts = ranked
        unique = _unique(logits, firsts, lasts)
        return _ranked(unique, firsts, lasts, N_BEST)


def _ranked(
    logits: tf.Tensor,
    firsts: tf.Tensor,
    lasts: tf.Tensor,
    count: tf.Tensor | int,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the `count` best spans, best first, [B, K] -> [B, count]."""
    top = tf.math.top_k(logits, count)
    return (
        top.values,
        tf.gather(firsts, top.indices, batch_dims=1),
        tf.gather(lasts, top.indices, batch_dims=1),
    )


def _unique(
    logits: tf.Tensor, firsts: tf.Tensor, lasts: tf.Tensor
) -> tf.Tensor:
    """Returns logits [B, K] with `_NEVER` for repeated spans.

    Several tokens may have the same characters.
    """
    # A stable sort brings equal spans together, the first one first.
    spans = firsts * (tf.reduce_max(lasts) + 1) + lasts
    order = tf.argsort(spans, axis=1, stable=True)
    ordered = tf.gather(spans, order, batch_dims=1)
    again = ordered[:, 1:] == ordered[:, :-1]  # [B, K - 1]
    seen = tf.pad(again, [[0, 0], [1, 0]])[:, : tf.shape(spans)[1]]  # [B, K]
    seen = tf.gather(seen, tf.argsort(order, axis=1), batch_dims=1)
    return tf.where(seen, _NEVER, logits)
