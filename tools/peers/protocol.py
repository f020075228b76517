"""Protocol between the benchmark and its workers.

A worker is one library in its own interpreter. It reads one JSON object per
line from standard input and answers each with one line on standard output:

    {"command": "start", "work": {...}, "variant": "...", "warmup_steps": 3}
        import the library, build the model, take the warm-up steps
        -> {"import_seconds", "first_step_seconds", "warmup_seconds", "losses",
            "peak_rss_bytes", "versions", "notes"}
    {"command": "steps", "count": 2}
        -> {"seconds": [...], "cpu_seconds": [...], "losses": [...],
            "peak_rss_bytes"}
    {"command": "products"}
        run the matrix products of a training step alone; tfllm only
        -> {"seconds"}
    {"command": "quit"}

An answer is `{"ok": true, "result": ...}` or `{"ok": false, "error": ...}`.
This module imports only the standard library: each environment loads it before
the import of its library is timed.
"""

import dataclasses
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TextIO, runtime_checkable


@dataclasses.dataclass(frozen=True)
class Work:
    """Model and batch of a step or a generation, the same for all sides.

    Args:
        name: Name in the tables.
        family: Family of the model, as tfllm names it.
        kind: "mlm", a pretraining step of an encoder; "clm", a training step
            of a decoder; "seq2seq", of an encoder-decoder; "finetune", a step
            of BERT on labelled texts; "generate", generation without sampling
            by a decoder or an encoder-decoder.
        vocab_size: Rows of the word embedding.
        hidden_size: Width of the model.
        embedding_size: Width of the word embedding; 0 for `hidden_size`.
        num_layers: Transformer blocks, of an encoder-decoder in each stack.
        num_heads: Attention heads per block.
        intermediate_size: Width of the feed-forward layer.
        max_position_embeddings: Longest sequence, in tokens.
        batch_size: Examples per step.
        seq_length: Tokens per example or prompt, without padding; for
            "seq2seq" of the source and of the target each; for "finetune" the
            most tokens of a text.
        num_masked: Masked slots per example, all of them used ("mlm").
        new_tokens: Tokens generated per prompt ("generate").
        num_beams: Beams of the search; 1 for greedy ("generate").
        text: Path of the labelled texts ("finetune").
        vocabulary: Path of a vocab.txt of BERT ("finetune").
        dropout: Rate of every dropout in the model.
        learning_rate: Constant learning rate of AdamW.
        weight_decay: Decay of all weights except biases and layer norms.
        clip_norm: Limit of the global gradient norm.
        seed: Seed of the batch and the initial weights.
        threads: Cores that a side may use.
    """

    name: str
    family: str = "bert"
    kind: str = "mlm"
    vocab_size: int = 30522
    hidden_size: int = 768
    embedding_size: int = 0
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    batch_size: int = 8
    seq_length: int = 128
    num_masked: int = 20
    new_tokens: int = 0
    num_beams: int = 1
    text: str = ""
    vocabulary: str = ""
    dropout: float = 0.1
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 1
    threads: int = 2


class Side(Protocol):
    """A library in the benchmark; side files pass one to `serve`."""

    def load(self) -> dict[str, str]:
        """Imports the library; returns names and versions of packages."""

    def build(self, work: Work, variant: str) -> str:
        """Makes model, optimizer and batch; returns a note for the table."""

    def step(self) -> float:
        """Runs a step; returns its loss, or the number of new tokens."""


@runtime_checkable
class TracedSide(Side, Protocol):
    """A side whose steps are traced to a graph."""

    def products(self) -> float:
        """Returns the seconds of the matrix products of a training step."""


def peak_rss_bytes() -> int:
    """Returns the peak memory of this process.

    `ru_maxrss` survives exec and may show the parent's memory, so VmHWM is read
    instead on Linux.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class _Session:
    """Runs the commands of a benchmark on one side."""

    def __init__(self, side: Side) -> None:
        self.side = side

    def start(
        self, work: dict[str, Any], variant: str, warmup_steps: int
    ) -> dict[str, Any]:
        began = time.perf_counter()
        versions = self.side.load()
        imported = time.perf_counter()
        notes = self.side.build(Work(**work), variant)
        losses = [self.side.step()]
        stepped = time.perf_counter()
        warm = self.steps(warmup_steps - 1)
        return {
            "import_seconds": imported - began,
            "first_step_seconds": stepped - imported,
            "warmup_seconds": warm["seconds"],
            "losses": losses + warm["losses"],
            "peak_rss_bytes": warm["peak_rss_bytes"],
            "versions": versions,
            "notes": notes,
        }

    def steps(self, count: int) -> dict[str, Any]:
        seconds, cpu_seconds, losses = [], [], []
        for _ in range(count):
            began, cpu_began = time.perf_counter(), time.process_time()
            losses.append(self.side.step())
            seconds.append(time.perf_counter() - began)
            cpu_seconds.append(time.process_time() - cpu_began)
        return {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "losses": losses,
            "peak_rss_bytes": peak_rss_bytes(),
        }

    def products(self) -> dict[str, Any]:
        assert isinstance(self.side, TracedSide)
        return {"seconds": self.side.products()}


def _claim_standard_output() -> TextIO:
    """Reserves standard output for answers; other prints go to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return answers


def serve(make_side: Callable[[], Side]) -> None:
    """Answers the benchmark's commands until `quit` or the end of input.

    Args:
        make_side: Creates the side, without importing its library.
    """
    answers = _claim_standard_output()
    session = _Session(make_side())
    for line in sys.stdin:
        message = json.loads(line)
        command = message.pop("command")
        if command == "quit":
            return
        try:
            result = getattr(session, command)(**message)
            answer: dict[str, Any] = {"ok": True, "result": result}
        except Exception as error:
            # Any error of a library becomes the failure of its side.
            traceback.print_exc()
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
