"""The flags of tools/compare_fine_tuning.py."""

from absl import flags as absl_flags

from tfllm.runs import flags, train_flags
from tfllm.runs.run_config import RunConfig
from tools.peers.sides import OURS, REPOSITORY

FLAGS = absl_flags.FLAGS
PEER = "transformers"
COMPARED = (OURS, PEER)


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Comparison")
    group.string(
        "side", ",".join(COMPARED), "Libraries to compare, comma-separated."
    )
    group.string(
        "transformers_python",
        "",
        "Python interpreter with torch and transformers. Default: a virtual "
        "environment in --env_dir.",
    )
    group.string(
        "env_dir",
        str(REPOSITORY / ".benchmark" / "envs"),
        "Folder of the virtual environment, which is created if missing.",
    )
    group.string(
        "output_dir",
        str(REPOSITORY / ".benchmark" / "fine_tuning"),
        "Folder of the results and the runs.",
    )
    group.string(
        "run_with",
        "",
        "Prefix of the command of each run, such as nice -n 19. Default: none.",
    )
    group.integer("threads", 2, "Number of cores that a run may use.")
    train_flags.define()


def read() -> tuple[RunConfig, tuple[str, ...]]:
    """Returns the recipe and the libraries to compare.

    Raises:
        ValueError: Flags are missing or contradict each other.
    """
    sides = tuple(part for part in FLAGS.side.split(",") if part)
    for side in sides:
        if side not in COMPARED:
            raise ValueError(
                f"`side` must be some of {', '.join(COMPARED)}. "
                f"Received: {side}"
            )
    return train_flags.read(), sides
