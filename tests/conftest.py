"""What all tests share. Imports no TensorFlow: test-jax runs without it."""

import os
import pathlib
import random
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

# Before TensorFlow is imported, here and in processes that tests start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Models of tests run for milliseconds: most of their time is XLA's compilation.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

ROOT = pathlib.Path(__file__).parents[1]
_TEXT = """
a about all and are as at be but by can day do for from good had has
have he her him his house in is it know light like little long made man
many may more night no not now of old on one only or other out over
river said see she so some than that the their them then there they this
time to tree two up was water we well were what when which white who
will with word work would year you
"""
WORDS = _TEXT.split()

Run = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--long",
        action="store_true",
        help="load and faults for minutes, not seconds",
    )


@pytest.fixture(scope="session")
def documents() -> list[list[str]]:
    """60 documents of English words, as lists of sentences."""
    rng = random.Random(0)
    return [
        [
            " ".join(rng.choices(WORDS, k=rng.randint(4, 16))).capitalize()
            + "."
            for _ in range(rng.randint(4, 12))
        ]
        for _ in range(60)
    ]


@pytest.fixture(scope="session")
def run_command() -> Run:
    """Runs a command as a user would, outside the checkout."""

    def run(
        command: list[str],
        folder: pathlib.Path,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=folder,
            env={
                **os.environ,
                # So that `python` is the one that runs the tests.
                "PATH": os.pathsep.join(
                    [str(pathlib.Path(sys.executable).parent)]
                    + os.environ.get("PATH", "").split(os.pathsep)
                ),
                "PYTHONPATH": str(ROOT),
                "CUDA_VISIBLE_DEVICES": "-1",
                **(environment or {}),
            },
            input=stdin,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def conformance_base(
    tmp_path_factory: pytest.TempPathFactory,
) -> pathlib.Path:
    """Versions 1 and 2 of conformance/model.py, and their models.config."""
    # Only here: it imports TensorFlow.
    from tests.serving.conformance import model

    base = tmp_path_factory.mktemp("served") / "base"
    model.write_all(base)
    return base
