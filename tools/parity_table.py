"""Prints how far each family is from Transformers, as Markdown tables.

    python -m tools.parity_table

A developer's tool: it needs the extra `parity` (torch, transformers). Every
case makes a small random model, saves it, loads the folder in Transformers,
saves it there and loads that folder here. The first table shows the largest
difference between outputs, of both folders and of rows padded on each side;
the second how many generated sequences are equal. The command fails if a
difference is above 1e-5 or a sequence differs.
"""

import importlib.util
import pathlib
import tempfile
from typing import TYPE_CHECKING, Any

from absl import flags as absl_flags

from tfllm.runs import flags

if TYPE_CHECKING:
    from collections.abc import Iterator

FLAGS = absl_flags.FLAGS
TOLERANCE = 1e-5


def define() -> None:
    """Defines the flags."""
    flags.Group("What is compared").several(
        "family",
        "Family to compare; the flag may be given several times. Default: "
        "every family.",
    )


def main() -> None:
    """Prints both tables."""
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"`{package}` is needed to compare with. Received: it is not "
                "installed. Install the extra `parity`."
            )
    from tfllm.models import FAMILIES

    families = FLAGS.family or list(FAMILIES)
    if unknown := sorted(set(families) - set(FAMILIES)):
        raise ValueError(
            f"`family` must be one of {sorted(FAMILIES)}. Received: {unknown}"
        )
    if failures := compare(families):
        raise ValueError(
            f"all cases must be equal to {TOLERANCE}. Received: {failures} "
            "rows of the tables that are not"
        )


def compare(families: list[str]) -> int:
    """Prints both tables.

    Args:
        families: Names in `FAMILIES`.

    Returns:
        The number of rows with a difference.
    """
    from tools import parity_cases

    failures = 0
    print("| family | head | config | padding | largest difference |")
    print("|---|---|---|---|---:|")
    for family, head, case in parity_cases.parameters():
        if family in families:
            arguments = parity_cases.configs(family)[case]
            padding, largest = _difference(family, head, arguments)
            failures += largest > TOLERANCE
            cells = (family, head, case, padding, f"{largest:.1e}")
            print(f"| {' | '.join(cells)} |", flush=True)
    print("\n| family | config | greedy | beam-4 |\n|---|---|---|---|")
    for family, case, counts in _token_counts(families):
        failures += any(equal < count for equal, count in counts)
        texts = [f"{equal} of {count}" for equal, count in counts]
        print(f"| {family} | {case} | {' | '.join(texts)} |", flush=True)
    return failures


def _difference(
    family: str, head: str, arguments: dict[str, Any]
) -> tuple[str, float]:
    """Returns the sides of padding, and the largest difference."""
    from tools import parity_cases

    model = parity_cases.create(family, head, arguments)
    sides = parity_cases.sides(model.config, head)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        theirs = parity_cases.to_transformers(model, folder / "ours")
        again = parity_cases.from_transformers(model, theirs, folder / "theirs")
        return ", ".join(sides), max(
            parity_cases.largest_difference(one, theirs, side)
            for one in (model, again)
            for side in sides
        )


def _token_counts(
    families: list[str],
) -> "Iterator[tuple[str, str, list[tuple[int, int]]]]":
    """Yields family, config, and equal of all sequences, greedy and beam-4."""
    from tools import parity_cases

    for family in families:
        heads = parity_cases.heads(family)
        if not set(heads) & set(parity_cases.WRITERS):
            continue
        for case, arguments in parity_cases.configs(family).items():
            model = parity_cases.create_writer(family, arguments)
            counts = []
            with tempfile.TemporaryDirectory() as folder:
                theirs = parity_cases.to_transformers(model, folder)
                for beams in (1, 4):
                    pairs = parity_cases.written(model, theirs, beams)
                    equal = sum(ours == reference for ours, reference in pairs)
                    counts.append((equal, len(pairs)))
            yield family, case, counts


if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(define)
    flags.run(main)
