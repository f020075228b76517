"""Measures training steps and generations of all sides in turns."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import Any

from tools.peers import environments, tables
from tools.peers.protocol import Work
from tools.peers.sides import OURS, REPOSITORY, SIDES, SideSpec
from tools.peers.worker import SideError, Worker

_GPT2_SMALL = Work(
    name="GPT-2 124M",
    family="gpt2",
    kind="generate",
    vocab_size=50257,
    max_position_embeddings=1024,
    seq_length=32,
    new_tokens=64,
)
_LLAMA = Work(
    name="LLaMA 100M",
    family="llama",
    kind="generate",
    vocab_size=32000,
    hidden_size=640,
    num_heads=10,
    intermediate_size=1728,
    max_position_embeddings=2048,
    seq_length=32,
    new_tokens=32,
    # The family has none.
    dropout=0.0,
)
_T5 = Work(
    name="T5-small",
    family="t5",
    kind="generate",
    vocab_size=32128,
    hidden_size=512,
    num_layers=6,
    num_heads=8,
    intermediate_size=2048,
    seq_length=32,
    new_tokens=32,
)
_MARIAN = dataclasses.replace(
    _T5, name="Marian-base", family="marian", vocab_size=58101
)
_BEAMS = 4
WORKS = {
    "bert_base_pretrain": Work(name="BERT-base"),
    "bert_tiny_pretrain": Work(
        name="BERT-tiny",
        vocab_size=16000,
        hidden_size=128,
        num_layers=2,
        num_heads=2,
        intermediate_size=512,
        batch_size=32,
    ),
    # Bytes, and the shape of nanoGPT's configuration for CPUs.
    "gpt2_nano_train": Work(
        name="GPT-2 4/128, bytes",
        family="gpt2",
        kind="clm",
        vocab_size=257,
        hidden_size=128,
        num_layers=4,
        num_heads=4,
        intermediate_size=512,
        max_position_embeddings=64,
        batch_size=12,
        seq_length=64,
        dropout=0.0,
    ),
    "gpt2_small_train": dataclasses.replace(
        _GPT2_SMALL, kind="clm", batch_size=4, seq_length=256
    ),
    "gpt2_small_generate": dataclasses.replace(_GPT2_SMALL, batch_size=1),
    "gpt2_small_generate_8": dataclasses.replace(_GPT2_SMALL, batch_size=8),
    "albert_base_pretrain": Work(
        name="ALBERT-base",
        family="albert",
        vocab_size=30000,
        embedding_size=128,
        dropout=0.0,
    ),
    "llama_100m_train": dataclasses.replace(_LLAMA, kind="clm", seq_length=128),
    "llama_100m_generate": dataclasses.replace(_LLAMA, batch_size=1),
    "llama_100m_generate_8": _LLAMA,
    "llama_100m_prompt_512": dataclasses.replace(
        _LLAMA, batch_size=1, seq_length=512
    ),
    "t5_small_train": dataclasses.replace(_T5, kind="seq2seq", seq_length=128),
    "t5_small_generate": _T5,
    "t5_small_beams": dataclasses.replace(_T5, num_beams=_BEAMS),
    "marian_base_generate": _MARIAN,
    "marian_base_beams": dataclasses.replace(_MARIAN, num_beams=_BEAMS),
}

# Peak memory is read after these steps; later steps do not raise it.
_WARMUP_STEPS = 3
# Variants with short steps take more steps to be compared.
_TRIAL_SECONDS = 1.5
_MAX_TRIAL_STEPS = 20
# OpenMP's threads spin for a moment after their work.
_SETTLE_SECONDS = 0.3
_GIB = 2**30
# Kinds of work whose steps are one traced function.
_TRACED = ("mlm", "clm", "seq2seq")


# tfllm with a draft model, beside tfllm without one.
SPECULATION = dataclasses.replace(
    _GPT2_SMALL, name="GPT-2 124M with a draft model", batch_size=1
)
SPECULATION_SPECS = (
    dataclasses.replace(SIDES[OURS], variants=("jit+draft",)),
    dataclasses.replace(SIDES[OURS], name="no_draft", variants=("jit",)),
)


@dataclasses.dataclass(frozen=True)
class TurnsConfig:
    """How steps are measured.

    Args:
        rounds: Turns of each side.
        seconds_per_turn: Approximate seconds of a turn, which has at least one
            step.
        threads: Cores that each side may use.
        timeout: Timeout of a worker's answer in seconds.
    """

    rounds: int
    seconds_per_turn: float
    threads: int
    timeout: float


@dataclasses.dataclass
class _Candidate:
    """A variant of a side, with its process while it runs."""

    spec: SideSpec
    variant: str
    worker: Worker | None = None
    start: dict[str, Any] = dataclasses.field(default_factory=dict)
    error: str = ""

    def warm_step(self) -> float:
        """Returns the seconds of the fastest step after the first."""
        return float(min(self.start["warmup_seconds"]))


class Comparison:
    """Compares the sides on a work: their starts, then their steps.

    Entering the context starts all variants.

    Args:
        work: Model and batch.
        specs: The sides.
        interpreters: Side -> its Python, or the reason why it has none.
        config: How to measure.
    """

    def __init__(
        self,
        work: Work,
        specs: Sequence[SideSpec],
        interpreters: dict[str, str | SideError],
        config: TurnsConfig,
    ) -> None:
        self.work = dataclasses.replace(work, threads=config.threads)
        self.config = config
        self.interpreters = interpreters
        self.candidates = [
            _Candidate(spec, variant)
            for spec in specs
            if spec.supports(work)
            for variant in spec.variants
        ]
        self.chosen: dict[str, _Candidate] = {}

    def __enter__(self) -> "Comparison":
        """Starts every variant and keeps each side's fastest running."""
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(self.close)
            for candidate in self.candidates:
                self._start(candidate)
                self._keep_faster(candidate)
            on_failure.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the workers."""
        self.close()

    def close(self) -> None:
        """Ends the workers."""
        for candidate in self.candidates:
            if candidate.worker is not None:
                candidate.worker.close()
                candidate.worker = None

    def _start(self, candidate: _Candidate) -> None:
        spec = candidate.spec
        _say(f"{self.work.name}: starting {spec.name} ({candidate.variant})")
        interpreter = self.interpreters[spec.name]
        try:
            if isinstance(interpreter, SideError):
                raise interpreter
            candidate.worker = Worker(
                [interpreter, "-m", spec.module],
                environments.child_environment(self.config.threads),
                str(REPOSITORY),
            )
            candidate.start = candidate.worker.ask(
                "start",
                self.config.timeout,
                work=dataclasses.asdict(self.work),
                variant=candidate.variant,
                warmup_steps=_WARMUP_STEPS,
            )
            self._try_out(candidate)
        except (SideError, OSError) as error:
            self._fail(candidate, error)

    def _try_out(self, candidate: _Candidate) -> None:
        """Adds warm-up steps until the variant has run long enough."""
        assert candidate.worker is not None
        count = int(_TRIAL_SECONDS / candidate.warm_step())
        # The toy models of tests take almost no time.
        count = min(count, _MAX_TRIAL_STEPS)
        if count:
            answer = candidate.worker.ask(
                "steps", self.config.timeout, count=count
            )
            candidate.start["warmup_seconds"] += answer["seconds"]
            candidate.start["losses"] += answer["losses"]

    def _fail(self, candidate: _Candidate, error: Exception) -> None:
        candidate.error = str(error)
        _say(f"{candidate.spec.name} failed: {error}")
        if candidate.worker is not None:
            candidate.worker.close()
            candidate.worker = None

    def _keep_faster(self, candidate: _Candidate) -> None:
        side = candidate.spec.name
        best = self.chosen.get(side)
        loser = candidate
        if not candidate.error and (
            best is None
            or best.error
            or candidate.warm_step() < best.warm_step()
        ):
            self.chosen[side] = candidate
            loser = best or candidate
        elif best is None:
            self.chosen[side] = candidate
        if loser is not self.chosen[side] and loser.worker is not None:
            loser.worker.close()
            loser.worker = None

    def steps(self) -> tables.Table:
        """Measures the steps of the chosen variants in turns."""
        measured: dict[str, dict[str, Any]] = {}
        for turn in range(self.config.rounds):
            _say(f"{self.work.name}: round {turn + 1}/{self.config.rounds}")
            for side, candidate in self.chosen.items():
                if candidate.error:
                    continue
                try:
                    answer = self._turn(candidate)
                except SideError as error:
                    self._fail(candidate, error)
                    continue
                kept = measured.setdefault(
                    side, {"seconds": [], "cpu_seconds": [], "losses": []}
                )
                for name, measurements in kept.items():
                    measurements += answer[name]
        rows = [
            _step_row(candidate, measured.get(side), self.work)
            for side, candidate in self.chosen.items()
        ]
        if self.work.kind in _TRACED:
            self._add_products(rows)
        return tables.Table(
            title=_title(self.work),
            rows=rows,
            compared=(
                {"examples/s": "higher"}
                if self.work.kind == "finetune"
                else {"step ms": "lower"}
            ),
            details={"work": dataclasses.asdict(self.work), "raw": measured},
        )

    def _add_products(self, rows: list[tables.Row]) -> None:
        """Adds what the matrix products of tfllm's step take alone."""
        ours = self.chosen.get(OURS)
        if ours is None or ours.worker is None or ours.error:
            return
        seconds = ours.worker.ask("products", self.config.timeout)["seconds"]
        row = next(row for row in rows if row.side == OURS)
        row.figures["products ms"] = 1000 * seconds
        share = 1000 * seconds / row.figures["step ms"]
        row.notes = (
            f"matrix products alone take {share:.0%} of a step; {row.notes}"
        )

    def _turn(self, candidate: _Candidate) -> dict[str, Any]:
        assert candidate.worker is not None
        # By the speed of the side, so that turns of slow and fast sides take
        # the same time.
        count = round(self.config.seconds_per_turn / candidate.warm_step())
        count = max(count, 1)
        time.sleep(_SETTLE_SECONDS)
        answer: dict[str, Any] = candidate.worker.ask(
            "steps", self.config.timeout, count=count
        )
        return answer

    def starts(self) -> tables.Table:
        """Returns import, first step and memory of every variant."""
        # tfllm first, with the variant that is measured in `steps`.
        ordered = sorted(
            self.candidates,
            key=lambda c: (
                c.spec.name == OURS and c is not self.chosen[c.spec.name]
            ),
        )
        ordered.sort(key=lambda c: c.spec.name != OURS)
        return tables.Table(
            title=(
                f"{self.work.name}, a fresh process: import, build to the "
                f"end of the first step, peak memory after {_WARMUP_STEPS} "
                "steps"
            ),
            rows=[_start_row(candidate) for candidate in ordered],
            compared={"first step s": "lower", "memory GiB": "lower"},
        )


