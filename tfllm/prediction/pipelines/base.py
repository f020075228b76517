"""The base of all pipelines: inputs in any container, options, batches."""

import dataclasses
import inspect
import itertools
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tfllm.data.labelled import named_settings
from tfllm.data.labelled.batches import LabelledData
from tfllm.data.labelled.records.record import Record
from tfllm.prediction.forward import predict
from tfllm.prediction.pipelines.inputs import open_inputs
from tfllm.prediction.pipelines.keywords import ELSEWHERE, refusal
from tfllm.prediction.pooling import Pool
from tfllm.tasks import Task
from tfllm.tokenizers import Tokenizer

Result = Any


def _accept_all(items: Sequence[Any]) -> None:
    """Accepts all inputs."""


class Step(NamedTuple):
    """Functions that turn inputs into results.

    Attributes:
        read: (input, its name for errors) -> checked item.
        answer: Batch of items -> a result for each.
        check: Called with all items in memory before the first batch.
    """

    read: Callable[[Any, str], Any]
    answer: Callable[[list[Any]], Iterable[Result]]
    check: Callable[[Sequence[Any]], None] = _accept_all


class Pipeline:
    """A function from inputs to results; what `pipeline` returns.

    A subclass implements `step`, whose keyword arguments are its options.

    Args:
        task: The task.
        tokenizer: Tokenizer of the model.
        settings: Settings of the task's run, if known.
        batch_size: Inputs at a time.
        **defaults: Options for calls without them.

    Raises:
        ValueError: The pipeline does not take one of the options.
    """

    name = ""
    # Kind of task to load a folder as; None: that of the folder.
    read_as: str | None = None

    def __init__(
        self,
        task: Task,
        tokenizer: Tokenizer,
        settings: Mapping[str, Any] | None = None,
        batch_size: int = 8,
        **defaults: Any,
    ) -> None:
        check_count("batch_size", batch_size)
        self.task = task
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.settings = dict(settings or {})
        self.defaults: dict[str, Any] = {}
        self.defaults = self._options(defaults)

    def step(self) -> Step:
        """Returns the functions that turn inputs into results.

        Raises:
            ValueError: An option has a wrong value.
        """
        raise NotImplementedError

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Returns the results of inputs.

        Args:
            inputs: One input; several in a list, tuple, NumPy array, tensor
                or pandas Series; or a stream: a generator, a tf.data.Dataset
                of texts, a column of a dataset.
            **options: `batch_size`, and the arguments of `step`.

        Returns:
            The result of one input; a list of results of several; for a
            stream an iterator, which reads at most one batch ahead.

        Raises:
            ValueError: An input or an option is not valid.
        """
        size = options.pop("batch_size", self.batch_size)
        check_count("batch_size", size)
        step = self.step(**self._options(options))
        opened = open_inputs(inputs)
        items = (step.read(value, where) for where, value in opened.items)
        if opened.is_stream:
            return self._answers(step, items, size)
        # All inputs are checked before the first is predicted.
        checked = list(items)
        step.check(checked)
        results = list(self._answers(step, iter(checked), size))
        return results if opened.several else results[0]

    def _answers(
        self, step: Step, items: Iterator[Any], size: int
    ) -> Iterator[Result]:
        """Yields the results of items, a batch at a time."""
        while batch := list(itertools.islice(items, size)):
            yield from step.answer(batch)

    def _options(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the options of a call with the defaults of the pipeline.

        Raises:
            ValueError: The pipeline does not take one of them.
        """
        parameters = inspect.signature(self.step).parameters
        takes_all = any(p.kind == p.VAR_KEYWORD for p in parameters.values())
        # None for a keyword of Transformers asks for nothing: it is ignored.
        asked = {
            name: value
            for name, value in options.items()
            if value is not None or name in parameters or name not in ELSEWHERE
        }
        unknown = [
            name
            for name in asked
            if name not in parameters and (name in ELSEWHERE or not takes_all)
        ]
        if unknown:
            taken = [f"`{p}`" for p in parameters if p != "fields"]
            fields = ["the fields of GenerationConfig"] if takes_all else []
            raise ValueError(
                refusal(self.name, unknown, [*taken, "`batch_size`", *fields])
            )
        return {**self.defaults, **asked}


class LabelledPipeline(Pipeline):
    """The base of pipelines around tasks of labelled data."""

    def predict(
        self,
        records: Sequence[Record],
        make_pool: Callable[..., Pool] | None = None,
        cut: bool = False,
        **settings: Any,
    ) -> Iterator[tuple[Record, Any]]:
        """Yields the records of a batch and the pooled output of each.

        Args:
            records: Records without labels, all with the same number of
                texts.
            make_pool: See `prediction.forward.predict`.
            cut: Cut long texts instead of reading them in windows.
            **settings: Fields of LabelledDataConfig that replace those of
                the run.
        """
        has_predicate = self.task.with_predicates
        config = named_settings.task_config(
            self.task,
            {
                **self.settings,
                "batch_size": max(1, len(records)),
                # Not read from a file: says that records have a predicate.
                "predicate_column": "predicate" if has_predicate else "",
                **settings,
            },
        )
        if cut:
            config = dataclasses.replace(config, stride=None)
        data = LabelledData(records, self.tokenizer, config)
        predictions = predict(self.task, data, make_pool=make_pool)
        yield from zip(predictions.records, predictions.outputs, strict=True)


def check_count(name: str, value: int | None) -> None:
    """Raises ValueError unless a value is None or an integer from 1."""
    if value is None:
        return
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Integral)
        or value < 1
    ):
        raise ValueError(
            f"`{name}` must be an integer of at least 1. Received: {value!r}"
        )


def check_choice(name: str, value: Any, choices: Sequence[Any]) -> None:
    """Raises ValueError unless a value is one of the choices."""
    if value not in choices:
        raise ValueError(
            f"`{name}` must be one of {list(choices)}. Received: {value!r}"
        )
