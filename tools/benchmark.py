"""Measures the speed of tfllm beside Transformers, KerasHub and others.

    python -m tools.benchmark --output=results.json

Prints a table per work, with tfllm's ratios to its peers, and writes all
measurements to a JSON file. The peers (Transformers on torch, KerasHub,
tf-models-official) get a virtual environment each on first use, about 5 GB in
total. Measuring takes about 15 minutes on 2 cores and 16 GB of memory; use the
machine for nothing else meanwhile. `tools/peers/__init__.py` explains how sides
are compared and what differs between them.

Works:
  bert_base_pretrain    step of BERT-base, 8 x 128, 20 masked slots
  bert_base_first_step  build to the end of the first step; peak memory
  bert_tiny_pretrain    step of BERT 2/128, 32 x 128
  gpt2_nano_train       step of GPT-2 4/128 on bytes, 12 x 64
  gpt2_small_train      step of GPT-2 124M, 4 x 256
  gpt2_small_generate   GPT-2 124M, greedy, prompt 32 + 64 new, batch 1
  gpt2_small_generate_8 the same, batch 8
  albert_base_pretrain  step of ALBERT-base, 8 x 128, 20 masked slots
  llama_100m_train      step of a LLaMA of 100M weights, 8 x 128
  llama_100m_generate   the same model, greedy, prompt 32 + 32 new, batch 1
  llama_100m_generate_8 the same, batch 8
  llama_100m_prompt_512 the same, batch 1, prompt 512
  t5_small_train        step of T5-small, 8 x 128 to 128
  t5_small_generate     T5-small, greedy, 32 to 32, batch 8
  t5_small_beams        the same with 4 beams
  marian_base_generate  Marian-base, greedy, 32 to 32, batch 8
  marian_base_beams     the same with 4 beams
  gpt2_speculative      GPT-2 as above, batch 1, with a draft and without
  load_folder           loading a folder of GPT-2 124M; peak memory
  minilm_finetune       fine-tuning of MiniLM on short texts, batch 32
  import_time           `import tfllm` over `import tensorflow, keras`
  prepare_data          examples per second and core, memory at 1x and 10x
  serve_bert_base       BERT-base classifier over REST: 24 and 120 words, one
                        and 16 clients; the peer is Transformers with FastAPI
  serve_tiny            the server's overhead with a tiny model; first requests
"""

import dataclasses
import datetime
import json
import os
import pathlib
import platform
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from absl import flags as absl_flags

from tfllm.runs import flags
from tools.peers import (
    data_preparation,
    environments,
    fine_tuning,
    imports,
    loading,
    serving,
    tables,
    turns,
)
from tools.peers.sides import OURS, REPOSITORY, SIDES, SideSpec
from tools.peers.worker import SideError

WORKS = (
    *turns.WORKS,
    "bert_base_first_step",
    "gpt2_speculative",
    "load_folder",
    "minilm_finetune",
    "import_time",
    "prepare_data",
    "serve_bert_base",
    "serve_tiny",
)

# Works that need tfllm's environment even if --side leaves tfllm out.
_OURS_NEEDED = (
    "gpt2_speculative",
    "load_folder",
    "minilm_finetune",
    "import_time",
    "prepare_data",
    "serve_bert_base",
    "serve_tiny",
)
# Above this load something else is running.
_QUIET_LOAD = 0.7

