"""Builds a pretraining corpus: documents in, train.txt and heldout.txt out.

    documents -> Cleaner -> exact and near duplicates -> held-out split -> files

The in-process build streams. It reads the source once to find repeated lines,
once more to clean it into a scratch file on the disk of the output, and then
copies the documents that are not duplicates. Memory holds hashes and MinHash
signatures (about 300 bytes per document), never the text. `beam.py` runs the
same steps on Apache Beam, with the same documents and counts.
"""

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import numpy as np
import tqdm

from tfllm import file_access
from tfllm.data.corpus import cleaning, docstrings, near_duplicates, sources
from tfllm.data.corpus.cleaning import CleaningConfig
from tfllm.data.corpus.near_duplicates import NearDuplicateConfig
from tfllm.data.corpus.sources import FilesConfig

SOURCES = ("docstrings", "files")
TRAIN_FILE, HELDOUT_FILE = "train.txt", "heldout.txt"
REPORT_FILE = "report.json"
# Line hashes to collect before they are merged into counts.
_FOLD_AT = 4_000_000

Record = bytes | str
Counts = collections.Counter[str]


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """Settings to build a corpus.

    Attributes:
        output_dir: Folder for train.txt, heldout.txt and report.json.
        source: "docstrings" of the installed Python packages, or "files".
        files: How files become documents.
        cleaning: Settings of the cleaning steps.
        near_duplicates: What counts as a near duplicate.
        heldout_fraction: Share of the documents for heldout.txt.
        runner: Apache Beam runner; "" builds in this process.
        overwrite: Whether to replace a complete corpus.
    """

    output_dir: str
    source: str = "docstrings"
    files: FilesConfig = FilesConfig()
    cleaning: CleaningConfig = CleaningConfig()
    near_duplicates: NearDuplicateConfig = NearDuplicateConfig()
    heldout_fraction: float = 0.02
    runner: str = ""
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Checks the values."""
        if not self.output_dir:
            raise ValueError(
                "`output_dir` must name a folder. Received: nothing."
            )
        if self.source not in SOURCES:
            raise ValueError(
                f"`source` must be one of {', '.join(SOURCES)}. "
                f"Received: {self.source}."
            )
        if self.source == "files" and not self.files.input_files:
            raise ValueError(
                "`source` files needs `input_files`. Received: nothing. "
                "Give paths or globs."
            )
        if self.source == "docstrings" and self.files.input_files:
            raise ValueError(
                "`input_files` is for `source` files. Received: "
                f"{self.files.input_files} with `source` docstrings. "
                "Add --source=files, or leave --input_files out."
            )
        if not 0.0 <= self.heldout_fraction < 1.0:
            raise ValueError(
                "`heldout_fraction` must be in [0, 1). "
                f"Received: {self.heldout_fraction}."
            )

    def settings(self) -> dict[str, Any]:
        """Returns the settings that decide the corpus, for its report."""
        settings = dataclasses.asdict(self)
        for name in ("output_dir", "runner", "overwrite"):
            del settings[name]
        if self.source == "docstrings":
            del settings["files"]
        return settings


# --- Source -----------------------------------------------------------------


def docstring_documents(
    config: CorpusConfig,
) -> tuple[list[str], dict[str, int]]:
    """Returns docstrings in the order of their content hashes, and counts."""
    collected = docstrings.collect(
        min_characters=max(200, config.cleaning.min_characters)
    )
    documents = sorted(collected.documents, key=cleaning.content_hash)
    return documents, collected.counts


@contextlib.contextmanager
def _record_stream(
    config: CorpusConfig,
) -> Iterator[tuple[Callable[[str], Iterator[Record]], dict[str, int]]]:
    """Yields a function that starts a pass over the records, and counts.

    The function takes a description for the progress bar. The counts are
    those of the last finished pass.
    """
    counts: dict[str, int] = {}
    if config.source == "docstrings":
        documents, counted = docstring_documents(config)
        counts.update({f"source/{name}": n for name, n in counted.items()})
        yield lambda doing: iter(tqdm.tqdm(documents, doing)), counts
        return
    paths = file_access.match_files(config.files.input_files, "input_files")

    def read_all(doing: str) -> Iterator[Record]:
        reader = sources.RecordReader(config.files)
        with tqdm.tqdm(desc=doing, unit=" documents") as progress:
            for i, path in enumerate(paths):
                progress.set_postfix_str(f"file {i + 1} of {len(paths)}")
                for record in reader.read(path):
                    progress.update()
                    yield record
        counts.update({"source/files": len(paths), **reader.counts})

    yield read_all, counts


# --- Lines repeated over documents ------------------------------------------


class _HashCounts:
    """Counts 64-bit hashes, with 16 bytes per distinct hash."""

    def __init__(self) -> None:
        self.hashes = np.zeros(0, np.uint64)
        self.counts = np.zeros(0, np.int64)
        self._pending: list[int] = []

    def add(self, hashes: Iterable[int]) -> None:
        """Adds hashes."""
        self._pending.extend(hashes)
        if len(self._pending) >= _FOLD_AT:
            self.fold()

    def fold(self) -> None:
        """Merges added hashes into `hashes` and `counts`."""
        new = np.array(self._pending, np.uint64)
        self._pending = []
        self.hashes, inverse = np.unique(
            np.concatenate([self.hashes, new]), return_inverse=True
        )
        ones = np.ones(len(new), np.int64)
        weights = np.concatenate([self.counts, ones])
        self.counts = np.zeros(len(self.hashes), np.int64)
        np.add.at(self.counts, inverse, weights)


def boilerplate_threshold(config: CleaningConfig, num_documents: int) -> int:
    """Returns the least number of documents with a line of boilerplate."""
    share = int(config.boilerplate_fraction * num_documents) + 1
    return max(config.boilerplate_min_documents, share, 2)


def find_repeated_lines(
    records: Iterable[Record], config: CleaningConfig
) -> frozenset[int]:
    """Returns the hashes of lines that occur in very many documents.

    Copies of a document count once: otherwise its lines would look like
    boilerplate, and the copy that deduplication keeps would lose its text.
    """
    cleaner = cleaning.Cleaner(config)
    documents: set[int] = set()
    lines = _HashCounts()
    for record in records:
        text = cleaner.normalize(record)
        identity = cleaning.content_hash(text)
        if identity not in documents:
            documents.add(identity)
            repeatable = cleaning.repeatable_lines(text)
            lines.add({cleaning.line_hash(line) for line in repeatable})
    lines.fold()
    often = lines.counts >= boilerplate_threshold(config, len(documents))
    return frozenset(lines.hashes[often].tolist())


# --- The in-process build ---------------------------------------------------


@dataclasses.dataclass
class _Scratch:
    """Cleaned documents on disk, with hashes and signatures in memory."""

    path: str
    hashes: np.ndarray  # uint64 [N], in the order of the file
    signatures: np.ndarray  # uint32 [N, num_permutations]


def _clean_to_scratch(
    records: Iterable[Record],
    cleaner: cleaning.Cleaner,
    config: NearDuplicateConfig,
    path: str,
) -> _Scratch:
    """Cleans records into a file, without exact duplicates."""
    hasher = near_duplicates.MinHasher(config)
    seen: dict[int, None] = {}  # in order
    signatures = bytearray()
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        for record in records:
            text = cleaner.clean(record)
            if text is None:
                continue
            identity = cleaning.content_hash(text)
            if identity in seen:
                cleaner.drop("exact_duplicate", text)
                continue
            seen[identity] = None
            if config.threshold:
                signatures += hasher.signature(text).tobytes()
            file.write(text + "\n\n")
    table = np.frombuffer(signatures, np.uint32)
    width = config.num_permutations if config.threshold else 0
    return _Scratch(
        path,
        np.fromiter(seen, np.uint64, len(seen)),
        table.reshape(len(seen), width),
    )


def read_documents(path: str) -> Iterator[str]:
    """Yields the documents of a corpus file, a sentence per line."""
    with file_access.open_binary(path) as file:
        lines: list[str] = []
        for raw in file:
            line = raw.decode("utf-8").rstrip("\n")
            if line:
                lines.append(line)
            elif lines:
                yield "\n".join(lines)
                lines = []
        if lines:
            yield "\n".join(lines)


def count_output(split: str, text: str) -> dict[str, int]:
    """Returns the counts that a written document adds to the report."""
    return {
        f"{split}/documents": 1,
        f"{split}/sentences": text.count("\n") + 1,
        f"{split}/characters": len(text),
    }


def _write_splits(
    scratch: _Scratch,
    dropped: Collection[int],
    cleaner: cleaning.Cleaner,
    config: CorpusConfig,
) -> None:
    """Copies the documents of the scratch file, without dropped ones."""
    join = file_access.join
    with (
        file_access.write_atomically(
            join(config.output_dir, TRAIN_FILE)
        ) as train,
        file_access.write_atomically(
            join(config.output_dir, HELDOUT_FILE)
        ) as heldout,
    ):
        identities = scratch.hashes.tolist()
        documents = read_documents(scratch.path)
        for identity, text in zip(
            tqdm.tqdm(identities, "Writing"), documents, strict=True
        ):
            if identity in dropped:
                cleaner.drop("near_duplicate", text)
                continue
            held = cleaning.heldout_value(text) < config.heldout_fraction
            cleaner.counts.update(
                count_output("heldout" if held else "train", text)
            )
            # A blank line ends every document, so that files can be joined.
            (heldout if held else train).write(text + "\n\n")


def _build_in_process(config: CorpusConfig) -> collections.Counter[str]:
    """Builds the corpus files; returns the counts."""
    with contextlib.ExitStack() as stack:
        passes, source_counts = stack.enter_context(_record_stream(config))
        repeated: frozenset[int] = frozenset()
        if config.cleaning.boilerplate_fraction:
            repeated = find_repeated_lines(
                passes("Finding repeated lines"), config.cleaning
            )
        cleaner = cleaning.Cleaner(config.cleaning, repeated)
        remote = file_access.is_remote(config.output_dir)
        folder = tempfile.mkdtemp(
            prefix=".scratch-", dir=None if remote else config.output_dir
        )
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        scratch = _clean_to_scratch(
            passes("Cleaning"),
            cleaner,
            config.near_duplicates,
            os.path.join(folder, "documents.txt"),
        )
        near = near_duplicates.find_near_duplicates(
            scratch.hashes, scratch.signatures, config.near_duplicates
        )
        _write_splits(scratch, set(near.tolist()), cleaner, config)
        cleaner.counts.update(source_counts)
        cleaner.counts["repeated_lines"] = len(repeated)
    return cleaner.counts


# --- Report -----------------------------------------------------------------


def _nested(counts: dict[str, int]) -> dict[str, Any]:
    """Converts `{"a/b": 1}` to `{"a": {"b": 1}}`, sorted."""
    tree: dict[str, Any] = {}
    for name, count in sorted(counts.items()):
        *folders, leaf = name.split("/")
        node = tree
        for folder in folders:
            node = node.setdefault(folder, {})
        node[leaf] = count
    return tree


def _report(
    counts: dict[str, int], config: CorpusConfig, seconds: float
) -> dict[str, Any]:
    """Returns the content of report.json."""
    for split, unit in itertools.product(
        ("in", "train", "heldout"), ("documents", "characters")
    ):
        counts.setdefault(f"{split}/{unit}", 0)
    report: dict[str, Any] = {
        "counts": _nested(counts),
        "settings": config.settings(),
        "runner": config.runner or "in process",
        "seconds": round(seconds, 1),
        "warnings": [],
    }
    if config.heldout_fraction and not counts["heldout/documents"]:
        report["warnings"].append(
            "no document fell into heldout.txt: the corpus has few documents; "
            "raise --heldout_fraction, or build a held-out corpus of its own"
        )
    return report


def format_report(report: dict[str, Any]) -> str:
    """Returns a short report as lines of text."""
    counts = report["counts"]

    def line(name: str, part: dict[str, int]) -> str:
        characters = part.get("characters")
        size = "" if characters is None else f"{characters / 1e6:12.2f} M chars"
        return f"{name:<28}{part['documents']:>10,} documents{size}"

    rows = [line("read", counts["in"])]
    dropped = counts.get("dropped", {})
    rows += [line(f"  dropped: {name}", dropped[name]) for name in dropped]
    changed = counts.get("changed", {})
    rows += [line(f"  changed: {name}", changed[name]) for name in changed]
    rows += [
        f"  removed: {name:<17}{count:>10,} lines"
        for name, count in counts.get("removed_lines", {}).items()
    ]
    rows += [line(split, counts[split]) for split in ("train", "heldout")]
    rows += [f"warning: {warning}" for warning in report["warnings"]]
    rows.append(f"{report['seconds']} s")
    return "\n".join(rows)


def completed_report(output_dir: str) -> dict[str, Any] | None:
    """Returns the report of a complete corpus, or None.

    report.json is written last, so that a folder with one is complete.
    """
    path = file_access.join(output_dir, REPORT_FILE)
    if not file_access.exists(path):
        return None
    with file_access.open_binary(path) as file:
        try:
            report = json.load(file)
        except ValueError:
            return None
    return report if isinstance(report, dict) else None


def build(
    config: CorpusConfig, run: Callable[[CorpusConfig], Counts] | None = None
) -> dict[str, Any]:
    """Builds a corpus, unless a complete one with these settings exists.

    Args:
        config: What to build.
        run: Function that writes the files and returns the counts; None
            builds in this process. `beam.build` runs on Apache Beam.

    Returns:
        The report: `counts`, `settings`, `runner`, `seconds`, `warnings`, and
        `reused`, whether the corpus existed already.

    Raises:
        ValueError: The input cannot be used, all documents were dropped, or
            the folder has a corpus with other settings.
    """
    report = completed_report(config.output_dir)
    if report and not config.overwrite:
        if report["settings"] != json.loads(json.dumps(config.settings())):
            raise ValueError(
                "`output_dir` holds a corpus that was built with other "
                f"settings. Received: {config.output_dir}. Give another "
                "folder."
            )
        return {**report, "reused": True}
    start = time.monotonic()
    if config.source == "files":  # bad names fail before any work
        file_access.match_files(config.files.input_files, "input_files")
    file_access.make_folder(config.output_dir)
    file_access.remove(file_access.join(config.output_dir, REPORT_FILE))
    counts = (run or _build_in_process)(config)
    report = _report(counts, config, time.monotonic() - start)
    path = file_access.join(config.output_dir, REPORT_FILE)
    if not counts["train/documents"]:
        raise ValueError(
            f"No document is left for {TRAIN_FILE}. Received:\n"
            f"{format_report(report)}\nLoosen the limits, such as --min_chars."
        )
    with file_access.write_atomically(path) as file:
        file.write(json.dumps(report, indent=2) + "\n")
    return {**report, "reused": False}


def ensure_docstring_corpus(output_dir: str) -> dict[str, Any]:
    """Builds the default docstring corpus, unless the folder has a corpus.

    A complete corpus is reused, whatever its settings.

    Returns:
        The report, see `build`.
    """
    report = completed_report(output_dir)
    if report:
        return {**report, "reused": True}
    return build(CorpusConfig(output_dir))
