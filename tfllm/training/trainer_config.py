"""Settings of the trainer."""

import dataclasses

from tfllm.learning.optimizer_config import OptimizerConfig
from tfllm.learning.schedule_config import ScheduleConfig, steps_of
from tfllm.learning.train_settings import TrainSettings
from tfllm.run_settings import TrainerSettings

STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")


@dataclasses.dataclass(frozen=True)
class TrainerConfig(TrainerSettings):
    """Settings of the trainer.

    Attributes:
        model_dir: Folder of the run.
        batch_size: Number of examples in a global batch.
        schedule: Learning rate schedule, with the number of steps of the run.
        optimizer: OptimizerConfig.
        settings: Settings of the train step.
        jit_compile: Compile the steps with XLA.
    """

    model_dir: str
    batch_size: int
    schedule: ScheduleConfig
    optimizer: OptimizerConfig
    settings: TrainSettings = TrainSettings()
    jit_compile: bool = False

    def __post_init__(self) -> None:
        """Validates the fields."""
        for name in ("log_every", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. "
                    f"Received: {getattr(self, name)}"
                )
        for name in ("eval_every", "checkpoint_every"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"`{name}` must be positive: steps, or below 1 their "
                    f"fraction. Received: {getattr(self, name)}"
                )

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return self.schedule.total_steps

    def steps_between(self, every: float) -> int:
        """Returns the number of steps of `eval_every` or `checkpoint_every`."""
        return max(steps_of(every, self.total_steps), 1)
