"""What the benchmark and its workers say to each other.

A worker is one library in its own interpreter. It reads one JSON object per
line from standard input and answers each with one line on standard output:

    {"command": "start", "work": {...}, "variant": "...", "warmup_steps": 3}
        import the library, build the model, take the warm-up steps
        -> {"import_seconds", "first_step_seconds", "warmup_seconds", "losses",
            "peak_rss_bytes", "versions", "notes"}
    {"command": "steps", "count": 2}
        -> {"seconds": [...], "cpu_seconds": [...], "losses": [...],
            "peak_rss_bytes"}
    {"command": "quit"}

An answer is `{"ok": true, "result": ...}` or `{"ok": false, "error": ...}`.
This module imports the standard library alone, since every environment loads
it before the import of its library is timed.
"""

import dataclasses
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TextIO


@dataclasses.dataclass(frozen=True)
class Work:
    """What is repeated: a step, or a generation; the same for every side.

    Args:
        name: shown in the tables.
        kind: "mlm", a pretraining step of BERT; "clm", one of GPT-2;
            "finetune", one of BERT on labelled texts; or "generate", greedy
            continuations by GPT-2.
        vocab_size: rows of the word embedding.
        hidden_size: width of the model.
        num_layers: Transformer blocks.
        num_heads: attention heads per block.
        intermediate_size: width of the feed-forward layer.
        max_position_embeddings: rows of the position embedding.
        batch_size: examples per step.
        seq_length: tokens per example or prompt, all of them real; of the
            longest text ("finetune").
        num_masked: masked slots per example, all of them used ("mlm").
        new_tokens: tokens generated per prompt ("generate").
        text: path of the labelled texts ("finetune").
        vocabulary: path of a vocab.txt of BERT ("finetune").
        dropout: rate of every dropout in the model.
        learning_rate: constant rate of AdamW.
        weight_decay: of every weight but biases and layer norms.
        clip_norm: global gradient norm.
        seed: of the batch and the initial weights.
        threads: cores that a side may use.
    """

    name: str
    kind: str = "mlm"
    vocab_size: int = 30522
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    batch_size: int = 8
    seq_length: int = 128
    num_masked: int = 20
    new_tokens: int = 0
    text: str = ""
    vocabulary: str = ""
    dropout: float = 0.1
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    seed: int = 1
    threads: int = 2


class Side(Protocol):
    """What a side file gives to `serve`."""

    def load(self) -> dict[str, str]:
        """Imports the library; returns the versions of what it loaded."""

    def build(self, work: Work, variant: str) -> str:
        """Makes model, optimizer and batch; returns a note for the table."""

    def step(self) -> float:
        """Takes one whole step; returns its loss, or tokens generated."""


def peak_rss_bytes() -> int:
    """The most memory this process held since it began.

    `ru_maxrss` survives exec and so can show the parent's memory; Linux'
    VmHWM does not, and is read where there is one.
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
    """Carries out the commands of one benchmark on one side."""

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


def _claim_standard_output() -> TextIO:
    """Keeps standard output for answers; prints of a library go to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return answers


def serve(make_side: Callable[[], Side]) -> None:
    """Answers the benchmark's commands until `quit` or the end of input.

    Args:
        make_side: makes the side; it must not import its library yet.
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
            # The worker is the boundary: whatever a library raises has to
            # reach the table as that side's failure.
            traceback.print_exc()
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
