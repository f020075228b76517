"""Masked language models: the most probable tokens for each mask."""

import numpy as np
import tensorflow as tf

from tfllm.evaluation.probabilities import softmax
from tfllm.serving import probes, row_widths, windows
from tfllm.serving.served_task import (
    DEFAULT,
    TOKEN_IDS,
    Arrays,
    Check,
    ExportSettings,
    ServedFunction,
    Tensors,
    as_strings,
    id_arrays,
    strings,
    token_id_inputs,
)
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import WordPieceTokenizer

TOP_K = 5
OUTPUTS = {
    "tokens": "string [B, M, k]: the most probable tokens for each mask, best "
    "first; empty where a text has fewer masks than another",
    "token_ids": "int32 [B, M, k]: their ids",
    "scores": "float32 [B, M, k]: their probabilities",
    "num_masks": "int32 [B]: masks of each text",
}


class FillMaskServing:
    """A masked language model that takes text with masks in it.

    A text that is longer than a row is cut to windows; a mask is filled in
    the window in which it stands in the middle half.

    Args:
        task: The task.
        tokenizer: Its tokenizer.
        settings: `top_k`, `seq_length` and `stride` count.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self,
        task: MaskedLM,
        tokenizer: WordPieceTokenizer,
        settings: ExportSettings,
    ) -> None:
        """See the class."""
        self.task = task
        # The mask is read from text, whatever the folder says.
        self.tokenizer = tokenizer
        self.length = task.row_length(settings.seq_length)
        self.room = self.length - 2
        self.stride = windows.stride_of(settings.stride, self.room)
        self.top_k = min(settings.top_k or TOP_K, tokenizer.vocab_size)
        with tf.init_scope():
            self._tokens = tf.constant(tokenizer.vocab)
        self.functions = {
            DEFAULT: ServedFunction(self.from_text, strings("text"), OUTPUTS),
            TOKEN_IDS: ServedFunction(
                self.from_ids, token_id_inputs(True), OUTPUTS
            ),
        }

    def from_text(self, text: tf.Tensor) -> Tensors:
        """Fills the masks of texts, string [B]."""
        ids = self.tokenizer.tokenize(text)
        parts = windows.slide(ids, self.room, self.stride)
        cls, sep = self.tokenizer.cls_id, self.tokenizer.sep_id
        ends = tf.fill([parts.ids.nrows(), 1], sep)
        rows = tf.concat([tf.fill(tf.shape(ends), cls), parts.ids, ends], 1)
        # Where the masks are: text, and place in it.
        is_mask = ids.flat_values == self.tokenizer.mask_id
        places = tf.where(is_mask)[:, 0]
        texts = tf.gather(ids.value_rowids(), places)
        places -= tf.gather(ids.row_starts(), texts)
        number = (places - (self.room - self.stride) // 2) // self.stride
        number = tf.clip_by_value(number, 0, tf.gather(parts.counts, texts) - 1)
        row = tf.gather(parts.firsts, texts) + number
        column = places - number * self.stride + 1
        inputs = windows.pad(
            {"token_ids": rows},
            {"token_ids": self.tokenizer.pad_id},
            self.length,
        )
        inputs["segment_ids"] = tf.zeros_like(inputs["token_ids"])
        return self._fill(inputs, row, column, texts, ids.nrows())

    def from_ids(
        self, token_ids: tf.Tensor, segment_ids: tf.Tensor, lengths: tf.Tensor
    ) -> Tensors:
        """Fills the masks of rows of ids, special tokens included."""
        rows = windows.unpad(token_ids, lengths)
        segments = windows.unpad(segment_ids, lengths)
        inputs = windows.pad(
            {"token_ids": rows, "segment_ids": segments},
            {"token_ids": self.tokenizer.pad_id, "segment_ids": 0},
            None,
        )
        is_mask = rows.flat_values == self.tokenizer.mask_id
        places = tf.where(is_mask)[:, 0]
        row = tf.gather(rows.value_rowids(), places)
        column = places - tf.gather(rows.row_starts(), row)
        return self._fill(inputs, row, column, row, rows.nrows())

    def _fill(
        self,
        inputs: Tensors,
        row: tf.Tensor,
        column: tf.Tensor,
        texts: tf.Tensor,
        num_texts: tf.Tensor,
    ) -> Tensors:
        """Fills masks.

        Args:
            inputs: Rows of the model.
            row: int64 [masks], ascending.
            column: int64 [masks].
            texts: int64 [masks], ascending.
            num_texts: Number of texts.
        """
        num_rows = tf.shape(inputs["token_ids"], tf.int64)[0]
        slots = tf.RaggedTensor.from_value_rowids(
            tf.cast(column, tf.int32), row, num_rows, validate=False
        )
        # At least one slot, so that no part of the model is empty.
        positions = tf.concat([slots, tf.zeros([num_rows, 1], tf.int32)], 1)
        positions = positions.to_tensor()
        logits = self.task({**inputs, "masked_positions": positions})["mlm"]
        slot = tf.range(tf.size(row, tf.int64)) - tf.gather(
            slots.row_starts(), row
        )
        found = tf.gather_nd(logits, tf.stack([row, slot], axis=1))
        top = tf.math.top_k(tf.nn.softmax(found), k=self.top_k)
        masks = tf.RaggedTensor.from_value_rowids(
            top.indices, texts, num_texts, validate=False
        )
        token_ids = masks.to_tensor(self.tokenizer.pad_id)
        tokens = masks.with_values(tf.gather(self._tokens, top.indices))
        return {
            "tokens": tokens.to_tensor(""),
            "token_ids": token_ids,
            "scores": masks.with_values(top.values).to_tensor(0.0),
            "num_masks": tf.cast(masks.row_lengths(), tf.int32),
        }

    def checks(self) -> list[Check]:
        """See ServedTask."""
        mask = self.tokenizer.special_tokens.mask.encode()
        found = []
        for texts in probes.batches(probes.texts(self.length, mask)):
            expected = [self._expected(text) for text in texts]
            found.append(Check(DEFAULT, {"text": as_strings(texts)}, expected))
            rows = [self._row(self._ids(text)) for text in texts]
            if max(map(len, rows)) <= self.length:
                found.append(Check(TOKEN_IDS, id_arrays(rows), expected))
        return found

    def python_decisions(self, texts: list[bytes]) -> list[np.ndarray]:
        """Returns the ids that Python fills the masks of texts with."""
        request = self.decision_request(texts)["text"]
        return [self._expected(text)["token_ids"][:, 0] for text in request]

    def decision_request(self, texts: list[bytes]) -> Arrays:
        """Returns a request with texts, for `decisions`.

        Those without a mask get two, in the middle and at the end.
        """
        mask = self.tokenizer.special_tokens.mask.encode()
        return {
            "text": as_strings(
                [
                    text if mask in text else probes.with_mask(text, mask)
                    for text in texts
                ]
            )
        }

    def decisions(self, answer: Arrays) -> list[np.ndarray]:
        """Returns the best ids that an answer of the default signature has."""
        rows = zip(answer["token_ids"], answer["num_masks"], strict=True)
        return [ids[:count, 0] for ids, count in rows]

    def warm_up(self) -> list[tuple[str, Arrays]]:
        """See ServedTask."""
        mask = self.tokenizer.special_tokens.mask.encode()
        found = row_widths.requests(
            self.task, self.length, first_id=self.tokenizer.mask_id
        )
        for text in probes.by_length(self.length, mask):
            row = self._row(self._ids(text))[: self.length]
            found.append((DEFAULT, {"text": as_strings([text])}))
            found.append((TOKEN_IDS, id_arrays([row])))
        return found

    def _ids(self, text: bytes) -> list[int]:
        return self.tokenizer.tokenize(tf.constant([text])).to_list()[0]

    def _row(self, ids: list[int]) -> list[int]:
        return [self.tokenizer.cls_id, *ids, self.tokenizer.sep_id]

    def _expected(self, text: bytes) -> Arrays:
        """Returns what a text gives, window by window and without padding."""
        ids = self._ids(text)
        places = np.flatnonzero(np.array(ids) == self.tokenizer.mask_id)
        last = -(-max(len(ids) - self.room, 0) // self.stride)
        margin = (self.room - self.stride) // 2
        scores, best = [], []
        for place in places.tolist():
            number = min(max((place - margin) // self.stride, 0), last)
            start = number * self.stride
            row = self._row(ids[start : start + self.room])
            logits = self.task({"token_ids": tf.constant([row])})["mlm"]
            probabilities = softmax(logits.numpy()[0, place - start + 1])
            order = np.argsort(-probabilities, kind="stable")[: self.top_k]
            best.append(order)
            scores.append(probabilities[order])
        shape = (len(places), self.top_k)
        token_ids = np.array(best, np.int32).reshape(shape)
        return {
            "tokens": np.array(
                [self.tokenizer.vocab[i].encode() for i in token_ids.flat],
                object,
            ).reshape(shape),
            "token_ids": token_ids,
            "scores": np.array(scores, np.float32).reshape(shape),
            "num_masks": np.array(len(places), np.int32),
        }
