"""Creates a virtual environment for each side."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from tools.peers.sides import REPOSITORY, SideSpec
from tools.peers.worker import SideError, last_lines, stop

_MARKER = "benchmark_requirements.json"
_INSTALL_TIMEOUT_SECONDS = 1800


def ensure(spec: SideSpec, env_dir: pathlib.Path) -> str:
    """Returns the interpreter of a side's environment.

    The environment is created again if it is incomplete or if the side's
    requirements changed.

    Args:
        spec: The side.
        env_dir: Folder of all environments.

    Returns:
        Path of the environment's Python.

    Raises:
        SideError: The installation fails.
    """
    folder = env_dir / spec.name
    python = folder / "bin" / "python"
    marker = folder / _MARKER
    fingerprint = json.dumps(_fingerprint(spec), indent=1)
    if (
        marker.exists()
        and marker.read_text() == fingerprint
        and python.exists()
    ):
        return str(python)
    print(f"{spec.name}: making {folder}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run(spec, [sys.executable, "-m", "venv", str(folder)])
    _run(
        spec,
        [str(python), "-m", "pip", "install", "--quiet", *spec.requirements],
    )
    marker.write_text(fingerprint)
    return str(python)


def _fingerprint(spec: SideSpec) -> dict[str, str]:
    """Returns the requirements of an environment, to detect changes."""
    setup = REPOSITORY / "setup.py"
    editable = "--editable" in spec.requirements
    return {
        "requirements": " ".join(spec.requirements),
        "setup.py": setup.read_text() if editable and setup.exists() else "",
    }


def _run(spec: SideSpec, command: list[str]) -> None:
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        try:
            status = subprocess.run(
                command,
                stdout=log,
                stderr=log,
                timeout=_INSTALL_TIMEOUT_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise SideError(
                f"{spec.name}: the installation took over "
                f"{_INSTALL_TIMEOUT_SECONDS} s"
            ) from error
        if status:
            log.seek(0)
            raise SideError(
                f"{spec.name}: `{' '.join(command[1:4])}` exited with "
                f"{status}: {last_lines(log.read())}"
            )


def child_environment(threads: int) -> dict[str, str]:
    """Returns the environment variables of every measured process.

    Args:
        threads: Cores that each side may use.
    """
    dropped = ("PYTHONPATH", "TF_USE_LEGACY_KERAS", "KERAS_BACKEND")
    return {
        **{k: v for k, v in os.environ.items() if k not in dropped},
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": str(threads),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }


def run_to_end(command: Sequence[str], threads: int, timeout: float) -> None:
    """Runs a command in the repository.

    Args:
        command: Command to run.
        threads: Cores that it may use.
        timeout: Timeout in seconds.

    Raises:
        SideError: The command fails or times out.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=child_environment(threads),
            cwd=REPOSITORY,
            start_new_session=True,
        )
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired as error:
            raise SideError(f"not done within {timeout:.0f} s") from error
        finally:
            stop(process)
        if status:
            log.seek(0)
            raise SideError(last_lines(log.read(), 2))
