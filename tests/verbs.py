"""Starts verbs, and the small runs that several test files look at."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from tfllm.data.masked.instances import InstanceSettings

ROOT = pathlib.Path(__file__).resolve().parents[1]
SYLLABLES = ["ba", "de", "ki", "lo", "mu", "na", "po", "ri", "su", "ta"]
ENVIRONMENT = {
    **os.environ,
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": str(ROOT),
}


@dataclasses.dataclass
class Finished:
    """A verb that ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """Lines on standard error that are no progress bar."""
        lines = self.stderr.replace("\r", "\n").splitlines()
        return [
            line
            for line in lines
            if line.strip() and not re.search(r"(step|B)/s|s/step", line)
        ]


class VerbServer:
    """The client of verb_server.py."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests/verb_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENVIRONMENT,
            text=True,
        )
        assert self._answer()["ready"]

    def _answer(self) -> dict[str, Any]:
        return json.loads(self.process.stdout.readline())

    def run(
        self,
        verb: str,
        *argv: str,
        stdin: str | bytes = b"",
        file_size: int = 0,
        folder: pathlib.Path = ROOT,
        during: Callable[[int], None] | None = None,
    ) -> Finished:
        """Runs a verb in a folder; `during(pid)` may send it signals."""
        with tempfile.TemporaryDirectory() as name:
            files = pathlib.Path(name)
            content = stdin.encode() if isinstance(stdin, str) else stdin
            (files / "stdin").write_bytes(content)
            request = {
                "verb": verb,
                "argv": list(argv),
                "folder": str(folder),
                "file_size": file_size,
                **{n: str(files / n) for n in ("stdin", "stdout", "stderr")},
            }
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            pid = self._answer()["pid"]
            if during:
                during(pid)
            status = self._answer()["status"]
            return Finished(
                status,
                (files / "stdout").read_text(),
                (files / "stderr").read_text(errors="replace"),
            )


@functools.cache
def server() -> VerbServer:
    """Returns the one server of the test session."""
    return VerbServer()


def run(verb: str, *argv: str, **options: Any) -> Finished:
    """Runs a verb in a fork of the server."""
    return server().run(verb, *argv, **options)


def vocabulary() -> list[str]:
    """Returns the entries of a small vocabulary."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = SYLLABLES + [a + b for a in SYLLABLES for b in SYLLABLES]
    return [*specials, ".", ",", *pieces, *(f"##{piece}" for piece in pieces)]


def text(num_documents: int, seed: int = 0) -> str:
    """Returns documents of short sentences with something to learn."""
    rng = random.Random(seed)

    def sentence() -> str:
        # The second half of a word repeats the first.
        words = [2 * rng.choice(SYLLABLES) for _ in range(rng.randint(3, 8))]
        return " ".join(words) + "."

    return "\n\n".join(
        "\n".join(sentence() for _ in range(rng.randint(2, 6)))
        for _ in range(num_documents)
    )


class Workplace:
    """A folder with a corpus, a vocabulary and a tiny config.json."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        (folder / "train.txt").write_text(text(60) + "\n")
        (folder / "heldout.txt").write_text(text(13, seed=1) + "\n")
        (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
        self.write_config("config.json")

    def write_config(self, name: str, **changes: Any) -> str:
        """Writes a config.json; returns its path."""
        config = {
            "model_type": "bert",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "vocab_size": len(vocabulary()),
            "max_position_embeddings": 32,
            "hidden_dropout_prob": 0.1,
            "attention_probs_dropout_prob": 0.1,
            **changes,
        }
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(config))
        return str(path)

    def path(self, name: str) -> str:
        """Returns the path of a file or folder in it."""
        return str(self.folder / name)

    def flags(self, model_dir: str | None, **changes: Any) -> list[str]:
        """Returns the flags of a short run; None leaves a flag out."""
        flags = {
            "model": self.path("config.json"),
            "tokenizer": self.path("vocab.txt"),
            "train_files": self.path("train.txt"),
            "eval_files": self.path("heldout.txt"),
            "model_dir": model_dir and self.path(model_dir),
            "seq_length": 32,
            "batch_size": 8,
            "dupe_factor": 2,
            "train_steps": 24,
            "learning_rate": 5e-3,
            "eval_every": 10,
            "checkpoint_every": 8,
            "log_every": 4,
            "seed": 3,
            **changes,
        }
        return [f"--{k}={v}" for k, v in flags.items() if v is not None]

    def train(self, model_dir: str | None, **changes: Any) -> Finished:
        """Runs the train verb."""
        options = {
            k: changes.pop(k) for k in ("during", "file_size") if k in changes
        }
        return run("train", *self.flags(model_dir, **changes), **options)

    def json(self, name: str) -> dict[str, Any]:
        """Reads a JSON file."""
        return json.loads((self.folder / name).read_text())

    def log(self, model_dir: str) -> list[dict[str, Any]]:
        """Reads the log of a run."""
        path = self.folder / model_dir / "logs" / "log.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def weights(self, model_dir: str) -> bytes:
        """Returns the weights as they lie on the disk."""
        path = self.folder / model_dir / "model.safetensors"
        return path.read_bytes()


@functools.cache
def workplace() -> Workplace:
    """Returns the one workplace of the test session."""
    folder = tempfile.TemporaryDirectory()
    workplace.folder = folder  # type: ignore[attr-defined]  # lives as long
    return Workplace(pathlib.Path(folder.name))


@functools.cache
def reference_run() -> Finished:
    """Trains, uninterrupted, into `reference` of the workplace."""
    return workplace().train("reference")


def signal_at(
    workplace: Workplace, model_dir: str, step: int, number: int
) -> Callable[[int], None]:
    """Returns a function that signals a run when its log shows a step."""

    def during(pid: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError, IndexError):
                if workplace.log(model_dir)[-1]["step"] >= step:
                    break
            time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    return during


SIGNALS = (signal.SIGTERM, signal.SIGINT)
INSTANCES = InstanceSettings(seq_length=32, dupe_factor=2, seed=3)
