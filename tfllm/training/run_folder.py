"""The folder of a run: its lock, settings and results."""

import datetime
import fcntl
import importlib.metadata
import json
import logging
import os
import platform
from typing import IO, Any

import tensorflow as tf

from tfllm import file_access, run_record, run_settings
from tfllm.version import __version__

logger = logging.getLogger(__name__)

# Files of a run; --overwrite deletes nothing else.
OWN_FILES = (
    "run.json",
    "flags.txt",
    "train_results.json",
    "eval_results.json",
    "eval_other",
    "seeds_results.json",
    "checkpoints",
    "logs",
    "loss.png",
    "best",
    "config.json",
    "model*.safetensors*",
)
# Key in run.json of the inputs: name -> file -> fingerprint.
INPUTS = "inputs"
PACKAGES = ("tensorflow", "keras", "tensorflow-text", "numpy")


class RunFolder:
    """Reads and writes the records beside the model of a run.

    Args:
        path: `model_dir`.
        writes: Whether this process locks and writes the folder. Of several
            workers that train together only the chief does.
    """

    def __init__(self, path: str, writes: bool = True) -> None:
        self.path = path
        self.writes = writes
        self._lock_file: IO[str] | None = None

    def open(self, settings: dict[str, Any], overwrite: bool) -> None:
        """Creates the folder, or checks that this run can resume in it.

        `seeds` may contain more seeds than before. On local disks the folder
        stays locked until `close` or the end of the process.

        Args:
            settings: Settings that the result of the run depends on.
            overwrite: Whether the contents of the folder will be deleted.

        Raises:
            ValueError: The folder holds another run, or a model that no run
                wrote; another process trains in it; it cannot be written; or
                TensorFlow would take its name for a pattern.
        """
        if not self.writes:
            return
        file_access.check_plain(self.path, "model_dir")
        try:
            tf.io.gfile.makedirs(self.path)
        except tf.errors.OpError as error:
            raise ValueError(
                f"`model_dir` {self.path} cannot be made: {error.message}"
            ) from error
        self._lock()
        if overwrite:
            return
        record = self.read("run.json")
        if record is not None:
            _check_same_settings(self.path, record, settings)
            return
        for name in ("config.json", "checkpoints"):
            if tf.io.gfile.exists(self._join(name)):
                raise ValueError(
                    f"`model_dir` {self.path} holds {name} but no run.json: "
                    "the work of something else. Give another folder, or "
                    "move this one away"
                )

    def check_inputs(self, inputs: dict[str, dict[str, str]]) -> None:
        """Raises ValueError if the run began with other inputs.

        Earlier versions did not record inputs; such a run resumes.

        Args:
            inputs: As in `start`.
        """
        recorded = (self.read("run.json") or {}).get(INPUTS)
        if self.writes and recorded is not None:
            _check_same_inputs(self.path, recorded, inputs)

    def start(
        self,
        settings: dict[str, Any],
        flags: dict[str, Any],
        overwrite: bool,
        inputs: dict[str, dict[str, str]] | None = None,
    ) -> None:
        """Writes run.json and flags.txt, when all inputs are checked.

        Args:
            settings: Settings that the result of the run depends on.
            flags: All flags, written to `flags.txt` as a flag file.
            overwrite: Delete the run in the folder.
            inputs: Inputs of the run: name -> file -> fingerprint.

        Raises:
            ValueError: The folder cannot be written.
        """
        if overwrite and self.writes:
            self._delete_run()
        record = self.read("run.json")
        recorded = inputs if record is None else record.get(INPUTS)
        if recorded is not None:
            settings = {**settings, INPUTS: recorded}
        self.write("run.json", run_settings.nested(settings))
        lines = [
            f"--{name}={value}"
            for name, value in sorted(flags.items())
            # The file resumes the run, even if the run began with --overwrite.
            if value is not None and name != "overwrite"
        ]
        self._write_text("flags.txt", "\n".join(lines) + "\n")

    def _delete_run(self) -> None:
        """Deletes the files of a run, and logs it."""
        paths = file_access.in_folder(self.path, OWN_FILES)
        if not paths:
            return
        saved = file_access.in_folder(
            self._join("checkpoints"), ("ckpt-*.index",)
        )
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
        """Unlocks the folder."""
        if self._lock_file is not None:
            self._lock_file.close()

    def _lock(self) -> None:
        """Locks the folder; a kill leaves no lock behind."""
        if "://" in self.path:
            return
        path = self._join("run.lock")
        try:
            # The lock lasts as long as the file is open.
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
            # The file system has no locks.
            return

    def read(self, name: str) -> dict[str, Any] | None:
        """Returns a JSON record, or None without the file.

        Args:
            name: Name of the file.

        Raises:
            DamagedRecord: The record cannot be read.
            ValueError: A setting in run.json has the wrong type.
        """
        return run_record.read(self._join(name))

    def read_if_whole(self, name: str) -> dict[str, Any] | None:
        """Returns a JSON record that is not essential.

        Args:
            name: Name of the file.

        Returns:
            The record; None without the file; empty if it is damaged, which
            is logged.
        """
        return run_record.read_if_whole(self._join(name))

    def check_writable(self, name: str) -> None:
        """Raises ValueError if a file cannot be written in the folder.

        It leaves nothing behind, and does not create the folder.

        Args:
            name: Name of the file that will be written later.
        """
        path = self._join(name)
        place = self.path
        if not file_access.is_remote(place):
            place = os.path.abspath(place)
            while not os.path.exists(place):
                place = os.path.dirname(place)
        probe = os.path.join(place, f"{name}.tmp")
        try:
            if tf.io.gfile.isdir(path):
                raise IsADirectoryError("a folder has its name")
            with tf.io.gfile.GFile(probe, "w") as file:
                file.write("x")
            tf.io.gfile.remove(probe)
        except (tf.errors.OpError, OSError) as error:
            # Without the name of the probe, which no user knows.
            message = str(getattr(error, "message", None) or error)
            reason = message.removeprefix(f"{probe}; ")
            raise ValueError(
                f"{path} cannot be written. Received: {reason}, in {place}. "
                "Nothing was computed yet: give another folder with "
                "--output_dir"
            ) from error

    def write(self, name: str, values: dict[str, Any]) -> None:
        """Writes a JSON record atomically."""
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
    """Returns versions, devices and date, for the records of a run."""
    return {
        "versions": {
            "python": platform.python_version(),
            "tfllm": __version__,
            **{
                name: importlib.metadata.version(name)
                for name in PACKAGES
                if _is_installed(name)
            },
        },
        "devices": [d.name for d in tf.config.list_logical_devices()],
        "date": datetime.datetime.now(datetime.UTC).isoformat(
            timespec="seconds"
        ),
    }


