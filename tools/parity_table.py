"""Prints how far each family is from Transformers, as Markdown tables.

    python -m tools.parity_table

A developer's tool: it needs the extra `parity` (torch, transformers).
  outputs  largest difference of outputs, by head and config: every case makes a
           small random model, saves it, loads the folder in Transformers, saves
           it there and loads that folder here, and pads rows on each side
  folders  missing and unexpected names, and the difference of weights, of all
           forms in which folders are published
  tokens   equal sequences of greedy and of beam search
  lines    equal lines of tokenizers

Each family runs in a process of its own, and all of them in about an hour. With
--results the rows are kept in a file, so that a later call can add others. The
command fails if a difference is above 1e-5, or tokens or lines differ that
docs/text.md does not explain.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
from typing import Any

from absl import flags as absl_flags

from tfllm.runs import flags

FLAGS = absl_flags.FLAGS
NAMES = ("outputs", "folders", "tokens", "lines")
# Table -> family -> [cells, whether they are equal].
Results = dict[str, dict[str, list[Any]]]


def define() -> None:
    """Defines the flags."""
    group = flags.Group("What is compared")
    group.several(
        "family",
        "Family to compare; the flag may be given several times. Default: "
        "every family.",
    )
    group.several(
        "table",
        f"Table to print: {', '.join(NAMES)}; the flag may be given several "
        "times. Default: all of them.",
    )
    group.string(
        "results",
        None,
        "JSON file that keeps the rows. Rows of other families and tables in "
        "it are printed as well. Default: none.",
    )


def main() -> None:
    """Prints the tables."""
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"`{package}` is needed to compare with. Received: it is not "
                "installed. Install the extra `parity`."
            )
    from tfllm.models import FAMILIES

    families = _one_of("family", FLAGS.family, list(FAMILIES))
    tables = _one_of("table", FLAGS.table, list(NAMES))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(FLAGS.results or f"{folder}/results.json")
        if len(families) == 1:
            update(file, families[0], tables)
        else:
            for family in families:
                _run_process(file, family, tables)
        results = read(file)
    if failures := show(results, list(FAMILIES)):
        raise ValueError(
            f"all cases must be equal. Received: {failures} rows of the tables "
            "that are not"
        )


def _one_of(flag: str, chosen: list[str] | None, known: list[str]) -> list[str]:
    """Returns the chosen names, or all.

    Raises:
        ValueError: A name is not known.
    """
    if unknown := sorted(set(chosen or ()) - set(known)):
        raise ValueError(
            f"`{flag}` must be one of {known}. Received: {unknown}"
        )
    return chosen or known


def _run_process(file: pathlib.Path, family: str, tables: list[str]) -> None:
    """Compares one family in its own process, which frees its memory."""
    command = [sys.executable, "-m", "tools.parity_table"]
    command += [f"--family={family}", f"--results={file}"]
    command += [f"--table={table}" for table in tables]
    done = subprocess.run(command, capture_output=True, text=True)
    last = (done.stderr.strip().splitlines() or [""])[-1]
    print(f"{family}: {'done' if not done.returncode else last}", flush=True)


def update(file: pathlib.Path, family: str, tables: list[str]) -> None:
    """Compares a family, and writes its rows to the results.

    Args:
        file: JSON file, made if missing.
        family: Name in `FAMILIES`.
        tables: Some of `NAMES`.
    """
    from tools.parity_rows import TABLES

    for table in tables:
        rows = [[cells, equal] for cells, equal in TABLES[table][1](family)]
        results = read(file)
        results.setdefault(table, {})[family] = rows
        file.write_text(json.dumps(results, indent=1))


def read(file: pathlib.Path) -> Results:
    """Returns the results in a file; empty if there is none."""
    return json.loads(file.read_text()) if file.exists() else {}


def show(results: Results, order: list[str]) -> int:
    """Prints the tables.

    Args:
        results: The rows.
        order: Names of families.

    Returns:
        The number of rows that are not equal.
    """
    from tools.parity_rows import TABLES

    failures = 0
    for table, (header, _) in TABLES.items():
        if table not in results:
            continue
        print(f"\n| {' | '.join(('family', *header))} |")
        print("|" + "---|" * (len(header) + 1))
        for family in sorted(results[table], key=order.index):
            for cells, equal in results[table][family]:
                print(f"| {' | '.join((family, *cells))} |")
                failures += not equal
    return failures


if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(define)
    flags.run(main)
