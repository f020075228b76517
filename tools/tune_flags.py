"""The flags of tools/tune.py."""

import dataclasses
from collections.abc import Callable
from typing import Any

from absl import flags as absl_flags

from tfllm.runs import flags, train_flags
from tfllm.runs.run_config import RunConfig

FLAGS = absl_flags.FLAGS
SEARCHES = ("grid", "random", "bayesian")


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """Config of a search.

    Attributes:
        search: "grid" tries all pairs. "random" and "bayesian" draw learning
            rates between the smallest and the largest, on a logarithmic scale.
        learning_rates: Learning rates.
        batch_sizes: Batch sizes.
        max_trials: Most trials; 0 for all pairs of a grid.
    """

    search: str
    learning_rates: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    max_trials: int = 0

    def __post_init__(self) -> None:
        """Validates the fields."""
        for name in ("learning_rates", "batch_sizes"):
            if not getattr(self, name) or min(getattr(self, name)) <= 0:
                raise ValueError(
                    f"`{name}` must be positive numbers, comma-separated. "
                    f"Received: {getattr(self, name)}"
                )
        if self.search != "grid":
            if not self.max_trials:
                raise ValueError(
                    f"`max_trials` is needed for --search={self.search}. "
                    "Received: 0"
                )
            if len(set(self.learning_rates)) < 2:
                raise ValueError(
                    "`learning_rates` must be the smallest and the largest "
                    f"for --search={self.search}. Received: "
                    f"{self.learning_rates}"
                )

    @property
    def trials(self) -> int:
        """Most trials of the search."""
        return self.max_trials or (
            len(self.learning_rates) * len(self.batch_sizes)
        )


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Search")
    group.choice(
        "search",
        "grid",
        SEARCHES,
        "Choice of trials: grid tries all pairs of a learning rate and a batch "
        "size; random and bayesian draw learning rates between the smallest "
        "and the largest, on a logarithmic scale.",
    )
    group.string(
        "learning_rates",
        "2e-5,3e-5,5e-5",
        "Learning rates, comma-separated: all rates of a grid, or the smallest "
        "and the largest.",
    )
    group.string("batch_sizes", "16,32", "Batch sizes to try, comma-separated.")
    group.integer(
        "max_trials",
        0,
        "Largest number of trials; 0 for all pairs of a grid. random and "
        "bayesian need it.",
    )
    train_flags.define()


def read(
    pair_objective: Callable[[str, str], str] | None = None,
) -> tuple[RunConfig, SearchConfig]:
    """Returns the configs of the run and of the search.

    Args:
        pair_objective: See `train_flags.read`.

    Raises:
        ValueError: Flags are missing or contradict each other.
    """
    config = train_flags.read(pair_objective)
    search = SearchConfig(
        FLAGS.search,
        _numbers("learning_rates", float),
        _numbers("batch_sizes", int),
        FLAGS.max_trials,
    )
    check(config, search)
    return config, search


def _numbers(flag: str, kind: type) -> tuple[Any, ...]:
    """Returns the comma-separated numbers of a flag."""
    try:
        return tuple(kind(part) for part in FLAGS[flag].value.split(","))
    except ValueError:
        raise ValueError(
            f"`{flag}` must be numbers, comma-separated. "
            f"Received: {FLAGS[flag].value!r}"
        ) from None


def check(config: RunConfig, search: SearchConfig) -> None:
    """Raises ValueError for configs of trials that are not valid."""
    if not config.trainer.best_metric:
        raise ValueError(
            "`best_metric` is needed: it is what the search compares. "
            "Received: nothing; add --eval_files and --best_metric"
        )
    if config.seeds:
        raise ValueError(
            "`seeds` does not go with a search. "
            f"Received: {config.seeds!r}; give --seed"
        )
    for rate in search.learning_rates:
        for size in search.batch_sizes:
            config.replace(learning_rate=rate, batch_size=size).check()
