"""The folder of a run: its settings, its results."""

import datetime
import fcntl
import importlib.metadata
import json
import logging
import os
import platform
from typing import IO, Any

import tensorflow as tf

import tfllm

logger = logging.getLogger(__name__)

# What a run leaves in its folder; --overwrite deletes nothing else.
OWN_FILES = (
    "run.json",
    "flags.txt",
    "train_results.json",
    "eval_results.json",
    "eval_other",
    "seeds_results.json",
    "checkpoints",
    "logs",
    "best",
    "config.json",
    "model*.safetensors*",
)
# Where run.json has what the run reads: by name, fingerprints by file.
INPUTS = "inputs"
PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy")


class RunFolder:
    """Reads and writes the records beside the model of a run.

    Args:
        path: `model_dir`.
        writes: Whether this process writes and locks the folder: of several
            workers that train together the chief does.
    """

    def __init__(self, path: str, writes: bool = True) -> None:
        """See the class."""
        self.path = path
        self.writes = writes
        self._lock_file: IO[str] | None = None

    def open(self, settings: dict[str, Any], overwrite: bool) -> None:
        """Makes the folder, or checks that it may hold this run.

        `seeds` may have got more of them. The folder stays locked, on local
        disks, until `close` or the end of the process.

        Args:
            settings: What decides the result of the run.
            overwrite: Whether what the folder holds will be deleted.

        Raises:
            ValueError: It holds another run, or a model that no run wrote;
                another process trains in it; or it cannot be written.
        """
        if not self.writes:
            return
        try:
            tf.io.gfile.makedirs(self.path)
        except tf.errors.OpError as error:
            raise ValueError(
                f"`model_dir` {self.path} cannot be made: {error.message}"
            ) from error
        self._lock()
        if overwrite:
            return
        found = self.read("run.json")
        if found is not None:
            _check_same(self.path, found, settings)
            return
        for name in ("config.json", "checkpoints"):
            if tf.io.gfile.exists(self._join(name)):
                raise ValueError(
                    f"`model_dir` {self.path} holds {name} but no run.json: "
                    "the work of something else. Give another folder, or "
                    "--overwrite to delete it"
                )

    def check_inputs(self, inputs: dict[str, dict[str, str]]) -> None:
        """Raises ValueError if the run here began with other inputs.

        One that recorded none, as earlier versions did, goes on.

        Args:
            inputs: As in `start`.
        """
        found = (self.read("run.json") or {}).get(INPUTS)
        if self.writes and found is not None:
            _check_same_inputs(self.path, found, inputs)

    def start(
        self,
        settings: dict[str, Any],
        flags: dict[str, Any],
        overwrite: bool,
        inputs: dict[str, dict[str, str]] | None = None,
    ) -> None:
        """Records the run, when all of its input was found to be right.

        Args:
            settings: What decides the result of the run.
            flags: All flags, written to `flags.txt` as a flag file.
            overwrite: Delete a run that is there.
            inputs: What the run reads: by name, fingerprints by file.

        Raises:
            ValueError: The folder cannot be written.
        """
        if overwrite and self.writes:
            self._delete_run()
        found = self.read("run.json")
        recorded = inputs if found is None else found.get(INPUTS)
        own = {} if recorded is None else {INPUTS: recorded}
        self.write("run.json", {**settings, **own})
        lines = [
            f"--{name}={value}"
            for name, value in sorted(flags.items())
            # The flags of a run resume it, also where they began it anew.
            if value is not None and name != "overwrite"
        ]
        self._write_text("flags.txt", "\n".join(lines) + "\n")

    def _delete_run(self) -> None:
        """Deletes what a run left, and says so."""
        paths = [
            path
            for pattern in OWN_FILES
            for path in tf.io.gfile.glob(self._join(pattern))
        ]
        if not paths:
            return
        saved = tf.io.gfile.glob(self._join("checkpoints/ckpt-*.index"))
        steps = [
            int(path.removesuffix(".index").rsplit("-", 1)[1]) for path in saved
        ]
        logger.warning(
            "Deleting the run in %s%s: %s.",
            self.path,
            f", which was at step {max(steps)}" if steps else "",
            ", ".join(map(os.path.basename, paths)),
        )
        for path in paths:
            _delete(path)

    def close(self) -> None:
        """Lets other processes in."""
        if self._lock_file is not None:
            self._lock_file.close()

    def _lock(self) -> None:
        """Keeps a second process out; a kill leaves no lock behind."""
        if "://" in self.path:
            return
        path = self._join("run.lock")
        try:
            # Held by the open file.
            self._lock_file = open(path, "a")  # noqa: SIM115
        except OSError as error:
            raise ValueError(
                f"`model_dir` {self.path} cannot be written: {error.strerror}"
            ) from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"`model_dir` {self.path} is in use: another process trains "
                "in it. Give another folder, or end that process"
            ) from error
        except OSError:
            # A file system without locks.
            return

    def read(self, name: str) -> dict[str, Any] | None:
        """Returns a JSON record, or None if there is none.

        Raises:
            ValueError: It is damaged.
        """
        path = self._join(name)
        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path, "rb") as file:
            data = file.read()
        try:
            values = json.loads(data)
        except ValueError as error:
            raise ValueError(
                f"{path} is not valid JSON ({error}); give "
                "--overwrite or another `model_dir`"
            ) from error
        if not isinstance(values, dict):
            raise ValueError(
                f"{path} must hold a JSON object; give --overwrite or "
                f"another `model_dir`. Received: {type(values).__name__}"
            )
        return values

    def write(self, name: str, values: dict[str, Any]) -> None:
        """Writes a JSON record, whole or not at all."""
        text = json.dumps(values, indent=2, default=str) + "\n"
        self._write_text(name, text)

    def _write_text(self, name: str, text: str) -> None:
        """Writes a file under a temporary name, then renames it."""
        if not self.writes:
            return
        path = self._join(name)
        partial = f"{path}.tmp"
        try:
            with tf.io.gfile.GFile(partial, "w") as file:
                file.write(text)
            tf.io.gfile.rename(partial, path, overwrite=True)
        except tf.errors.OpError as error:
            raise ValueError(
                f"`model_dir`: {path} cannot be written: {error.message}"
            ) from error

    def _join(self, name: str) -> str:
        """Returns the path of a file in the folder."""
        return os.path.join(self.path, name)


