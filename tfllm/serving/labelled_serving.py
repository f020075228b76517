"""What all tasks of labelled data have in common when they are served."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfllm.data.labelled.rows.row_layout import RowLayout
from tfllm.evaluation.predictions import Predictions
from tfllm.serving import probes, python_answers, row_widths
from tfllm.serving.rows import RowMaker
from tfllm.serving.served_task import (
    DEFAULT,
    TOKEN_IDS,
    Arrays,
    Check,
    ExportSettings,
    ServedFunction,
    Tensors,
    id_arrays,
    strings,
    token_id_inputs,
)


class LabelledServing:
    """A task that takes text, or rows of ids with their special tokens.

    A subclass has `from_text`, `from_ids`, `requests` and `task_outputs`, and
    the `checks` of ServedTask.

    Args:
        task: The task.
        tokenizer: Its tokenizer.
        settings: What `signatures.as_in_run` returned; `seq_length`,
            `stride` and `question_length` count.
        layout: The special tokens of its rows.

    Attributes:
        functions: See ServedTask.

    Raises:
        ValueError: The settings do not fit the model.
    """

    from_text: Callable[..., Tensors]
    from_ids: Callable[..., Tensors]
    functions: dict[str, ServedFunction]

    def __init__(
        self,
        task: Any,
        tokenizer: Any,
        settings: ExportSettings,
        layout: RowLayout,
    ) -> None:
        """See the class."""
        self.task, self.tokenizer = task, tokenizer
        self.has_segments = layout.has_segments
        self.question_length = settings.question_length
        self.rows = RowMaker(layout, settings.seq_length, settings.stride)

    def signatures(
        self,
        names: Sequence[str],
        outputs: dict[str, str],
        id_outputs: dict[str, str],
    ) -> dict[str, ServedFunction]:
        """Returns the two functions that every task has.

        Args:
            names: Of the texts.
            outputs: Of `from_text`: name -> what it is, for people.
            id_outputs: Those of `from_ids`.
        """
        ids = token_id_inputs(self.has_segments)
        return {
            DEFAULT: ServedFunction(self.from_text, strings(*names), outputs),
            TOKEN_IDS: ServedFunction(self.from_ids, ids, id_outputs),
        }

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """Returns requests with a text, for the signatures that take some."""
        raise NotImplementedError

    def id_request(self, x: Arrays) -> Arrays:
        """Returns a request with rows as the data have them.

        Args:
            x: `token_ids`, `padding_mask` int32 [B, T], and for an encoder
                `segment_ids`.
        """
        names = self.functions[TOKEN_IDS].inputs
        lengths = x["padding_mask"].sum(axis=-1, dtype="int32")
        found = {**x, "lengths": lengths}
        return {name: found[name] for name in names}

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """Returns what the task gave for rows, by an answer to their ids.

        Args:
            x: The rows, as the data have them.
            answer: To `id_request(x)`.
        """
        raise NotImplementedError

    def warm_up(self) -> list[tuple[str, Arrays]]:
        """See ServedTask."""
        found = [
            (name, self.shaped(arrays))
            for name, arrays in row_widths.requests(
                self.task, self.rows.seq_length, self.has_segments
            )
        ]
        for text in probes.by_length(self.rows.seq_length):
            row = self.row(text)[: self.rows.seq_length]
            found += self.requests(text)
            found.append((TOKEN_IDS, self.id_arrays([row])))
        return found

    def row(self, text: bytes) -> list[int]:
        """Returns the ids of a text alone, special tokens included."""
        layout = self.rows.layout
        text = text.decode("utf-8", "replace").encode()
        ids = self.tokenizer.tokenize(tf.constant([text])).to_list()[0]
        return [*layout.opens, *ids, *layout.closes] or [layout.pad]

    def id_arrays(self, rows: Sequence[Sequence[int]]) -> Arrays:
        """Returns rows of ids as a request."""
        return self.shaped(id_arrays(rows, self.has_segments))

    def shaped(self, arrays: Arrays) -> Arrays:
        """Returns rows, [B, T], as the task takes them."""
        return arrays

    def id_check(self, expected: Callable[[Arrays], Arrays]) -> Check:
        """Returns a request of ids, with the answers of the Python task.

        Args:
            expected: What the task gives for a row -> the answer.
        """
        rows = [self.row(text) for text in probes.by_length(8)]
        found = []
        for row in rows:
            outputs = self.task({"token_ids": tf.constant([row])})
            found.append(
                expected({k: v.numpy()[0] for k, v in outputs.items()})
            )
        return Check(TOKEN_IDS, self.id_arrays(rows), found)

    def answers(self, groups: Sequence[tuple[bytes, ...]]) -> Predictions:
        """Returns what the Python task says about texts; see there."""
        return python_answers.answers(
            self.task,
            self.tokenizer,
            groups,
            self.rows.seq_length,
            self.rows.stride,
            self.question_length,
        )
