"""The pipeline for token classification and named entities."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfllm.data.labelled.records.record import Record
from tfllm.data.labelled.rows.byte_places import character_places
from tfllm.outputs.probabilities import softmax
from tfllm.prediction.pipelines.base import (
    LabelledPipeline,
    Result,
    Step,
    check_choice,
)
from tfllm.prediction.pipelines.inputs import sentence_of, text_of
from tfllm.prediction.pipelines.pieces import (
    Piece,
    entity_groups,
    tagged_pieces,
)
from tfllm.prediction.pooling import TokenPool

AGGREGATION_STRATEGIES = ("none", "simple", "first", "average", "max")


class TokenClassification(LabelledPipeline):
    """Tags tokens, or finds entities."""

    name = "token-classification"

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Returns tagged tokens or entities, in the order of the text.

        Args:
            inputs: Texts; see `Pipeline`. For a model that was trained with
                predicates, dicts of `text` and `predicate`, the number of a
                word from 0.
            **options: Options of `step`, and `batch_size`.

        Returns:
            A list of dicts per text.
        """
        is_split = {**self.defaults, **options}.get("is_split_into_words")
        # As in Transformers, a list of words is one text.
        if (
            is_split
            and isinstance(inputs, list | tuple)
            and all(isinstance(word, str) for word in inputs)
        ):
            inputs = [inputs]
        return super().__call__(inputs, **options)

    def step(
        self,
        aggregation_strategy: str = "none",
        ignore_labels: Sequence[str] = ("O",),
        is_split_into_words: bool = False,
    ) -> Step:
        """Returns the functions that tag texts.

        Args:
            aggregation_strategy: "none": `entity`, `score`, `index`, `word`,
                `start`, `end` per token. Others: `entity_group`, `score`,
                `word`, `start`, `end` per entity; see `pieces.entity_groups`.
            ignore_labels: Tags or entity types to leave out.
            is_split_into_words: Whether a text is a list of words, which are
                joined by spaces.
        """
        check_choice(
            "aggregation_strategy", aggregation_strategy, AGGREGATION_STRATEGIES
        )
        labels = self.task.labels  # type: ignore[attr-defined]
        by_token = aggregation_strategy == "none"
        key = "entity" if by_token else "entity_group"
        with_predicate = self.task.with_predicates  # type: ignore[attr-defined]

        def read(value: Any, where: str) -> Record:
            if is_split_into_words:
                value = _joined_words(value, where)
            return sentence_of(value, where, with_predicate)

        def answer(records: list[Record]) -> Iterator[Result]:
            for pieces in self._pieces(records):
                results = (
                    tagged_pieces(pieces, labels)
                    if by_token
                    else entity_groups(
                        pieces,
                        labels,
                        self.tokenizer.join,
                        aggregation_strategy,
                    )
                )
                yield [r for r in results if r[key] not in ignore_labels]

        return Step(read, answer)

    def _pieces(self, records: Sequence[Record]) -> Iterator[list[Piece]]:
        """Yields, for each text, its tokens and their label probabilities."""
        texts = [record.texts[0] for record in records]
        tokens = self.tokenizer.tokenize_with_offsets(
            tf.constant([t.encode("utf-8", errors="replace") for t in texts])
        )
        columns = [part.to_list() for part in tokens]
        num_before = len(self.tokenizer.row_template.opens)
        outputs = self.predict(records, TokenPool)
        for text, (_, logits), *places in zip(
            texts, outputs, *columns, strict=True
        ):
            ids, starts, ends = places
            starts = character_places(text, np.array(starts, np.int64))
            ends = character_places(text, np.array(ends, np.int64) - 1) + 1
            yield [
                self._piece(text, token, scores, (start, end), num_before + i)
                for i, (token, scores, start, end) in enumerate(
                    zip(
                        ids,
                        softmax(logits),
                        starts.tolist(),
                        ends.tolist(),
                        strict=True,
                    )
                )
            ]

    def _piece(
        self,
        text: str,
        token_id: int,
        scores: np.ndarray,
        place: tuple[int, int],
        index: int,
    ) -> Piece:
        """Returns the piece of a token of a text."""
        token = self.tokenizer.id_to_token(token_id)
        start, end = place
        if self.tokenizer.keeps_spaces:
            # Tokens include the space before a word.
            continues = start > 0 and " " not in text[start - 1 : start + 1]
        elif token_id == self.tokenizer.special.unk:
            token, continues = text[start:end], False
        else:
            continues = bool(self.tokenizer.is_continuation[token_id])
        return Piece((token,), scores, start, end, index, continues)


def _joined_words(value: Any, where: str) -> str:
    """Joins a list of words with spaces."""
    if not isinstance(value, list | tuple):
        raise ValueError(
            "`inputs` must be lists of words with `is_split_into_words`. "
            f"Received: {value!r} as {where}"
        )
    return " ".join(text_of(word, f"a word of {where}") for word in value)