def environment() -> dict[str, Any]:
    """Returns the versions and the machine, for the record."""
    return {
        "versions": {
            "python": platform.python_version(),
            "tfllm": tfllm.__version__,
            **{
                name: importlib.metadata.version(name)
                for name in PACKAGES
                if _installed(name)
            },
        },
        "devices": [d.name for d in tf.config.list_logical_devices()],
        "date": datetime.datetime.now(datetime.UTC).isoformat(
            timespec="seconds"
        ),
    }


def _installed(name: str) -> bool:
    """Returns whether a distribution is installed."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def differences(found: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    """Returns what differs, in words.

    Args:
        found: Settings as a JSON record has them.
        settings: Those of now.
    """
    settings = json.loads(json.dumps(settings, default=str))
    return [
        f"{name} was {found.get(name)!r}, is {settings.get(name)!r}"
        for name in sorted({*found, *settings})
        if found.get(name) != settings.get(name)
    ]


def _check_same(
    path: str, found: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Raises ValueError naming the settings that differ."""
    found = {name: value for name, value in found.items() if name != INPUTS}
    before, now = (set(_seeds(values)) for values in (found, settings))
    if before and before <= now:
        found = {**found, "seeds": settings["seeds"]}
    differing = differences(found, settings)
    if differing:
        raise ValueError(
            f"`model_dir` {path} holds a run with other settings; give "
            "another folder, or --overwrite to delete it. Received: "
            + "; ".join(differing)
        )


def _seeds(settings: dict[str, Any]) -> list[str]:
    """Returns the seeds of a run with several; else nothing."""
    parts = (settings.get("seeds") or "").split(",")
    return [part.strip() for part in parts if part.strip()]


def _check_same_inputs(
    path: str,
    found: dict[str, dict[str, str]],
    inputs: dict[str, dict[str, str]],
) -> None:
    """Raises ValueError naming the inputs that differ."""
    differing = []
    for name in sorted({*found, *inputs}):
        before, now = found.get(name, {}), inputs.get(name, {})
        for file in sorted({*before, *now}):
            if file not in now:
                differing.append(f"{name}: {file} is gone")
            elif file not in before:
                differing.append(f"{name}: {file} is new")
            elif before[file] != now[file]:
                differing.append(f"{name}: {file} has changed")
    if differing:
        raise ValueError(
            f"`model_dir` {path} holds a run that began with other data, and "
            "cannot go on with these; bring those back, give another folder, "
            "or --overwrite to begin again. Received: " + "; ".join(differing)
        )


def _delete(path: str) -> None:
    """Deletes a file or a folder."""
    if tf.io.gfile.isdir(path):
        tf.io.gfile.rmtree(path)
    else:
        tf.io.gfile.remove(path)
