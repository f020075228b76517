"""Measures speed and memory of making pretraining examples from text.

Both tools get the same lines and vocabulary, ten passes, 128 tokens, 20 masked
slots and next-sentence pairs. Each runs on a tenth of the text and on the whole
text. The rate is the difference of the two runs, in examples per CPU second, so
that neither start-up nor a second core counts.
"""

import dataclasses
import glob
import json
import pathlib
import re
import struct
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence

from tools.peers import environments, tables
from tools.peers.sides import OURS
from tools.peers.vocabulary import ensure_vocabulary
from tools.peers.worker import SideError

_SENTENCE_END = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"')]))\s+(?=[\"'(\[A-Z])")
_PARAGRAPHS_PER_DOCUMENT = 20
_DUPE_FACTOR = 10
_SEED = 1
_MIB = 2**20


@dataclasses.dataclass(frozen=True)
class MaskedDataConfig:
    """Config of the work prepare_data.

    Args:
        text: Globs of plain text files.
        tokenizer: Folder or file of a WordPiece vocabulary; empty to train one
            on the text.
        threads: Cores that may be used.
        timeout: Timeout of a process in seconds.
    """

    text: tuple[str, ...]
    tokenizer: str
    threads: int
    timeout: float


def measure(
    interpreters: dict[str, str | SideError], config: MaskedDataConfig
) -> tables.Table:
    """Runs both tools at 1x and 10x the text.

    Args:
        interpreters: Side -> its Python, or the reason why it has none. Only
            tfllm and `official` have such a tool.
        config: Config of the work.
    """
    table = tables.Table(
        title="Pretraining examples from text, one process, dupe factor 10",
        rows=[],
        compared={"examples/s/core": "higher", "memory MiB 10x": "lower"},
    )
    builders = {OURS: _tfllm, "official": _official}
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        try:
            texts = _write_texts(config.text, root)
            vocabulary = ensure_vocabulary(
                config.tokenizer,
                interpreters[OURS],
                texts[1],
                config.threads,
                config.timeout,
            )
        except (SideError, OSError) as error:
            table.rows = [
                tables.Row(side, error=str(error))
                for side in builders
                if side in interpreters
            ]
            return table
        for side, build in builders.items():
            if side not in interpreters:
                continue
            row = tables.Row(side)
            try:
                runs = [
                    _cost(build, interpreters[side], text, vocabulary, config)
                    for text in texts
                ]
                row.figures = _figures(texts, runs)
            except (SideError, OSError) as error:
                row.error = str(error)
            table.rows.append(row)
    return table


def _figures(
    texts: Sequence[pathlib.Path], runs: Sequence[dict[str, float]]
) -> dict[str, float]:
    small, large = runs
    examples = large["examples"] - small["examples"]
    return {
        "examples/s/core": examples
        / max(large["cpu_seconds"] - small["cpu_seconds"], 1e-9),
        "examples/s": examples / max(large["seconds"] - small["seconds"], 1e-9),
        "memory MiB 1x": small["peak_rss_bytes"] / _MIB,
        "memory MiB 10x": large["peak_rss_bytes"] / _MIB,
        "text MB 10x": texts[1].stat().st_size / 1e6,
        "examples 10x": large["examples"],
        "seconds 10x": large["seconds"],
    }


def _cost(
    build: Callable[..., tuple[list[str], Callable[[], int]]],
    interpreter: str | SideError,
    text: pathlib.Path,
    vocabulary: pathlib.Path,
    config: MaskedDataConfig,
) -> dict[str, float]:
    if isinstance(interpreter, SideError):
        raise interpreter
    with tempfile.TemporaryDirectory() as folder:
        output = pathlib.Path(folder)
        command, count = build(interpreter, text, vocabulary, output)
        report = output / "cost.json"
        print(f"data: {command[2]} on {text.name}", file=sys.stderr, flush=True)
        environments.run_to_end(
            [sys.executable, "-m", "tools.peers.measured", str(report)]
            + command,
            config.threads,
            config.timeout,
        )
        cost: dict[str, float] = json.loads(report.read_text())
        cost["examples"] = count()
        return cost


