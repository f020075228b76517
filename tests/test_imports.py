"""Which module may import which, and what an import may load."""

import ast
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tools.draw_imports import circles, import_graph

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "tfllm"
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)

# Part of tfllm -> the parts it may import besides itself. Verbs may import
# everything. What is imported inside a function counts as well.
ALLOWED: dict[str, set[str]] = {
    "layers": {"aligned"},
    # Of the tokenizers, the types that a family file states: `PURE_TYPES`.
    "models": {"layers", "tokenizers"},
    "tokenizers": set(),
    "data": {"tokenizers", "file_access", "stateless"},
    # Below the tasks, which call it.
    "generation": {"stateless"},
    "learning": {"layers"},
    "tasks": {
        "learning",
        "layers",
        "models",
        "data",
        "tokenizers",
        "generation",
    },
    "interop": {
        "run_settings",
        "layers",
        "aligned",
        "learning",
        "models",
        "tasks",
        "tokenizers",
        "generation",
        "file_access",
        "version",
    },
    # What outputs say, and what they are worth: below those who predict.
    "outputs": {"tasks", "data"},
    "prediction": {
        "outputs",
        "evaluation",
        "interop",
        "tasks",
        "layers",
        "data",
        "tokenizers",
        "run_record",
        "file_access",
    },
    "evaluation": {
        "outputs",
        "tasks",
        "models",
        "data",
        "tokenizers",
        "file_access",
    },
    "training": {
        "run_settings",
        "learning",
        "evaluation",
        "prediction",
        "tasks",
        "models",
        "data",
        "tokenizers",
        "run_record",
        "file_access",
        "version",
    },
    "runtime": set(),
    "server": {"runtime"},
    "serving": {
        "runtime",
        "outputs",
        "evaluation",
        "prediction",
        "interop",
        "generation",
        "tasks",
        "models",
        "data",
        "tokenizers",
        "run_record",
        "file_access",
        "version",
    },
    "runs": {
        "run_settings",
        "training",
        "prediction",
        "evaluation",
        "learning",
        "generation",
        "serving",
        "runtime",
        "interop",
        "models",
        "tasks",
        "tokenizers",
        "data",
        "file_access",
    },
    "run_record": {"file_access", "run_settings"},
    # Flags, records and the trainer share it.
    "run_settings": {"learning", "data"},
    "stateless": set(),
    # Files are opened and listed in one place, below everything.
    "file_access": set(),
    "version": set(),
}
# The same within `data`: a folder, and the folders and modules beside it.
ALLOWED_IN_DATA: dict[str, set[str]] = {
    "corpus": {"bad_records", "positive", "text_files"},
    "vocabularies": {"corpus", "positive"},
    "masked": {
        "batched_data",
        "epochs",
        "fingerprints",
        "positive",
        "prepared_folder",
        "text_files",
        "worker_pool",
    },
    "token_stream": {
        "corpus",
        "fingerprints",
        "positive",
        "prepared_folder",
        "worker_pool",
    },
    "permutation": {"masked"},
    "causal": {
        "token_stream",
        "corpus",
        "batched_data",
        "epochs",
        "positive",
    },
    "denoising": {
        "token_stream",
        "corpus",
        "batched_data",
        "epochs",
        "positive",
    },
    "tables": {"bad_records", "text_files"},
    "labelled": {
        "tables",
        "bad_records",
        "batched_data",
        "text_files",
        "epochs",
        "deferred",
        "positive",
    },
}
# `layers` and `models` also run where there is no TensorFlow.
PURE = {"keras", "numpy", *sys.stdlib_module_names}
# Asks which backend Keras runs on, and imports that one alone.
OF_THE_BACKEND = {"layers/fused.py", "layers/backend.py"}
HEAVY = ("tf_keras", "official", "torch", "keras_hub", "keras_nlp")
# One of its own, or none: a machine may lack these.
OPTIONAL = ("apache_beam", "transformers", "jax", "tokenizers")


