"""The README's own commands and code, at tiny size."""

import pathlib
import re
import sys
from collections.abc import Callable

import pytest

from tests import code_blocks
from tests.conftest import WORDS

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[str]]
) -> pathlib.Path:
    """Where a user has text and labels."""
    folder = tmp_path_factory.mktemp("readme")
    code_blocks.write_inputs(folder, documents)
    return folder


def test_opens_with_the_straight_path() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    steps = [step.strip() for step in lines[0].split("->")]
    assert steps[0] == "raw text"
    assert steps[-1] == "response"
    assert len(steps) == 10
    assert len(lines) < 200


@pytest.mark.slow
def test_verbs(folder: pathlib.Path, run_command: Callable) -> None:
    """The shell runs the blocks in their order, as a user's does."""
    printed = ""
    for block in code_blocks.blocks(README):
        if block.name and block.language == "sh":
            script = "\n".join(map(code_blocks.tiny, block.commands))
            done = run_command(["bash", "-ec", script], folder)
            assert done.returncode == 0, done.stderr[-4000:]
            printed += done.stdout
    assert "Model folder: my_model" in printed
    # predict shows the text and, for its one mask, five candidates.
    shown = printed.split("The [MASK] is on the table.")[1]
    assert len(re.findall(r" [01]\.\d{3}\b", shown)) == 5
    assert len((folder / "labels.jsonl").read_text().splitlines()) == len(WORDS)
    assert "\nThe house" in printed
    assert (folder / "exports/classifier/1/saved_model.pb").is_file()
    code = code_blocks.block(README, "python").code
    done = run_command([sys.executable, "-c", code], folder)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (folder / "my_classifier_2" / "model.safetensors").is_file()
