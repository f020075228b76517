"""Signatures of replaced-token detection: a score for each token of a text."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfllm.serving import probes
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.graph import windows
from tfllm.serving.graph.characters import Characters
from tfllm.serving.signatures.labelled_serving import LabelledServing
from tfllm.serving.signatures.served_task import (
    DEFAULT,
    Arrays,
    Check,
    Tensors,
    as_strings,
    valid_utf8,
)
from tfllm.tasks import ReplacedTokenDetection
from tfllm.tokenizers import Tokenizer

OUTPUTS = {
    "tokens": "string [B, T]: the tokens of each text, then empty",
    "starts": "int32 [B, T]: the first character of each",
    "ends": "int32 [B, T]: the character after its last",
    "scores": "float32 [B, T]: its probability to be a replaced one",
    "num_tokens": "int32 [B]: number of tokens of each text",
}
ID_OUTPUTS = {
    "scores": "float32 [B, T]: probability of each token to be a replaced one",
}


class ReplacedTokenServing(LabelledServing):
    """Signatures of a discriminator that takes raw text.

    A text longer than a row is split into windows; a token gets the score of
    the window that shows it with the most context.

    Args:
        task: The task.
        tokenizer: Tokenizer of the task.
        settings: Reads `seq_length` and `stride`.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self,
        task: ReplacedTokenDetection,
        tokenizer: Tokenizer,
        settings: ExportSettings,
    ) -> None:
        template = tokenizer.row_template
        length = task.row_length(settings.seq_length)
        room = length - template.num_special(1)
        settings = dataclasses.replace(
            settings,
            seq_length=length,
            stride=windows.stride_of(settings.stride, room),
        )
        super().__init__(task, tokenizer, settings, template)
        self.functions = self.signatures(("text",), OUTPUTS, ID_OUTPUTS)
        with tf.init_scope():
            self._texts = [
                tokenizer.token_text(i).encode()
                for i in range(tokenizer.vocab_size)
            ]
            self._tokens = tf.constant(self._texts)

    def from_text(self, text: tf.Tensor) -> Tensors:
        """Scores the tokens of texts, string [B]."""
        text = valid_utf8(text)
        ids, starts, ends = self.tokenizer.tokenize_with_offsets(text)
        rows = self.rows.single(ids)
        logits = self.run_rows(rows.inputs, "rtd")["rtd"]  # [R, T]
        shown = rows.shown()
        owners = tf.gather(rows.owners, shown.rows)
        places = tf.stack([shown.rows, shown.columns], axis=1)  # [S, 2]
        tokens = tf.gather(ids.row_starts(), owners) + shown.sources  # [S]
        # [R, T] -> [S] -> [tokens]
        count = tf.size(ids.flat_values, tf.int64)
        scores = tf.scatter_nd(
            tf.boolean_mask(tokens, shown.widest)[:, tf.newaxis],
            tf.gather_nd(
                tf.sigmoid(logits), tf.boolean_mask(places, shown.widest)
            ),
            count[tf.newaxis],
        )
        characters, texts = Characters(text), ids.value_rowids()

        def dense(flat: tf.Tensor, default: str | float) -> tf.Tensor:
            return ids.with_values(flat).to_tensor(default)  # [B, T]

        def placed(offsets: tf.RaggedTensor) -> tf.Tensor:
            place = characters.from_byte(texts, offsets.flat_values)
            return dense(tf.cast(place, tf.int32), 0)

        return {
            "tokens": dense(tf.gather(self._tokens, ids.flat_values), ""),
            "starts": placed(starts),
            "ends": placed(ends),
            "scores": dense(scores, 0.0),
            "num_tokens": tf.cast(ids.row_lengths(), tf.int32),
        }

    def from_ids(self, **inputs: tf.Tensor) -> Tensors:
        """Scores the tokens of rows of ids, int32 [B, T], with specials."""
        width = tf.shape(inputs["token_ids"])[1]
        logits = self.run_rows(self.rows.from_ids(**inputs), "rtd")["rtd"]
        return {"scores": tf.sigmoid(logits)[:, :width]}

    def checks(self) -> list[Check]:
        """Returns requests with the answers of the Python task."""
        checks = [
            Check(
                DEFAULT,
                {"text": as_strings(texts)},
                [self._expected(text) for text in texts],
            )
            for texts in probes.batches(probes.texts(self.rows.seq_length))
        ]
        return [
            *checks,
            self.id_check(lambda outputs: {"scores": _sigmoid(outputs["rtd"])}),
        ]

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """Returns a request with a text."""
        return [(DEFAULT, {"text": as_strings([text])})]

    def python_decisions(self, texts: Sequence[bytes]) -> list[np.ndarray]:
        """Returns which tokens the Python task takes for replaced ones."""
        return [
            (self._expected(text)["scores"] > 0.5).astype(np.int32)
            for text in texts
        ]

    def decision_request(self, texts: Sequence[bytes]) -> Arrays:
        """Returns a request with texts, for `decisions`."""
        return {"text": as_strings(texts)}

    def decisions(self, answer: Arrays) -> list[np.ndarray]:
        """Returns which tokens an answer takes for replaced ones."""
        rows = zip(answer["scores"], answer["num_tokens"], strict=True)
        return [
            (scores[:count] > 0.5).astype(np.int32) for scores, count in rows
        ]

    def _expected(self, text: bytes) -> Arrays:
        """Computes the answer to a text: each window alone, without padding."""
        decoded = text.decode("utf-8", "replace").encode()
        ids, starts, ends = (
            part.to_list()[0]
            for part in self.tokenizer.tokenize_with_offsets(
                tf.constant([decoded])
            )
        )
        template, room = self.rows.template, self.rows.budget(1)
        stride = self.rows.stride
        scores = np.zeros(len(ids), np.float32)
        context = np.full(len(ids), -1)
        for start in range(0, max(len(ids) - room, 0) + stride, stride):
            window = ids[start : start + room]
            row = [*template.opens, *window, *template.closes]
            logits = self.task({"token_ids": tf.constant([row])})["rtd"]
            first = len(template.opens)
            found = _sigmoid(logits.numpy()[0, first : first + len(window)])
            place = np.arange(len(window))
            here = np.minimum(place, len(window) - 1 - place)
            part = slice(start, start + len(window))
            is_wider = here > context[part]
            scores[part] = np.where(is_wider, found, scores[part])
            context[part] = np.maximum(here, context[part])

        def characters(places: list[int]) -> np.ndarray:
            counts = [len(decoded[:place].decode()) for place in places]
            return np.array(counts, np.int32)

        return {
            "tokens": as_strings([self._texts[i] for i in ids]),
            "starts": characters(starts),
            "ends": characters(ends),
            "scores": scores,
            "num_tokens": np.array(len(ids), np.int32),
        }


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns probabilities, float32 of the shape of the logits."""
    return 1.0 / (1.0 + np.exp(-logits))
