"""The README's own commands and code, at tiny size."""

import importlib.util
import pathlib
import re
import sys
from collections.abc import Callable

import pytest

ROOT = pathlib.Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TINY = (
    "--model=bert:tiny --train_steps=2 --batch_size=4 --eval_steps=1 "
    "--seq_length=128"
)


def block(name: str) -> str:
    """The code under `<!-- test: name -->`."""
    match = re.search(
        rf"<!-- test: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.S
    )
    assert match, f"README.md has no block {name!r}"
    return match[1]


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[list[str]],
    run_command: Callable,
) -> pathlib.Path:
    """Where the commands for the user's own text have run."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "text").mkdir()
    for part in range(2):
        text = "\n\n".join(" ".join(d) for d in documents[part::2])
        (folder / "text" / f"{part}.txt").write_text(text + "\n")
    commands = block("your own text").replace("\\\n", " ").splitlines()
    script = [
        f"{line} {TINY}" if "tfllm.train" in line else line for line in commands
    ]
    assert sum(line.endswith(TINY) for line in script) == 1
    done = run_command(["bash", "-ec", "\n".join(script)], folder)
    assert done.returncode == 0, done.stderr[-4000:]
    (folder / "output.txt").write_text(done.stdout)
    return folder


def run_code(
    code: str, folder: pathlib.Path, run_command: Callable
) -> pathlib.Path:
    """Runs code of the README where its files are."""
    done = run_command([sys.executable, "-c", code], folder)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def test_opens_with_the_straight_path() -> None:
    steps = [step.strip() for step in README.splitlines()[0].split("->")]
    assert steps[0] == "raw text"
    assert steps[-1] == "response"
    assert len(steps) == 10


@pytest.mark.slow
def test_your_own_text(folder: pathlib.Path) -> None:
    output = (folder / "output.txt").read_text()
    assert "Model folder: my_model" in output
    # predict shows the text and, for its one mask, five candidates.
    shown = output[output.index("The [MASK] is on the table.") :]
    assert len(re.findall(r" [01]\.\d{3}\b", shown)) == 5
    assert (folder / "my_model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_generate(folder: pathlib.Path, run_command: Callable) -> None:
    commands = block("generate").replace("\\\n", " ").splitlines()
    tiny = "--train_steps=2 --batch_size=4 --eval_steps=1 --seq_length=16"
    script = [
        f"{line} {tiny}" if "tfllm.train" in line else line for line in commands
    ]
    script = [line.replace("=8192", "=300") for line in script]
    assert sum(line.endswith(tiny) for line in script) == 1
    done = run_command(["bash", "-ec", "\n".join(script)], folder)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "\nThe house" in done.stdout
    assert re.search(r"30 tokens, [\d.]+ per second", done.stderr)
    run_code(block("generate in python"), folder, run_command)


@pytest.mark.slow
def test_labels_to_an_export(
    folder: pathlib.Path, documents: list[list[str]], run_command: Callable
) -> None:
    for number, name in enumerate(("train", "test")):
        rows = [
            f'"{text}",{"long" if len(text) > 50 else "short"}'
            for document in documents[number::2]
            for text in document
        ]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    blocks = (block(name) for name in ("labels", "export", "litert"))
    commands = "".join(blocks).replace("\\\n", " ")
    script, found = re.subn(
        "--epochs=3", "--train_steps=3 --batch_size=4", commands
    )
    assert found == 1
    done = run_command(["bash", "-ec", script], folder)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = (folder / "labels.jsonl").read_text().splitlines()
    assert len(lines) == len(rows)
    assert (folder / "my_classifier" / "eval_results.json").is_file()
    assert (folder / "exports/classifier/1/saved_model.pb").is_file()
    assert (folder / "exports/phone/1/model.tflite").is_file()
    run_code(block("pipeline"), folder, run_command)


@pytest.mark.slow
def test_fit_in_ten_lines(folder: pathlib.Path, run_command: Callable) -> None:
    code = block("fit")
    statements = [
        line
        for line in code.splitlines()
        if line and not line.startswith(("from ", "import "))
    ]
    assert len(statements) <= 10
    code, found = re.subn(r"steps_per_epoch=\d+", "steps_per_epoch=2", code)
    assert found == 1
    run_code(
        code.replace("DataConfig()", "DataConfig(32, 4)"), folder, run_command
    )
    assert (folder / "my_model_2" / "model.safetensors").is_file()


@pytest.mark.live_parity
def test_to_and_from_transformers(
    folder: pathlib.Path, run_command: Callable
) -> None:
    for package in ("torch", "transformers"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed (extra `parity`)")
    run_code(block("transformers"), folder, run_command)


def test_links_and_named_files_exist() -> None:
    names = re.findall(r"\]\((?!http)([^)]+)\)", README)
    names += re.findall(r"configs/\w+\.flags", README)
    assert names
    missing = [name for name in names if not (ROOT / name).exists()]
    assert not missing


def test_named_flags_and_targets_exist() -> None:
    targets = set(re.findall(r"`?make ([a-z-]+)", README)) - {"sure"}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert targets
    missing = {t for t in targets if f"\n{t}:" not in makefile}
    assert not missing
    modules = set(re.findall(r"python -m ((?:tools|tfllm)\.\w+)", README))
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
