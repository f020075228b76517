"""Tagging: the words of texts, their labels, and the entities they make."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.labelled.rows import row_layout
from tfllm.evaluation.entities import are_entity_tags, entities
from tfllm.evaluation.probabilities import softmax
from tfllm.evaluation.results import results
from tfllm.evaluation.tags import OUTSIDE
from tfllm.serving import probes, words
from tfllm.serving.characters import Characters
from tfllm.serving.labelled_serving import LabelledServing
from tfllm.serving.served_task import (
    DEFAULT,
    Arrays,
    Check,
    ExportSettings,
    Tensors,
    as_strings,
    valid_utf8,
)
from tfllm.tasks.tagging import Tagging

OUTPUTS = {
    "words": "string [B, W]: the words of each text, then empty",
    "starts": "int32 [B, W]: the first character of each",
    "ends": "int32 [B, W]: the character after its last",
    "labels": "string [B, W]: the label of each",
    "label_ids": "int32 [B, W]: its number, -1 for none",
    "scores": "float32 [B, W]: its probability",
    "num_words": "int32 [B]: words of each text",
}
ENTITY_OUTPUTS = {
    "entities": "string [B, E]: the entities of each text, then empty",
    "entity_labels": "string [B, E]: the type of each",
    "entity_starts": "int32 [B, E]: its first character",
    "entity_ends": "int32 [B, E]: the character after its last",
    "entity_scores": "float32 [B, E]: the mean over its words",
    "num_entities": "int32 [B]: entities of each text",
}
ID_OUTPUTS = {
    "label_ids": "int32 [B, T]: the number of the label of each token",
    "scores": "float32 [B, T]: its probability",
    "logits": "float32 [B, T, L]: of all labels",
}


class TaggingServing(LabelledServing):
    """A tagger that takes raw text.

    Text is cut to words as `tfllm.predict` does. The label of a word is that
    of its first token, in the window that shows it with most context.

    Args:
        task: The task.
        tokenizer: Its tokenizer.
        settings: `seq_length` and `stride` count.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self, task: Tagging, tokenizer: Any, settings: ExportSettings
    ) -> None:
        """See the class."""
        layout = row_layout.layout_of(tokenizer)
        super().__init__(task, tokenizer, settings, layout)
        self.has_entities = are_entity_tags(task.labels)
        outputs = dict(OUTPUTS)
        if self.has_entities:
            outputs |= ENTITY_OUTPUTS
        self.functions = self.signatures(("text",), outputs, ID_OUTPUTS)

    def from_text(self, text: tf.Tensor) -> Tensors:
        """Tags the words of texts, string [B]."""
        text = valid_utf8(text)
        found = words.split(text)
        ids, starts, ends = self.tokenizer.tokenize_with_offsets(text)
        own = _words_of_tokens(text, found, ids.value_rowids(), starts, ends)
        before = tf.concat([[-1], own[:-1]], axis=0)[: tf.size(own)]
        firsts = tf.where(own != before, own, -1)
        rows = self.rows.single(ids)
        logits = self.task(rows.inputs)["tagging"]
        shown = rows.shown()
        owners = tf.gather(rows.owners, shown.rows)
        word = tf.gather(
            firsts, tf.gather(ids.row_starts(), owners) + shown.sources
        )
        counts = (word >= 0) & shown.widest
        places = tf.stack([shown.rows, shown.columns], axis=1)
        count = tf.size(found.starts.flat_values, tf.int64)
        target = tf.boolean_mask(word, counts)[:, None]
        values = tf.gather_nd(logits, tf.boolean_mask(places, counts))
        scattered = tf.scatter_nd(
            target, values, tf.stack([count, len(self.task.labels)])
        )
        read = tf.scatter_nd(target, tf.ones_like(target[:, 0]), count[None])
        return self._answer(text, found, scattered, read > 0)

    def _answer(
        self,
        text: tf.Tensor,
        found: words.Words,
        logits: tf.Tensor,
        read: tf.Tensor,
    ) -> Tensors:
        """Returns the outputs for words with logits, float32 [words, L]."""
        characters = Characters(text)
        texts = found.starts.value_rowids()
        starts = characters.from_byte(texts, found.starts.flat_values)
        ends = characters.from_byte(texts, found.ends.flat_values)
        labels = list(self.task.labels)
        unread = labels.index(OUTSIDE) if OUTSIDE in labels else -1
        best = tf.argmax(logits, axis=1, output_type=tf.int32)
        label_ids = tf.where(read, best, unread)
        scores = tf.reduce_max(tf.nn.softmax(logits), axis=1)
        scores = tf.where(read, scores, 0.0)
        names = tf.gather(
            tf.constant([*labels, ""]), label_ids % (len(labels) + 1)
        )

        def dense(values: tf.Tensor, default: Any) -> tf.Tensor:
            return found.starts.with_flat_values(values).to_tensor(default)

        outputs = {
            "words": dense(characters.cut(texts, starts, ends), ""),
            "starts": dense(tf.cast(starts, tf.int32), 0),
            "ends": dense(tf.cast(ends, tf.int32), 0),
            "labels": dense(names, ""),
            "label_ids": dense(label_ids, -1),
            "scores": dense(scores, 0.0),
            "num_words": tf.cast(found.starts.row_lengths(), tf.int32),
        }
        if self.has_entities:
            outputs |= self._entities(
                characters, found.starts, starts, ends, label_ids, scores
            )
        return outputs

    def _entities(
        self,
        characters: Characters,
        like: tf.RaggedTensor,
        starts: tf.Tensor,
        ends: tf.Tensor,
        label_ids: tf.Tensor,
        scores: tf.Tensor,
    ) -> Tensors:
        """Returns the outputs for entities.

        Args:
            characters: Of the texts.
            like: Ragged [B, (words)], for the shape.
            starts: int64 [words].
            ends: int64 [words].
            label_ids: int32 [words].
            scores: float32 [words].
        """
        opens, inside, kinds = _entity_tables(self.task.labels)
        count = len(self.task.labels)
        # Outside any text comes a label of its own, as after a word unread.
        label_ids = label_ids % (count + 1)
        before = tf.concat([[count], label_ids[:-1]], 0)[: tf.size(label_ids)]
        texts = like.value_rowids()
        first = tf.concat([[-1], texts[:-1]], 0)[: tf.size(texts)] != texts
        before = tf.where(first, count, before)
        begins = tf.gather_nd(opens, tf.stack([before, label_ids], axis=1))
        entity = tf.cumsum(tf.cast(begins, tf.int64)) - 1
        belongs = tf.gather(inside, label_ids)
        entity = tf.boolean_mask(entity, belongs)
        heads = tf.where(begins)[:, 0]
        number = tf.size(heads)
        last = tf.math.unsorted_segment_max(
            tf.boolean_mask(ends, belongs), entity, number
        )
        mean = tf.math.unsorted_segment_mean(
            tf.boolean_mask(scores, belongs), entity, number
        )
        texts, start = tf.gather(texts, heads), tf.gather(starts, heads)
        found = tf.RaggedTensor.from_value_rowids(
            start, texts, like.nrows(), validate=False
        )

        def dense(values: tf.Tensor, default: Any) -> tf.Tensor:
            return found.with_flat_values(values).to_tensor(default)

        return {
            "entities": dense(characters.cut(texts, start, last), ""),
            "entity_labels": dense(
                tf.gather(kinds, tf.gather(label_ids, heads)), ""
            ),
            "entity_starts": dense(tf.cast(start, tf.int32), 0),
            "entity_ends": dense(tf.cast(last, tf.int32), 0),
            "entity_scores": dense(mean, 0.0),
            "num_entities": tf.cast(found.row_lengths(), tf.int32),
        }

    def from_ids(self, **inputs: tf.Tensor) -> Tensors:
        """Tags the tokens of rows of ids, special tokens included."""
        width = tf.shape(inputs["token_ids"])[1]
        logits = self.task(self.rows.from_ids(**inputs))["tagging"]
        best = tf.argmax(logits, axis=2, output_type=tf.int32)
        scores = tf.reduce_max(tf.nn.softmax(logits), axis=2)
        return {
            "label_ids": best[:, :width],
            "scores": scores[:, :width],
            "logits": logits[:, :width],
        }

    def checks(self) -> list[Check]:
        """See ServedTask."""
        found = []
        for texts in probes.batches(probes.texts(self.rows.seq_length)):
            expected = self._expected(texts)
            found.append(Check(DEFAULT, {"text": as_strings(texts)}, expected))
        return [*found, self.id_check(_expected_of_tokens)]

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """See the base class."""
        return [(DEFAULT, {"text": as_strings([text])})]

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """See the base class."""
        return {"tagging": answer["logits"]}

    def _expected(self, texts: list[bytes]) -> list[Arrays]:
        """Returns what the Python task says."""
        found = results(self.answers([(text,) for text in texts]))
        ids = {name: i for i, name in enumerate(self.task.labels)}
        expected = []
        for one in found:
            columns = {
                name: [word[key] for word in one["words"]]
                for name, key in (
                    ("words", "word"),
                    ("starts", "start"),
                    ("ends", "end"),
                    ("labels", "label"),
                    ("scores", "score"),
                )
            }
            arrays = {n: _as_array(v, n) for n, v in columns.items()}
            arrays["label_ids"] = np.array(
                [ids.get(name, -1) for name in columns["labels"]], np.int32
            )
            arrays["num_words"] = np.array(len(one["words"]), np.int32)
            for name, key in (
                ("entities", "word"),
                ("entity_labels", "entity_group"),
                ("entity_starts", "start"),
                ("entity_ends", "end"),
                ("entity_scores", "score"),
            ):
                if self.has_entities:
                    column = [entity[key] for entity in one["entities"]]
                    arrays[name] = _as_array(column, name)
                    arrays["num_entities"] = np.array(len(column), np.int32)
            expected.append(arrays)
        return expected


