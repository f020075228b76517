"""What `--help` of every verb and tool says, and how little it imports."""

import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import pytest

from tfllm.generation import GenerationConfig
from tfllm.runs import flag_help

ROOT = pathlib.Path(__file__).parents[1]
VERBS = ("train", "evaluate", "predict", "generate", "export", "serve")
# Of the modules in tools those that are programs.
PROGRAMS = [f"tfllm.{verb}" for verb in VERBS] + sorted(
    f"tools.{path.stem}"
    for path in (ROOT / "tools").glob("*.py")
    if "__main__" in path.read_text(encoding="utf-8")
)
TOOL = "tools.build_vocab"
HEAVY = ("tensorflow", "tensorflow_text", "keras", "torch", "transformers")
HEAVY += ("matplotlib", "sklearn", "pandas")

# Runs a program as `python -m` does, and says what it imported.
RUN = """
import json, runpy, sys
sys.argv = ["program", *{argv!r}]
status = 0
try:
    runpy.run_module({program!r}, run_name="__main__", alter_sys=True)
except SystemExit as stop:
    status = stop.code or 0
print(json.dumps({{"status": status, "modules": list(sys.modules)}}))
"""


def run(program: str, *argv: str) -> tuple[dict, str, str]:
    """Returns status and modules, what was printed, and the errors."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(program=program, argv=argv)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    *printed, last = done.stdout.splitlines()
    return json.loads(last), "\n".join(printed), done.stderr


def texts_of(printed: str) -> dict[str, str]:
    """Returns the head of each flag, and the text below it in one line."""
    entries = re.findall(r"^  (--.*)\n((?:      .*\n?)+)", printed, re.M)
    return {
        head: " ".join(line.strip() for line in text.splitlines())
        for head, text in entries
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_quiet_and_imports_nothing_heavy(program: str) -> None:
    found, printed, errors = run(program, "--help")
    assert found["status"] == 0
    assert errors == ""
    assert not {*HEAVY} & {*found["modules"]}
    # What it is, and how it is called.
    assert f"python -m {program}" in printed
    if program == "tools.check":  # has no flags
        return
    texts = texts_of(printed)
    assert texts
    for head, text in texts.items():
        # A sentence that says what it is, and what happens without it.
        assert len(text.split()) >= 5, head
        assert re.search(r"Default: |Needed", text), head
        assert not re.search(r"\b[Ss]ee\b", text), head
        assert not re.match("(Of|For|In|As|Between)\\b", text), head
        assert text[0].isupper(), head
        assert "  " not in text
    assert max(map(len, printed.splitlines())) <= 180  # of long choices


# Tools parse their flags as the verbs do.
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            p, marks=[pytest.mark.wide] * (p not in ("tfllm.train", TOOL))
        )
        for p in PROGRAMS
    ],
)
def test_wrong_flags_end_before_anything_heavy(program: str) -> None:
    found, _, errors = run(program, "--no_such_flag=1")
    assert found["status"] in (1, 2)
    assert "no_such_flag" in errors
    assert "error: " in errors
    assert not {*HEAVY} & {*found["modules"]}


@pytest.mark.parametrize(
    ("program", "argv", "message"),
    [
        ("tfllm.train", ["--train_steps=5"], "`model_dir` is needed"),
        (
            "tfllm.train",
            [
                *("--model_dir=m", "--train_files=t", "--tokenizer=v"),
                *("--train_steps=5", "--temperature=0.5"),
            ],
            "`temperature` goes with --task=embedding",
        ),
        ("tfllm.evaluate", [], "`model_dir` is needed"),
        ("tfllm.predict", ["--model_dir=m", "--top_k=0"], "`top_k` must be"),
        (
            "tfllm.generate",
            ["--model_dir=m", "--prompt=a", "--prompt_file=b"],
            "give one of `prompt` and `prompt_file`",
        ),
        (
            "tfllm.export",
            ["--model_dir=m", "--export_dir=e", "--fixed_length"],
            "`fixed_length` goes with --litert",
        ),
    ],
)
def test_contradictions_end_before_anything_heavy(
    program: str, argv: list[str], message: str
) -> None:
    found, _, errors = run(program, *argv)
    assert found["status"] == 1
    assert re.match(f"error: {re.escape(message)}", errors)
    assert not {*HEAVY} & {*found["modules"]}


def test_fields_of_a_config_are_told_by_its_docstring() -> None:
    @dataclasses.dataclass
    class Config:
        """Some settings.

        More about them.

        Attributes:
            size: How large it is;
                0 for any.
            kind: One of `a` and `b`.

        Raises:
            ValueError: They are wrong.
        """

        size: int = 0
        kind: str = "a"

    assert flag_help.attributes(Config) == {
        "size": "How large it is; 0 for any.",
        "kind": "One of `a` and `b`.",
    }
    fields = [field.name for field in dataclasses.fields(GenerationConfig)]
    assert list(flag_help.attributes(GenerationConfig)) == fields


def test_generate_says_what_each_field_does() -> None:
    _, printed, _ = run("tfllm.generate", "--help")
    texts = texts_of(printed)
    assert texts["--max_new_tokens=N"] == (
        "Largest number of tokens to generate per sequence, at least 1. "
        "Default: the folder's, else 20."
    )
    assert texts["--[no]do_sample"].endswith(
        "Default: the folder's, else false."
    )
    assert texts["--stop_strings=TEXT"] == (
        "Texts that end a sequence as soon as it holds one. The flag may be "
        "given several times. Default: the folder's, else none."
    )


def test_defaults_and_choices_are_shown() -> None:
    _, printed, _ = run("tfllm.train", "--help")
    texts = texts_of(printed)
    assert texts["--batch_size=N"].endswith("Default: 32.")
    assert texts["--warmup=X"].endswith("Default: 0.1.")
    assert texts["--[no]deterministic"].endswith("Default: on.")
    assert texts["--[no]overwrite"].endswith("Default: off.")
    assert texts["--label_separator=TEXT"].endswith('Default: ",".')
    assert "--pair_objective={nsp,sop,none}" in texts
    # What every run needs comes first.
    assert next(iter(texts)) == "--model_dir=TEXT"
    assert printed.splitlines()[-1].endswith(
        "--helpfull lists the flags of absl as well."
    )


def test_the_names_in_flags_are_those_of_the_tables() -> None:
    """Flags are made without TensorFlow, which the tables' values need."""
    from tfllm import tasks
    from tfllm.learning import optimizer_config, optimizers
    from tfllm.runs import run_config

    assert {*run_config.TASKS} == {*tasks.TASKS}
    assert {*optimizer_config.DEFAULTS} == {*optimizers._FACTORIES}