_WORK = absl_flags.DEFINE_list(
    "work",
    "all",
    f"Works to measure, comma-separated: all, or some of {', '.join(WORKS)}.",
)
_SIDE = absl_flags.DEFINE_list(
    "side",
    "all",
    f"Libraries to compare, comma-separated: all, or some of "
    f"{', '.join(SIDES)}.",
)
_ENV_DIR = absl_flags.DEFINE_string(
    "env_dir",
    str(REPOSITORY / ".benchmark" / "envs"),
    "Folder of the libraries' virtual environments; missing ones are created.",
)
_PYTHON = absl_flags.DEFINE_multi_string(
    "python",
    [],
    "Python interpreter of a library, as SIDE=PATH, instead of its virtual "
    "environment. Repeat the flag for several libraries. Default: none.",
)
_VARIANT = absl_flags.DEFINE_multi_string(
    "variant",
    [],
    "Variant of a library to measure, as SIDE=VARIANT, such as tfllm=jit. "
    "Repeat the flag for several libraries. Default: the variant that is "
    "fastest in a trial.",
)
_OUTPUT = absl_flags.DEFINE_string(
    "output",
    str(REPOSITORY / ".benchmark" / "results.json"),
    "File to write the results to, as JSON.",
)
_ROUNDS = absl_flags.DEFINE_integer(
    "rounds",
    5,
    "Number of turns of each library.",
    lower_bound=1,
)
_SECONDS_PER_TURN = absl_flags.DEFINE_float(
    "seconds_per_turn",
    5.0,
    "Approximate seconds of a turn, which has at least one step.",
    lower_bound=0.0,
)
_REPEATS = absl_flags.DEFINE_integer(
    "repeats",
    5,
    "Number of processes to time for each import or server start.",
    lower_bound=1,
)
_THREADS = absl_flags.DEFINE_integer(
    "threads",
    0,
    "Number of cores that each library may use; 0 for all.",
    lower_bound=0,
)
_TIMEOUT = absl_flags.DEFINE_float(
    "timeout",
    900.0,
    "Seconds to wait for an answer of a library before it counts as failed.",
)
_TEXT = absl_flags.DEFINE_list(
    "text",
    [str(REPOSITORY.parent / "shared" / "data" / "gutenberg" / "*-*.txt")],
    "Plain text files for --work=prepare_data: comma-separated globs.",
)
_LABELLED_TEXT = absl_flags.DEFINE_string(
    "labelled_text",
    str(REPOSITORY.parent / "shared" / "data" / "sms_spam" / "sms.tsv"),
    "File for --work=minilm_finetune: a label, a tab and a text per line, with "
    "two labels.",
)
_TOKENIZER = absl_flags.DEFINE_string(
    "tokenizer",
    "",
    "WordPiece folder or vocab.txt for --work=prepare_data,minilm_finetune. "
    "Default: a vocabulary trained on the text.",
)
_TORCH_COMPILE = absl_flags.DEFINE_bool(
    "torch_compile",
    False,
    "Also measure Transformers with torch.compile; needs a C++ compiler.",
)


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig:
    """Config of a benchmark.

    Args:
        works: Some of `WORKS`, in that order.
        specs: The sides, tfllm first.
        env_dir: Folder of the virtual environments.
        pythons: Side -> interpreter that replaces its environment.
        output: Path of the JSON file.
        repeats: Processes to time for each import.
        turns: How steps are measured.
        data: Config of the work prepare_data.
        texts: Config of the work minilm_finetune.
    """

    works: tuple[str, ...]
    specs: tuple[SideSpec, ...]
    env_dir: pathlib.Path
    pythons: dict[str, str]
    output: pathlib.Path
    repeats: int
    turns: turns.TurnsConfig
    data: data_preparation.MaskedDataConfig
    texts: fine_tuning.TextConfig


def config_from_flags() -> BenchmarkConfig:
    """Reads the flags; restricts this process to --threads cores."""
    works = _choose("work", _WORK.value, WORKS)
    specs = [SIDES[name] for name in _choose("side", _SIDE.value, SIDES)]
    if _TORCH_COMPILE.value:
        specs = [_with_torch_compile(spec) for spec in specs]
    specs = _with_variants(specs, _VARIANT.value)
    threads = _restrict_cores(_THREADS.value)
    return BenchmarkConfig(
        works=works,
        specs=tuple(specs),
        env_dir=pathlib.Path(_ENV_DIR.value).absolute(),
        pythons=_parse_pythons(_PYTHON.value),
        output=pathlib.Path(_OUTPUT.value),
        repeats=_REPEATS.value,
        turns=turns.TurnsConfig(
            rounds=_ROUNDS.value,
            seconds_per_turn=_SECONDS_PER_TURN.value,
            threads=threads,
            timeout=_TIMEOUT.value,
        ),
        data=data_preparation.MaskedDataConfig(
            text=tuple(_TEXT.value),
            tokenizer=_TOKENIZER.value,
            threads=threads,
            timeout=_TIMEOUT.value,
        ),
        texts=fine_tuning.TextConfig(
            labelled_text=_LABELLED_TEXT.value, tokenizer=_TOKENIZER.value
        ),
    )


def _choose(
    flag: str, names: Sequence[str], known: Sequence[str] | dict[str, Any]
) -> tuple[str, ...]:
    if list(names) == ["all"]:
        return tuple(known)
    for name in names:
        if name not in known:
            raise ValueError(
                f"`--{flag}` must be all or some of {', '.join(known)}. "
                f"Received: {name}."
            )
    return tuple(name for name in known if name in names)


def _parse_pythons(items: Sequence[str]) -> dict[str, str]:
    pythons = {}
    for item in items:
        side, _, path = item.partition("=")
        if side not in SIDES or not os.access(path, os.X_OK):
            raise ValueError(
                "`--python` must be SIDE=PATH, with one of "
                f"{', '.join(SIDES)} and an interpreter. Received: {item}."
            )
        pythons[side] = os.path.abspath(path)
    return pythons


def _with_variants(
    specs: Sequence[SideSpec], items: Sequence[str]
) -> list[SideSpec]:
    """Returns the sides, restricted to the variants of --variant."""
    chosen = {}
    for item in items:
        side, _, variant = item.partition("=")
        if side not in SIDES or variant not in SIDES[side].variants:
            known = [f"{s}={v}" for s in SIDES for v in SIDES[s].variants]
            raise ValueError(
                f"`--variant` must be one of {', '.join(known)}. "
                f"Received: {item}."
            )
        chosen[side] = variant
    return [
        dataclasses.replace(spec, variants=(chosen[spec.name],))
        if spec.name in chosen
        else spec
        for spec in specs
    ]