def _title(work: Work) -> str:
    """Returns a title that describes a step."""
    shape = f"{work.batch_size} x {work.seq_length}"
    search = "greedy" if work.num_beams == 1 else f"{work.num_beams} beams"
    what = {
        "mlm": f"pretraining step, {shape}, {work.num_masked} masked",
        "clm": f"training step, {shape}",
        "finetune": f"fine-tuning on texts, {shape} at most",
        "seq2seq": f"training step, {shape} to {work.seq_length}",
        "generate": f"{search}, {shape} prompt + {work.new_tokens} new tokens",
    }[work.kind]
    return (
        f"{work.name} {what}, vocabulary {work.vocab_size:,}, float32, "
        f"{work.threads} threads"
    )


def _step_row(
    candidate: _Candidate, measured: dict[str, Any] | None, work: Work
) -> tables.Row:
    row = _row(candidate)
    if measured is None or candidate.error:
        row.figures = {}
        return row
    losses = candidate.start["losses"] + measured["losses"]
    steps = tables.summary(measured["seconds"])
    cpu = tables.summary(measured["cpu_seconds"])
    row.figures = {
        "step ms": 1000 * steps["median"],
        "least": 1000 * steps["least"],
        "greatest": 1000 * steps["greatest"],
        "CPU ms": 1000 * cpu["median"],
        "steps": len(measured["seconds"]),
    }
    if work.kind == "finetune":
        # Steps differ in the lengths of texts, so the mean rate counts.
        seconds = sum(measured["seconds"])
        rate = work.batch_size * len(measured["seconds"]) / seconds
        row.figures = {"examples/s": rate, **row.figures}
    if work.kind == "generate":
        row.figures["tokens/s"] = losses[-1] / steps["median"]
    else:
        row.figures |= {
            "loss of step 1": losses[0],
            "of the last": losses[-1],
        }
    return row


def _start_row(candidate: _Candidate) -> tables.Row:
    row = _row(candidate)
    if candidate.start:
        row.figures = {
            "import s": candidate.start["import_seconds"],
            "first step s": candidate.start["first_step_seconds"],
            "memory GiB": candidate.start["peak_rss_bytes"] / _GIB,
            "warm step ms": 1000 * candidate.warm_step(),
        }
    return row


def _row(candidate: _Candidate) -> tables.Row:
    versions = candidate.start.get("versions", {})
    shown = " ".join(f"{name} {value}" for name, value in versions.items())
    notes = [candidate.start.get("notes", ""), shown]
    return tables.Row(
        side=candidate.spec.name,
        variant=candidate.variant,
        notes="; ".join(note for note in notes if note),
        error=candidate.error,
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
