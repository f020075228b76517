"""Signatures of tagging: words of texts, their labels, and entities."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.labelled.tag_schemes import OUTSIDE, are_entity_tags, as_bioes
from tfllm.outputs.entities import entities
from tfllm.outputs.probabilities import softmax
from tfllm.prediction.results import results
from tfllm.serving import probes
from tfllm.serving.export_config import ExportSettings
from tfllm.serving.graph import words
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
from tfllm.tasks.tagging import Tagging
from tfllm.tokenizers import Tokenizer

OUTPUTS = {
    "words": "string [B, W]: the words of each text, then empty",
    "starts": "int32 [B, W]: the first character of each",
    "ends": "int32 [B, W]: the character after its last",
    "labels": "string [B, W]: the label of each",
    "label_ids": "int32 [B, W]: its index, -1 for none",
    "scores": "float32 [B, W]: its probability",
    "num_words": "int32 [B]: number of words of each text",
}
ENTITY_OUTPUTS = {
    "entities": "string [B, E]: the entities of each text, then empty",
    "entity_labels": "string [B, E]: the type of each",
    "entity_starts": "int32 [B, E]: its first character",
    "entity_ends": "int32 [B, E]: the character after its last",
    "entity_scores": "float32 [B, E]: mean score of its words",
    "num_entities": "int32 [B]: number of entities of each text",
}
ID_OUTPUTS = {
    "label_ids": "int32 [B, T]: index of the label of each token",
    "scores": "float32 [B, T]: its probability",
    "logits": "float32 [B, T, L]: logits of all labels",
}


class TaggingServing(LabelledServing):
    """Signatures of a tagger that takes raw text.

    Text is split into words as `tfllm.predict` does. A word gets the label of
    its first token, from the window that shows it with the most context.

    Args:
        task: The task.
        tokenizer: Tokenizer of the task.
        settings: Reads `seq_length` and `stride`.

    Raises:
        ValueError: The settings do not fit the model.
    """

    def __init__(
        self, task: Tagging, tokenizer: Tokenizer, settings: ExportSettings
    ) -> None:
        super().__init__(task, tokenizer, settings, tokenizer.row_template)
        self.has_entities = are_entity_tags(task.labels)
        outputs = dict(OUTPUTS)
        if self.has_entities:
            outputs |= ENTITY_OUTPUTS
        self.functions = self.signatures(("text",), outputs, ID_OUTPUTS)

    def from_text(self, text: tf.Tensor) -> Tensors:
        """Tags the words of texts, string [B]."""
        text = valid_utf8(text)
        spans = words.split(text)
        ids, starts, ends = self.tokenizer.tokenize_with_offsets(text)
        # [tokens]: word of each token, -1 unless it is the word's first token
        word = _words_of_tokens(text, spans, ids.value_rowids(), starts, ends)
        before = tf.concat([[-1], word[:-1]], axis=0)[: tf.size(word)]
        firsts = tf.where(word != before, word, -1)
        rows = self.rows.single(ids)
        logits = self.run_rows(rows.inputs)["tagging"]  # [R, T, L]
        shown = rows.shown()
        owners = tf.gather(rows.owners, shown.rows)
        # [tokens] -> [S]
        word = tf.gather(
            firsts, tf.gather(ids.row_starts(), owners) + shown.sources
        )
        is_read = (word >= 0) & shown.widest
        places = tf.stack([shown.rows, shown.columns], axis=1)  # [S, 2]
        count = tf.size(spans.starts.flat_values, tf.int64)
        # [S] -> [words read, 1]
        targets = tf.boolean_mask(word, is_read)[:, None]
        # [R, T, L] -> [words read, L] -> [words, L]
        read_logits = tf.gather_nd(logits, tf.boolean_mask(places, is_read))
        word_logits = tf.scatter_nd(
            targets, read_logits, tf.stack([count, len(self.task.labels)])
        )
        read = tf.scatter_nd(targets, tf.ones_like(targets[:, 0]), count[None])
        return self._answer(text, spans, word_logits, read > 0)

    def _answer(
        self,
        text: tf.Tensor,
        spans: words.Words,
        logits: tf.Tensor,
        read: tf.Tensor,
    ) -> Tensors:
        """Returns the outputs for words.

        Args:
            text: string [B].
            spans: Positions of the words.
            logits: float32 [words, L].
            read: bool [words], False for words that no row holds.
        """
        characters = Characters(text)
        texts = spans.starts.value_rowids()
        starts = characters.from_byte(texts, spans.starts.flat_values)
        ends = characters.from_byte(texts, spans.ends.flat_values)
        labels = list(self.task.labels)
        unread = labels.index(OUTSIDE) if OUTSIDE in labels else -1
        best = tf.argmax(logits, axis=1, output_type=tf.int32)
        label_ids = tf.where(read, best, unread)
        scores = tf.reduce_max(tf.nn.softmax(logits), axis=1)
        scores = tf.where(read, scores, 0.0)
        names = tf.gather(
            tf.constant([*labels, ""]), label_ids % (len(labels) + 1)
        )

        def dense(flat: tf.Tensor, default: str | float) -> tf.Tensor:
            # [words] -> [B, W]
            return spans.starts.with_flat_values(flat).to_tensor(default)

        outputs = {
            "words": dense(characters.cut(texts, starts, ends), ""),
            "starts": dense(tf.cast(starts, tf.int32), 0),
            "ends": dense(tf.cast(ends, tf.int32), 0),
            "labels": dense(names, ""),
            "label_ids": dense(label_ids, -1),
            "scores": dense(scores, 0.0),
            "num_words": tf.cast(spans.starts.row_lengths(), tf.int32),
        }
        if self.has_entities:
            outputs |= self._entities(
                characters, spans.starts, starts, ends, label_ids, scores
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
            characters: Characters of the texts.
            like: Ragged [B, (words)] that gives the shape.
            starts: int64 [words], first character of each word.
            ends: int64 [words], character after its last.
            label_ids: int32 [words].
            scores: float32 [words].
        """
        opens, inside, kinds = _entity_tables(self.task.labels)
        count = len(self.task.labels)
        # One more label stands before each text and for words not read.
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
        # [words] -> [entities] -> [B, (entities)]
        texts, start = tf.gather(texts, heads), tf.gather(starts, heads)
        rows = tf.RaggedTensor.from_value_rowids(
            start, texts, like.nrows(), validate=False
        )

        def dense(flat: tf.Tensor, default: str | float) -> tf.Tensor:
            # [entities] -> [B, E]
            return rows.with_flat_values(flat).to_tensor(default)

        return {
            "entities": dense(characters.cut(texts, start, last), ""),
            "entity_labels": dense(
                tf.gather(kinds, tf.gather(label_ids, heads)), ""
            ),
            "entity_starts": dense(tf.cast(start, tf.int32), 0),
            "entity_ends": dense(tf.cast(last, tf.int32), 0),
            "entity_scores": dense(mean, 0.0),
            "num_entities": tf.cast(rows.row_lengths(), tf.int32),
        }

    def from_ids(self, **inputs: tf.Tensor) -> Tensors:
        """Tags the tokens of rows of ids, int32 [B, T], specials included."""
        width = tf.shape(inputs["token_ids"])[1]
        logits = self.run_rows(self.rows.from_ids(**inputs))["tagging"]
        best = tf.argmax(logits, axis=2, output_type=tf.int32)
        scores = tf.reduce_max(tf.nn.softmax(logits), axis=2)
        return {
            "label_ids": best[:, :width],
            "scores": scores[:, :width],
            "logits": logits[:, :width],
        }

    def checks(self) -> list[Check]:
        """Returns requests with the answers of the Python task."""
        checks = []
        for texts in probes.batches(probes.texts(self.rows.seq_length)):
            expected = self._expected(texts)
            checks.append(Check(DEFAULT, {"text": as_strings(texts)}, expected))
        return [*checks, self.id_check(_expected_of_tokens)]

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """Returns a request with a text."""
        return [(DEFAULT, {"text": as_strings([text])})]

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """Returns the logits of an answer, float32 [B, T, L]."""
        return {"tagging": answer["logits"]}

    def _expected(self, texts: list[bytes]) -> list[Arrays]:
        """Returns the answers of the Python task."""
        predictions = self.answers([(text,) for text in texts])
        ids = {name: i for i, name in enumerate(self.task.labels)}
        expected = []
        for result in results(predictions):
            columns = {
                name: [word[key] for word in result["words"]]
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
            arrays["num_words"] = np.array(len(result["words"]), np.int32)
            for name, key in (
                ("entities", "word"),
                ("entity_labels", "entity_group"),
                ("entity_starts", "start"),
                ("entity_ends", "end"),
                ("entity_scores", "score"),
            ):
                if self.has_entities:
                    column = [entity[key] for entity in result["entities"]]
                    arrays[name] = _as_array(column, name)
                    arrays["num_entities"] = np.array(len(column), np.int32)
            expected.append(arrays)
        return expected


def _expected_of_tokens(outputs: Arrays) -> Arrays:
    """Returns the expected answer to a row of ids."""
    logits = outputs["tagging"]
    return {
        "label_ids": logits.argmax(axis=1).astype(np.int32),
        "scores": softmax(logits).max(axis=1),
        "logits": logits,
    }


def _as_array(column: list[Any], name: str) -> np.ndarray:
    """Returns the values of an output as an array of its dtype."""
    if name.endswith("scores"):
        return np.array(column, np.float32)
    if name.endswith(("starts", "ends")):
        return np.array(column, np.int32)
    return as_strings([value.encode() for value in column])


def _words_of_tokens(
    text: tf.Tensor,
    spans: words.Words,
    rows: tf.Tensor,
    starts: tf.RaggedTensor,
    ends: tf.RaggedTensor,
) -> tf.Tensor:
    """Returns the word of each token: the first that it shares a byte with.

    Args:
        text: string [B].
        spans: Positions of the words.
        rows: int64 [tokens], index of the text of each token.
        starts: Ragged [B, (tokens)], first byte of each token.
        ends: Ragged [B, (tokens)], byte after its last.

    Returns:
        int64 [tokens], index among the words of all texts; -1 for none.
    """
    sizes = tf.cast(tf.strings.length(text), tf.int64)
    # As if the texts were one string with a byte between them.
    bases = tf.cumsum(sizes + 1, exclusive=True)
    word_bases = tf.gather(bases, spans.starts.value_rowids())
    word_starts = spans.starts.flat_values + word_bases
    word_ends = spans.ends.flat_values + word_bases
    base = tf.gather(bases, rows)
    begin = tf.cast(starts.flat_values, tf.int64) + base
    end = tf.cast(ends.flat_values, tf.int64) + base
    word = tf.cast(tf.searchsorted(word_ends, begin, "right"), tf.int64)
    # One more word after the last, which no token reaches.
    word_starts = tf.concat([word_starts, [tf.int64.max]], axis=0)
    return tf.where(tf.gather(word_starts, word) < end, word, -1)


def _entity_tables(
    labels: tuple[str, ...],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the rules of `outputs.entities` as tables over labels.

    One more label stands for the place before a text.

    Returns:
        bool [L + 1, L + 1], whether an entity begins at the second of two
        labels; bool [L + 1], whether a label is inside an entity; string
        [L + 1], type of the entity.
    """
    tags = as_bioes(labels)
    names = [*(tags[label] for label in labels), OUTSIDE]
    opens = np.array(
        [
            [any(e[1] == 1 for e in entities([name, next_])) for next_ in names]
            for name in names
        ]
    )
    alone = [entities([name]) for name in names]
    kinds = [spans[0][0] if spans else "" for spans in alone]
    return opens, np.array([bool(spans) for spans in alone]), np.array(kinds)