def _is_installed(name: str) -> bool:
    """Returns whether a distribution is installed."""
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def differences(
    recorded: dict[str, Any], settings: dict[str, Any]
) -> list[str]:
    """Returns the settings that differ, in words.

    Args:
        recorded: Settings in a JSON record.
        settings: Current settings.
    """
    settings = json.loads(json.dumps(settings, default=str))
    return [
        f"{name} was {recorded.get(name)!r}, is {settings.get(name)!r}"
        for name in sorted({*recorded, *settings})
        if recorded.get(name) != settings.get(name)
    ]


def _check_same_settings(
    path: str, record: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Raises ValueError if settings differ from those in run.json."""
    recorded = {k: v for k, v in record.items() if k != INPUTS}
    before, now = (set(_seeds(flags)) for flags in (recorded, settings))
    if before and before <= now:
        recorded["seeds"] = settings["seeds"]
    differing = differences(recorded, settings)
    if differing:
        raise ValueError(
            f"`model_dir` {path} holds a run with other settings; give "
            "another folder, or the settings of that run to go on with it. "
            "Received: " + "; ".join(differing)
        )


def _seeds(settings: dict[str, Any]) -> list[str]:
    """Returns the seeds of a run with several; otherwise none."""
    parts = (settings.get("seeds") or "").split(",")
    return [part.strip() for part in parts if part.strip()]


def _check_same_inputs(
    path: str,
    recorded: dict[str, dict[str, str]],
    inputs: dict[str, dict[str, str]],
) -> None:
    """Raises ValueError if inputs differ from those in run.json."""
    differing = []
    for name in sorted({*recorded, *inputs}):
        before, now = recorded.get(name, {}), inputs.get(name, {})
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
            "cannot go on with these; bring those back, or give another "
            "folder. Received: " + "; ".join(differing)
        )


def _delete(path: str) -> None:
    """Deletes a file or a folder."""
    if tf.io.gfile.isdir(path):
        tf.io.gfile.rmtree(path)
    else:
        tf.io.gfile.remove(path)