def _with_torch_compile(spec: SideSpec) -> SideSpec:
    if spec.name != "transformers":
        return spec
    compiled = (f"{spec.variants[0]}+compile",)
    return dataclasses.replace(spec, variants=spec.variants + compiled)


def _restrict_cores(threads: int) -> int:
    """Restricts this process and its children to `threads` cores."""
    if not hasattr(os, "sched_setaffinity"):
        return threads or os.cpu_count() or 1
    cores = sorted(os.sched_getaffinity(0))
    if threads > len(cores):
        raise ValueError(
            f"`--threads` must be at most the {len(cores)} cores of this "
            f"machine. Received: {threads}."
        )
    if threads:
        os.sched_setaffinity(0, cores[:threads])
    return threads or len(cores)


def run(config: BenchmarkConfig) -> Iterator[tuple[str, tables.Table]]:
    """Measures each work in turn.

    Args:
        config: Config of the benchmark.

    Yields:
        Name and table of each work, as soon as it is done.
    """
    interpreters = _interpreters(config)
    for work in turns.WORKS:
        starts = "bert_base_first_step"
        wants_starts = work == "bert_base_pretrain" and starts in config.works
        if work not in config.works and not wants_starts:
            continue
        with turns.Comparison(
            turns.WORKS[work], config.specs, interpreters, config.turns
        ) as comparison:
            if wants_starts:
                yield starts, comparison.starts()
            if work in config.works:
                yield work, comparison.steps()
    if "gpt2_speculative" in config.works:
        ours = interpreters[OURS]
        with turns.Comparison(
            turns.SPECULATION,
            turns.SPECULATION_SPECS,
            {spec.name: ours for spec in turns.SPECULATION_SPECS},
            config.turns,
        ) as comparison:
            yield "gpt2_speculative", comparison.steps()
    if "load_folder" in config.works:
        yield (
            "load_folder",
            loading.measure(
                interpreters,
                config.repeats,
                config.turns.threads,
                config.turns.timeout,
            ),
        )
    if "minilm_finetune" in config.works:
        yield (
            "minilm_finetune",
            fine_tuning.measure(
                config.specs, interpreters, config.texts, config.turns
            ),
        )
    if "import_time" in config.works:
        yield (
            "import_time",
            imports.measure(
                interpreters[OURS],
                config.repeats,
                config.turns.threads,
                config.turns.timeout,
            ),
        )
    if "prepare_data" in config.works:
        yield (
            "prepare_data",
            data_preparation.measure(interpreters, config.data),
        )
    if "serve_bert_base" in config.works:
        yield (
            "serve_bert_base",
            serving.measure_peers(interpreters, config.turns),
        )
    if "serve_tiny" in config.works:
        yield (
            "serve_tiny",
            serving.measure_overhead(
                interpreters[OURS], config.repeats, config.turns
            ),
        )


def _interpreters(config: BenchmarkConfig) -> dict[str, str | SideError]:
    """Returns side -> Python, or the reason why it has none."""
    names = {spec.name for spec in config.specs}
    if set(_OURS_NEEDED) & set(config.works):
        names.add(OURS)
    interpreters: dict[str, str | SideError] = {}
    for name in (name for name in SIDES if name in names):
        try:
            interpreters[name] = config.pythons.get(
                name
            ) or environments.ensure(SIDES[name], config.env_dir)
        except (SideError, OSError) as error:
            interpreters[name] = SideError(f"no environment: {error}")
    return interpreters


def describe_machine(threads: int) -> dict[str, Any]:
    """Returns the machine and the versions behind the figures.

    Args:
        threads: Cores that each side used.
    """
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads_per_side": threads,
        "load_average_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(
            timespec="seconds"
        ),
        "command": shlex.join(sys.argv),
    }


def _cpu_model() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> int:
    """Runs the benchmark.

    Returns:
        1 if a side failed, else 0.
    """
    config = config_from_flags()
    # A stopped benchmark must end its workers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    config.output.parent.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(config.turns.threads)
    print(
        f"{machine['cpu']}, {machine['threads_per_side']} threads, "
        f"{machine['date']}\n"
    )
    if machine["load_average_before"] > _QUIET_LOAD:
        print(
            f"The machine is busy (load {machine['load_average_before']:.1f}):"
            " do not trust these figures.",
            file=sys.stderr,
        )
    results: dict[str, Any] = {"machine": machine, "works": {}}
    failed = False
    for work, table in run(config):
        print(table.render(), flush=True)
        failed |= any(row.error for row in table.rows)
        results["works"][work] = table.as_json()
        # After each work, so that an interrupted benchmark keeps its results.
        _write(config.output, results)
    print(f"Results: {config.output}")
    return int(failed)


def _write(path: pathlib.Path, results: dict[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(results, indent=1) + "\n")
    partial.replace(path)


if __name__ == "__main__":
    flags.run(main)