def _expected_of_tokens(outputs: Arrays) -> Arrays:
    """Returns the answer to a row of ids."""
    logits = outputs["tagging"]
    return {
        "label_ids": logits.argmax(axis=1).astype(np.int32),
        "scores": softmax(logits).max(axis=1),
        "logits": logits,
    }


def _as_array(column: list[Any], name: str) -> np.ndarray:
    """Returns a column of an answer as an array."""
    if name.endswith("scores"):
        return np.array(column, np.float32)
    if name.endswith(("starts", "ends")):
        return np.array(column, np.int32)
    return as_strings([value.encode() for value in column])


def _words_of_tokens(
    text: tf.Tensor,
    found: words.Words,
    rows: tf.Tensor,
    starts: tf.RaggedTensor,
    ends: tf.RaggedTensor,
) -> tf.Tensor:
    """Returns the word of each token: the first that it shares a byte with.

    Args:
        text: string [B].
        found: The words.
        rows: int64 [tokens], the text of each.
        starts: First byte of each token.
        ends: The byte after its last.

    Returns:
        int64 [tokens], the number of the word among those of all texts, or
        -1.
    """
    sizes = tf.cast(tf.strings.length(text), tf.int64)
    # Texts do not touch.
    bases = tf.cumsum(sizes + 1, exclusive=True)
    own = tf.gather(bases, found.starts.value_rowids())
    word_starts = found.starts.flat_values + own
    word_ends = found.ends.flat_values + own
    base = tf.gather(bases, rows)
    begin = tf.cast(starts.flat_values, tf.int64) + base
    end = tf.cast(ends.flat_values, tf.int64) + base
    word = tf.cast(tf.searchsorted(word_ends, begin, "right"), tf.int64)
    # One behind the last, which no token reaches.
    word_starts = tf.concat([word_starts, [tf.int64.max]], axis=0)
    return tf.where(tf.gather(word_starts, word) < end, word, -1)


def _entity_tables(
    labels: tuple[str, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns what makes entities, asked of `evaluation.entities`.

    One more label stands for the place before a text.

    Returns:
        bool [L + 1, L + 1], whether an entity begins at the second of two
        labels; bool [L + 1], whether a label is of an entity; [L + 1], of
        which type.
    """
    names = [*labels, OUTSIDE]
    opens = np.array(
        [
            [any(e[1] == 1 for e in entities([one, two])) for two in names]
            for one in names
        ]
    )
    found = [entities([name]) for name in names]
    kinds = [one[0][0] if one else "" for one in found]
    return opens, np.array([bool(one) for one in found]), np.array(kinds)
