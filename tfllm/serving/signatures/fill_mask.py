"""Signatures of masked language models: the best tokens for each mask."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfllm.outputs.probabilities import softmax
from tfllm.serving import probes, row_widths
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.graph import windows
from tfllm.serving.graph.rows import RowMaker
from tfllm.serving.signatures.served_task import (
    DEFAULT,
    TOKEN_IDS,
    Arrays,
    Check,
    IdLimits,
    ServedFunction,
    Tensors,
    as_strings,
    id_arrays,
    strings,
    token_id_inputs,
)
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer

TOP_K = 5
OUTPUTS = {
    "tokens": "string [B, M, k]: the most probable tokens for each mask, best "
    "first; empty where a text has fewer masks than another",
    "token_ids": "int32 [B, M, k]: their ids",
    "scores": "float32 [B, M, k]: their probabilities",
    "num_masks": "int32 [B]: number of masks of each text",
}


class FillMaskServing:
    """Signatures of a masked language model that takes text with masks.

    A text longer than a row is split into windows; a mask is filled in the
    window where it stands in the middle half.

    Args:
        task: The task.
        tokenizer: Tokenizer of the task.
        settings: Reads `top_k`, `seq_length` and `stride`.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self,
        task: Task,
        tokenizer: Tokenizer,
        settings: ExportSettings,
    ) -> None:
        self.task = task
        self.tokenizer = tokenizer
        self.template = tokenizer.row_template
        self.mask_id = tokenizer.role_id("mask")
        self.length = task.row_length(settings.seq_length)
        self.room = self.length - self.template.num_special(1)
        self.stride = windows.stride_of(settings.stride, self.room)
        self.rows = RowMaker(self.template, self.length, self.stride)
        self.top_k = min(settings.top_k or TOP_K, tokenizer.vocab_size)
        with tf.init_scope():
            self._texts = [
                tokenizer.token_text(i).encode()
                for i in range(tokenizer.vocab_size)
            ]
            self._tokens = tf.constant(self._texts)
        limits = IdLimits(
            task.config.vocab_size,
            task.config.num_segments,
            task.config.max_length,
        )
        self.functions = {
            DEFAULT: ServedFunction(self.from_text, strings("text"), OUTPUTS),
            TOKEN_IDS: ServedFunction(
                self.from_ids,
                token_id_inputs(self.template.has_segments),
                OUTPUTS,
                limits,
            ),
        }

    def from_text(self, text: tf.Tensor) -> Tensors:
        """Fills the masks of texts, string [B]."""
        ids = self.tokenizer.tokenize(text)
        parts = windows.slide(ids, self.room, self.stride)
        rows = self.rows.with_specials([parts.ids])
        inputs = self.rows.pad(rows)
        # [masks]: position of each mask in its text, and index of the text
        is_mask = ids.flat_values == self.mask_id
        places = tf.where(is_mask)[:, 0]
        texts = tf.gather(ids.value_rowids(), places)
        places -= tf.gather(ids.row_starts(), texts)
        number = (places - (self.room - self.stride) // 2) // self.stride
        number = tf.clip_by_value(number, 0, tf.gather(parts.counts, texts) - 1)
        row = tf.gather(parts.firsts, texts) + number
        column = places - number * self.stride + len(self.template.opens)
        if self.template.padding_side == "left":
            width = tf.shape(inputs["token_ids"], tf.int64)[1]
            column += width - tf.gather(rows["token_ids"].row_lengths(), row)
        return self._fill(inputs, row, column, texts, ids.nrows())

    def from_ids(
        self,
        token_ids: tf.Tensor,
        lengths: tf.Tensor,
        segment_ids: tf.Tensor | None = None,
    ) -> Tensors:
        """Fills the masks of rows of ids, int32 [B, T], specials included."""
        rows = windows.unpad(token_ids, lengths)
        ragged = {"token_ids": rows}
        if segment_ids is not None:
            ragged["segment_ids"] = windows.unpad(segment_ids, lengths)
        inputs = windows.pad(
            ragged,
            dataclasses.replace(self.template, padding_side="right"),
            None,
        )
        is_mask = rows.flat_values == self.mask_id
        places = tf.where(is_mask)[:, 0]  # [masks]
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
            inputs: Inputs of the model, int32 [R, T] each.
            row: int64 [masks], row of each mask; ascending.
            column: int64 [masks], column of each mask.
            texts: int64 [masks], index of the text; ascending.
            num_texts: Number of texts, B.
        """
        num_rows = tf.shape(inputs["token_ids"], tf.int64)[0]
        # [masks] -> [R, (masks of the row)]
        slots = tf.RaggedTensor.from_value_rowids(
            tf.cast(column, tf.int32), row, num_rows, validate=False
        )
        # One more slot, so that no row is without one.
        positions = tf.concat([slots, tf.zeros([num_rows, 1], tf.int32)], 1)
        positions = positions.to_tensor()  # [R, P]
        top = windows.run_in_steps(
            self._best,
            {**inputs, "masked_positions": positions},
            {"token_ids": tf.int32, "scores": tf.float32},
        )
        slot = tf.range(tf.size(row, tf.int64)) - tf.gather(
            slots.row_starts(), row
        )
        slots_of_masks = tf.stack([row, slot], axis=1)  # [masks, 2]
        # [R, P, k] -> [masks, k]
        ids, scores = (
            tf.gather_nd(top[name], slots_of_masks)
            for name in ("token_ids", "scores")
        )
        # [masks, k] -> [B, (M), k]
        masks = tf.RaggedTensor.from_value_rowids(
            ids, texts, num_texts, validate=False
        )
        token_ids = masks.to_tensor(self.template.pad)  # [B, M, k]
        tokens = masks.with_values(tf.gather(self._tokens, ids))
        return {
            "tokens": tokens.to_tensor(""),
            "token_ids": token_ids,
            "scores": masks.with_values(scores).to_tensor(0.0),
            "num_masks": tf.cast(masks.row_lengths(), tf.int32),
        }

    def _best(self, rows: Tensors) -> Tensors:
        """Returns the best tokens for the slots of rows, [R, P, k]."""
        # [R, P, V] -> [R, P, tokens]: a table may have more rows than tokens.
        logits = self._logits(rows)[..., : self.tokenizer.vocab_size]
        scores, token_ids = tf.math.top_k(tf.nn.softmax(logits), k=self.top_k)
        return {"token_ids": token_ids, "scores": scores}

    def _logits(self, rows: Tensors) -> tf.Tensor:
        """Returns the logits of tokens in masks, float32 [R, P or T, V]."""
        outputs = self.task(self.task.with_masks(rows, self.mask_id))
        return outputs[self.task.objectives[0]]

    def checks(self) -> list[Check]:
        """Returns requests with the answers of the Python task."""
        mask, has_segments = self._mask, self.template.has_segments
        checks = []
        for texts in probes.batches(probes.texts(self.length, mask)):
            expected = [self._expected(text) for text in texts]
            checks.append(Check(DEFAULT, {"text": as_strings(texts)}, expected))
            rows = [self._row(self._ids(text)) for text in texts]
            if max(map(len, rows)) <= self.length:
                checks.append(
                    Check(TOKEN_IDS, id_arrays(rows, has_segments), expected)
                )
        return checks

    def python_decisions(self, texts: list[bytes]) -> list[np.ndarray]:
        """Returns the best ids of the Python task for the masks of texts."""
        request = self.decision_request(texts)["text"]
        return [self._expected(text)["token_ids"][:, 0] for text in request]

    def decision_request(self, texts: list[bytes]) -> Arrays:
        """Returns a request with texts, for `decisions`.

        Texts without a mask get two, in the middle and at the end.
        """
        mask = self._mask
        return {
            "text": as_strings(
                [
                    text if mask in text else probes.with_mask(text, mask)
                    for text in texts
                ]
            )
        }

    def decisions(self, answer: Arrays) -> list[np.ndarray]:
        """Returns the best ids in an answer of the default signature."""
        rows = zip(answer["token_ids"], answer["num_masks"], strict=True)
        return [ids[:count, 0] for ids, count in rows]

    def warm_up(self) -> list[tuple[str, Arrays]]:
        """Returns warm-up requests of several lengths."""
        mask, has_segments = self._mask, self.template.has_segments
        requests = row_widths.requests(
            self.task, self.length, has_segments, first_id=self.mask_id
        )
        for text in probes.by_length(self.length, mask):
            row = self._row(self._ids(text))[: self.length]
            requests.append((DEFAULT, {"text": as_strings([text])}))
            requests.append((TOKEN_IDS, id_arrays([row], has_segments)))
        return requests

    @property
    def _mask(self) -> bytes:
        """Mask as texts spell it."""
        return self.tokenizer.id_to_token(self.mask_id).encode()

    def _ids(self, text: bytes) -> list[int]:
        return self.tokenizer.tokenize(tf.constant([text])).to_list()[0]

    def _row(self, ids: list[int]) -> list[int]:
        return [*self.template.opens, *ids, *self.template.closes]

    def _expected(self, text: bytes) -> Arrays:
        """Computes the answer to a text: each window alone, without padding."""
        ids = self._ids(text)
        places = np.flatnonzero(np.array(ids) == self.mask_id)
        last = -(-max(len(ids) - self.room, 0) // self.stride)
        margin = (self.room - self.stride) // 2
        scores, best = [], []
        for place in places.tolist():
            number = min(max((place - margin) // self.stride, 0), last)
            start = number * self.stride
            row = self._row(ids[start : start + self.room])
            logits = self._logits({"token_ids": tf.constant([row])})
            column = place - start + len(self.template.opens)
            of_mask = logits.numpy()[0, column]
            probabilities = softmax(of_mask[: self.tokenizer.vocab_size])
            order = np.argsort(-probabilities, kind="stable")[: self.top_k]
            best.append(order)
            scores.append(probabilities[order])
        shape = (len(places), self.top_k)
        token_ids = np.array(best, np.int32).reshape(shape)
        return {
            "tokens": np.array(
                [self._texts[i] for i in token_ids.flat],
                object,
            ).reshape(shape),
            "token_ids": token_ids,
            "scores": np.array(scores, np.float32).reshape(shape),
            "num_masks": np.array(len(places), np.int32),
        }
