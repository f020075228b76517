"""Base class for the signatures of labelled tasks."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from tfllm.outputs.predictions import Predictions
from tfllm.prediction import python_answers
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
    id_arrays,
    strings,
    token_id_inputs,
)
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer
from tfllm.tokenizers.row_template import RowTemplate


class LabelledServing:
    """Signatures of a task that takes text, or rows of ids with specials.

    A subclass has `from_text`, `from_ids`, `requests`, `task_outputs` and the
    `checks` of ServedTask.

    Args:
        task: The task.
        tokenizer: Tokenizer of the task.
        settings: Settings from `signatures.as_in_run`; reads `seq_length`,
            `stride` and `question_length`.
        template: Special tokens of a row.

    Attributes:
        functions: Signature name -> function.

    Raises:
        ValueError: The settings do not fit the model.
    """

    from_text: Callable[..., Tensors]
    from_ids: Callable[..., Tensors]
    functions: dict[str, ServedFunction]

    def __init__(
        self,
        task: Task,
        tokenizer: Tokenizer,
        settings: ExportSettings,
        template: RowTemplate[int],
    ) -> None:
        self.task, self.tokenizer = task, tokenizer
        self.has_segments = template.has_segments
        self.question_length = settings.question_length
        self.rows = RowMaker(template, settings.seq_length, settings.stride)

    @property
    def limits(self) -> IdLimits:
        """Limits of ids, segments and lengths in rows of ids."""
        config = self.task.config
        return IdLimits(
            config.vocab_size,
            config.num_segments,
            self.rows.seq_length,
        )

    def signatures(
        self,
        names: Sequence[str],
        outputs: dict[str, str],
        id_outputs: dict[str, str],
    ) -> dict[str, ServedFunction]:
        """Returns the two signatures that every task has.

        Args:
            names: Names of the text inputs.
            outputs: Outputs of `from_text`: name -> description.
            id_outputs: Outputs of `from_ids`: name -> description.
        """
        ids = token_id_inputs(self.has_segments)
        return {
            DEFAULT: ServedFunction(self.from_text, strings(*names), outputs),
            TOKEN_IDS: ServedFunction(
                self.from_ids, ids, id_outputs, self.limits
            ),
        }

    def run_rows(self, rows: Tensors, *names: str) -> Tensors:
        """Runs the task on rows, a few at a time.

        Args:
            rows: Inputs of the model, [R, T] each.
            *names: Outputs to return, float32 [R, ...]; by default the output
                with the name of the task's kind.
        """
        names = names or (self.task.kind,)
        dtypes = dict.fromkeys(names, tf.float32)
        return windows.run_in_steps(self.task, rows, dtypes)

    def requests(self, text: bytes) -> list[tuple[str, Arrays]]:
        """Returns requests with a text, for the signatures that take text."""
        raise NotImplementedError

    def id_request(self, x: Arrays) -> Arrays:
        """Returns a request with rows of a dataset.

        Args:
            x: `token_ids`, `padding_mask` and, if the model has segments,
                `segment_ids`, int32 [B, T] each.
        """
        names = self.functions[TOKEN_IDS].inputs
        lengths = x["padding_mask"].sum(axis=-1, dtype="int32")  # [B]
        inputs = {**x, "lengths": lengths}
        return {name: inputs[name] for name in names}

    def task_outputs(self, x: Arrays, answer: Arrays) -> Arrays:
        """Returns the outputs of the task from an answer.

        Args:
            x: Rows of a dataset.
            answer: Answer to `id_request(x)`.
        """
        raise NotImplementedError

    def warm_up(self) -> list[tuple[str, Arrays]]:
        """Returns requests that warm up every signature at several lengths."""
        requests = [
            (name, self.shaped(arrays))
            for name, arrays in row_widths.requests(
                self.task, self.rows.seq_length, self.has_segments
            )
        ]
        for text in probes.by_length(self.rows.seq_length):
            row = self.row(text)[: self.rows.seq_length]
            requests += self.requests(text)
            requests.append((TOKEN_IDS, self.id_arrays([row])))
        return requests

    def row(self, text: bytes) -> list[int]:
        """Returns the ids of one text, special tokens included."""
        template = self.rows.template
        prompt = self.task.prompt
        text = f"{prompt}{text.decode('utf-8', 'replace')}".encode()
        ids = self.tokenizer.tokenize(tf.constant([text])).to_list()[0]
        return [*template.opens, *ids, *template.closes] or [template.pad]

    def id_arrays(self, rows: Sequence[Sequence[int]]) -> Arrays:
        """Returns rows of ids as a request."""
        return self.shaped(id_arrays(rows, self.has_segments))

    def shaped(self, arrays: Arrays) -> Arrays:
        """Returns rows [B, T] in the shape that the task takes."""
        return arrays

    def id_check(self, expected: Callable[[Arrays], Arrays]) -> Check:
        """Returns a request of ids, with the answers of the Python task.

        Args:
            expected: Outputs of the task for a row -> expected answer.
        """
        rows = [self.row(text) for text in probes.by_length(8)]
        answers = []
        for row in rows:
            outputs = self.task({"token_ids": tf.constant([row])})
            answers.append(
                expected({k: v.numpy()[0] for k, v in outputs.items()})
            )
        return Check(TOKEN_IDS, self.id_arrays(rows), answers)

    def answers(self, groups: Sequence[tuple[bytes, ...]]) -> Predictions:
        """Returns the predictions of the Python task for texts."""
        return python_answers.answers(
            self.task,
            self.tokenizer,
            groups,
            self.rows.seq_length,
            self.rows.stride,
            self.question_length,
        )