def _tfllm(
    interpreter: str,
    text: pathlib.Path,
    vocabulary: pathlib.Path,
    output: pathlib.Path,
) -> tuple[list[str], Callable[[], int]]:
    shards = output / "shards"
    command = [
        interpreter,
        "-m",
        "tools.prepare_data",
        f"--input_files={text}",
        f"--tokenizer={vocabulary}",
        "--task=masked_lm",
        "--pair_objective=nsp",
        "--seq_length=128",
        "--static_masks",
        f"--dupe_factor={_DUPE_FACTOR}",
        f"--seed={_SEED}",
        f"--output_dir={shards}",
        "--workers=1",
    ]
    return command, lambda: _manifest_examples(shards)


def _manifest_examples(folder: pathlib.Path) -> int:
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("num_examples", "examples"):
        if isinstance(manifest.get(name), int):
            return int(manifest[name])
    raise SideError(
        f"manifest.json gives no count of examples: {sorted(manifest)}"
    )


def _official(
    interpreter: str,
    text: pathlib.Path,
    vocabulary: pathlib.Path,
    output: pathlib.Path,
) -> tuple[list[str], Callable[[], int]]:
    records = output / "examples.tfrecord"
    command = [
        interpreter,
        "-m",
        "official.nlp.data.create_pretraining_data",
        f"--input_file={text}",
        f"--output_file={records}",
        f"--vocab_file={vocabulary}",
        "--do_lower_case",
        "--max_seq_length=128",
        "--max_predictions_per_seq=20",
        f"--dupe_factor={_DUPE_FACTOR}",
        f"--random_seed={_SEED}",
    ]
    return command, lambda: count_records(records)


def count_records(path: pathlib.Path) -> int:
    """Counts the records of a TFRecord file by its length fields.

    Args:
        path: an uncompressed file.
    """
    count = 0
    size = path.stat().st_size
    with path.open("rb") as records:
        while records.tell() < size:
            (length,) = struct.unpack("<Q", records.read(8))
            # The checksums of the length and of the record.
            records.seek(4 + length + 4, 1)
            count += 1
    return count


def _write_texts(
    globs: Sequence[str], folder: pathlib.Path
) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes a tenth of the documents, and all of them."""
    files = sorted(name for pattern in globs for name in glob.glob(pattern))
    if not files:
        raise SideError(
            f"no text. `--text` must match at least one file. Received: "
            f"{', '.join(globs) or 'nothing'}"
        )
    documents = [
        document for name in files for document in split_documents(_read(name))
    ]
    small, large = folder / "text_1x.txt", folder / "text_10x.txt"
    small.write_text(_join(documents[::10]), encoding="utf-8")
    large.write_text(_join(documents), encoding="utf-8")
    return small, large


def _read(name: str) -> str:
    data = pathlib.Path(name).read_bytes()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _join(documents: Iterable[Sequence[str]]) -> str:
    return "\n".join("\n".join(lines) + "\n" for lines in documents)


def split_documents(text: str) -> Iterator[list[str]]:
    """Splits a book into documents of 20 paragraphs, a sentence per line.

    Args:
        text: Paragraphs separated by blank lines; lines may be wrapped.
    """
    paragraphs = [
        " ".join(paragraph.split())
        for paragraph in re.split(r"\n\s*\n", text.replace("\r\n", "\n"))
        if paragraph.strip()
    ]
    for start in range(0, len(paragraphs), _PARAGRAPHS_PER_DOCUMENT):
        yield [
            sentence
            for paragraph in paragraphs[
                start : start + _PARAGRAPHS_PER_DOCUMENT
            ]
            for sentence in _SENTENCE_END.split(paragraph)
        ]