def imported(path: pathlib.Path) -> Iterator[str]:
    """The absolute names that a file imports, `a.b` for `from a import b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{a.name}" for a in node.names)


def part_of(name: str) -> str:
    """`data` for tfllm.data.masked.batches."""
    return (name.split(".") + [""])[1]


def files_of(part: str) -> list[pathlib.Path]:
    """The files of a part of tfllm."""
    single = PACKAGE / f"{part}.py"
    return (
        [single] if single.is_file() else sorted((PACKAGE / part).rglob("*.py"))
    )


def test_every_part_has_a_rule() -> None:
    folders = {
        path.name
        for path in PACKAGE.iterdir()
        if path.is_dir() and path.name != "__pycache__"
    }
    assert folders <= set(ALLOWED)


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_imports_point_one_way(part: str) -> None:
    parts = {path.stem for path in PACKAGE.iterdir()}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files_of(part)
        for name in imported(path)
        if name.startswith("tfllm.")
        and part_of(name) in parts - {"__init__", part} - ALLOWED[part]
    ]
    assert not wrong


def test_imports_within_data_point_one_way() -> None:
    data = PACKAGE / "data"
    folders = {path.parent.name for path in data.glob("*/__init__.py")}
    assert folders == set(ALLOWED_IN_DATA)
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for folder, allowed in ALLOWED_IN_DATA.items()
        for path in (data / folder).rglob("*.py")
        for name in imported(path)
        if name.startswith("tfllm.data.")
        and name.split(".")[2] not in {folder, *allowed}
    ]
    assert not wrong


def test_no_circle_of_imports() -> None:
    graph = import_graph(ROOT, "tfllm")
    assert not circles(graph)


@pytest.mark.parametrize("part", ["layers", "models"])
def test_layers_and_models_are_pure_keras(part: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files_of(part)
        if path.relative_to(PACKAGE).as_posix() not in OF_THE_BACKEND
        for name in imported(path)
        if name.split(".")[0] not in {*PURE, "tfllm"}
    ]
    assert not wrong


@pytest.mark.parametrize("part", ["layers", "models"])
def test_layers_and_models_read_no_files_and_flags(part: str) -> None:
    banned = {"os", "io", "pathlib", "json", "absl", "argparse"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files_of(part)
        for name in imported(path)
        if name.split(".")[0] in banned
    ]
    assert not wrong


# What a family file says of its tokenizer.
PURE_TYPES = {"spec", "row_template", "special_tokens"}


def test_models_take_pure_types_of_tokenizers() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files_of("models")
        for name in imported(path)
        if name.startswith("tfllm.tokenizers")
        and name.split(".")[2] not in PURE_TYPES
    ]
    folder = PACKAGE / "tokenizers"
    wrong += [
        f"{module} imports {name}"
        for module in PURE_TYPES
        for name in imported(folder / f"{module}.py")
        if name.split(".")[0] not in PURE
        and name.split(".")[:2] != ["tfllm", "tokenizers"]
    ]
    assert not wrong


def test_generation_knows_no_text() -> None:
    for path in files_of("generation"):
        for name in imported(path):
            assert "tokenizer" not in name, path
            assert name.split(".")[0] != "tensorflow_text", path


def loaded_by(code: str) -> dict:
    """Runs code in a fresh interpreter; returns what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_import_tfllm_loads_nothing_heavy() -> None:
    names = loaded_by(
        "import json, sys, tfllm; print(json.dumps(list(sys.modules)))"
    )
    assert not set(HEAVY) & set(names)


# TensorFlow's own flags (absl's logging, its test helpers) are not ours.
IMPORT_ALL = """
import importlib, json, sys
from absl import flags

for name in {modules!r}:
    importlib.import_module(name)
own = {{
    module: [flag.name for flag in found]
    for module, found in flags.FLAGS.flags_by_module_dict().items()
    if module.startswith("tfllm")
}}
print(json.dumps({{"modules": list(sys.modules), "flags": own}}))
"""


@pytest.mark.slow
def test_every_module_imports_without_the_heavy_ones() -> None:
    found = loaded_by(IMPORT_ALL.format(modules=MODULES))
    assert not {*HEAVY, *OPTIONAL} & set(found["modules"])
    # Flags exist once a verb calls define(), not because it was imported.
    assert found["flags"] == {}


# Keras imports them where they are installed, and a command needs none to
# begin with.
LOOKED_FOR = ("matplotlib", "pandas", "sklearn")
COMMANDS = [
    "tfllm.train",
    "tfllm.evaluate",
    "tfllm.predict",
    "tfllm.generate",
    "tfllm.export",
    "tools.prepare_data",
    "tools.tune",
]

IMPORT_COMMANDS = """
import importlib, json, sys

for name in {commands!r}:
    importlib.import_module(name)
before = list(sys.modules)
for name in {looked_for!r}:
    importlib.import_module(name)
print(json.dumps({{"before": before, "after": list(sys.modules)}}))
"""


def test_commands_import_keras_alone() -> None:
    found = loaded_by(
        IMPORT_COMMANDS.format(commands=COMMANDS, looked_for=LOOKED_FOR)
    )
    assert "keras" in found["before"]
    assert not set(LOOKED_FOR) & set(found["before"])
    # They are out of the way no longer.
    assert set(LOOKED_FOR) < set(found["after"])


LIGHT = ["tfllm.serve", "tfllm.server.lifecycle"]
LIGHT += ["tools.build_corpus", "tools.loadtest"]


@pytest.mark.parametrize("name", LIGHT)
def test_commands_that_do_without_tensorflow(name: str) -> None:
    names = loaded_by(
        f"import json, sys, {name}; print(json.dumps(list(sys.modules)))"
    )
    assert not {"tensorflow", "keras"} & set(names)
