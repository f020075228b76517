"""RunConfig: the settings of a run, checked."""

import math
from collections.abc import Sequence

from tfllm.data.kinds import DataConfig, DataKind, data_kind, kinds_of_tasks
from tfllm.data.labelled import named_settings
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.interop.licenses import check_license
from tfllm.learning.optimizer_config import OptimizerConfig, OptimizerOptions
from tfllm.learning.options import options_of
from tfllm.learning.schedule_config import ScheduleConfig, ScheduleOptions
from tfllm.learning.train_settings import TrainSettings
from tfllm.run_settings import RunSettings
from tfllm.runs import labelled_flags
from tfllm.training.trainer_config import TrainerConfig

TASKS = kinds_of_tasks()

# For checks before the number of steps is known.
_ANY_STEPS = 10**9


class RunConfig(RunSettings):
    """The settings of a run, checked for contradictions."""

    @property
    def is_labelled(self) -> bool:
        """Whether the data is labelled records, not running text."""
        return self.data_kind.is_labelled

    @property
    def data_kind(self) -> DataKind:
        """Kind of the task's data."""
        return data_kind(self.task)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """Numbers in `seeds`.

        Raises:
            ValueError: `seeds` are not numbers, or one is repeated.
        """
        parts = [part.strip() for part in self.seeds.split(",") if part.strip()]
        numbers = [int(part) for part in parts if part.isdecimal()]
        if len(numbers) != len(parts) or len({*numbers}) != len(numbers):
            raise ValueError(
                "`seeds` must be different numbers, such as 1,2,3. "
                f"Received: {self.seeds!r}"
            )
        return tuple(numbers)

    def check(self) -> None:
        """Raises ValueError for flags that do not go together."""
        self._check_needed()
        for name in ("best_metric", "early_stopping_patience"):
            if self.value_of(name) and not self.data.eval_files:
                raise ValueError(
                    f"`{name}` needs held-out data. Received: {name}="
                    f"{self.value_of(name)} without --eval_files"
                )
        for name in (
            "batch_size",
            "accumulation_steps",
            "seq_length",
            "train_steps",
            "epochs",
        ):
            if self.value_of(name) == 0:
                raise ValueError(f"`{name}` must be positive. Received: 0")
        for name, value in self.values.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`{name}` must be finite. Received: {value}")
        self._check_task_flags()
        check_license(self.license)
        if self.data.batch_size % self.learning.accumulation_steps:
            raise ValueError(
                "`batch_size` must be a multiple of `accumulation_steps`, "
                f"{self.learning.accumulation_steps}. Received: "
                f"{self.data.batch_size}"
            )
        # The configs check themselves, before anything is read or built.
        self.data_config()
        self.trainer_config(self.schedule.train_steps or _ANY_STEPS)
        if self.seed_list and not self.data.eval_files:
            raise ValueError(
                "`seeds` compares held-out figures and needs `eval_files`. "
                f"Received: seeds={self.seeds} and none. Add --eval_files=..., "
                "or train each with --seed."
            )
        if self.seed_list and self.computation.strategy == "multi_worker":
            raise ValueError(
                "`seeds` does not go with --strategy=multi_worker, which is "
                "set up once per process: give each seed a run of its own. "
                f"Received: seeds={self.seeds}"
            )

    def _check_needed(self) -> None:
        """Raises ValueError for flags that are missing."""
        for name in ("model_dir", "train_files", "tokenizer"):
            from_folder = name == "tokenizer" and self.model.init_from
            if not self.value_of(name) and not from_folder:
                raise ValueError(
                    f"`{name}` is needed. Received: nothing; add --{name}=..."
                )
        if (self.schedule.train_steps is None) == (
            self.schedule.epochs is None
        ):
            raise ValueError(
                "give one of `train_steps` and `epochs`. Received: "
                f"train_steps={self.schedule.train_steps}, "
                f"epochs={self.schedule.epochs}"
            )
        if self.is_labelled:
            named_settings.check_label_column(
                self.task, self.labelled.label_column
            )
            named_settings.check_pair_column(
                self.task, self.labelled.text_pair_column
            )
        if self.text.corpus_source not in ("", "docstrings"):
            raise ValueError(
                "`corpus_source` must be 'docstrings' or empty. Received: "
                f"{self.text.corpus_source!r}"
            )

    def _check_task_flags(self) -> None:
        """Raises ValueError for flags of other tasks."""
        defaults, values = type(self)().values, self.values
        changed = {k for k, v in values.items() if v != defaults[k]}
        for name, tasks in tasks_by_flag().items():
            if self.task not in tasks and name in changed:
                raise ValueError(
                    f"`{name}` goes with --task={' or '.join(tasks)}. "
                    f"Received: {name}={values[name]} with "
                    f"--task={self.task}"
                )

    def data_config(self) -> DataConfig:
        """Returns how files become batches."""
        return self.data_kind.config(self.values)

    def labelled_config(self, labels: Sequence[str]) -> LabelledDataConfig:
        """Returns how labelled files become batches.

        Args:
            labels: Names of the labels, in the order of their ids.
        """
        return named_settings.data_config(
            {**self.values, "labels": tuple(labels)}
        )

    def evaluation_data(self, labels: Sequence[str] = ()) -> DataConfig:
        """Returns how held-out files become batches: in one pass, unweighted.

        Args:
            labels: Names of the labels of the training data, if it has any.
        """
        config = self.labelled_config(labels) if labels else self.data_config()
        return self.data_kind.evaluation(config)

    def trainer_config(self, total_steps: int) -> TrainerConfig:
        """Returns the settings of the trainer."""
        return TrainerConfig(
            model_dir=self.model_dir,
            batch_size=self.data.batch_size,
            schedule=ScheduleConfig(
                peak=self.schedule.learning_rate,
                total_steps=total_steps,
                decay=self.schedule.schedule,
                warmup=self.schedule.warmup,
                **options_of(self.schedule, ScheduleOptions),
            ),
            optimizer=OptimizerConfig(
                name=self.optimizer.optimizer,
                weight_decay=self.optimizer.weight_decay,
                clip_norm=self.optimizer.clip_norm,
                **options_of(self.optimizer, OptimizerOptions),
            ),
            settings=TrainSettings(**vars(self.learning), methods=self.methods),
            jit_compile=self.computation.jit_compile,
            **vars(self.trainer),
        )


def tasks_by_flag() -> dict[str, tuple[str, ...]]:
    """Returns flag -> its tasks, for flags that do not go with every task."""
    tasks_of: dict[str, list[str]] = {}
    for task in kinds_of_tasks():
        for flag in data_kind(task).flags:
            tasks_of.setdefault(flag, []).append(task)
    labelled = [t for t in kinds_of_tasks() if data_kind(t).is_labelled]
    for flag in labelled_flags.names():
        tasks_of.setdefault(flag, labelled)
    return {flag: tuple(tasks) for flag, tasks in tasks_of.items()}
