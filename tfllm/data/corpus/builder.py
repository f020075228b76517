"""Builds a pretraining corpus: documents in, train.txt and heldout.txt out.

    documents -> Cleaner -> exact and near duplicates -> held-out split -> files

The in-process path streams: it reads the source once to find repeated lines,
once more to clean it into a scratch file on the output's disk, and then copies
what is not a duplicate. Memory holds hashes and MinHash signatures (about 300
bytes per document), never the text. `beam.py` runs the same steps on
Apache Beam and gives the same documents and counts.
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
# Line hashes held before they are folded into distinct ones with counts.
_FOLD_AT = 4_000_000

Record = bytes | str


@dataclasses.dataclass(frozen=True)
class CorpusConfig:
    """What to build a corpus from, and how.

    Attributes:
        output_dir: folder for train.txt, heldout.txt and report.json.
        source: "docstrings" of the installed Python packages, or "files".
        files: how to read files.
        cleaning: limits of the cleaning steps.
        near_duplicates: what counts as a near duplicate.
        heldout_fraction: share of the documents for heldout.txt.
        runner: Apache Beam runner; "" builds in this process.
        overwrite: whether to build over a complete corpus.
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
        """Refuses contradictory settings."""
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
        """What the corpus depends on, as stored in its report."""
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
    """The docstring source: documents in content-hash order, and counts."""
    found = docstrings.collect(
        min_characters=max(200, config.cleaning.min_characters)
    )
    documents = sorted(found.documents, key=cleaning.content_hash)
    return documents, found.counts


@contextlib.contextmanager
def _record_stream(
    config: CorpusConfig,
) -> Iterator[tuple[Callable[[str], Iterator[Record]], dict[str, int]]]:
    """A function that starts a new pass over the records, and source counts.

    The function takes what the pass does, for its progress bar. The counts
    are those of the last finished pass.
    """
    counts: dict[str, int] = {}
    if config.source == "docstrings":
        documents, found = docstring_documents(config)
        counts.update({f"source/{name}": n for name, n in found.items()})
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
    """Counts 64-bit hashes in 16 bytes per distinct one."""

    def __init__(self) -> None:
        self.hashes = np.zeros(0, np.uint64)
        self.counts = np.zeros(0, np.int64)
        self._pending: list[int] = []

    def add(self, hashes: Iterable[int]) -> None:
        self._pending.extend(hashes)
        if len(self._pending) >= _FOLD_AT:
            self.fold()

    def fold(self) -> None:
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
    """In how many distinct documents a line must stand to be boilerplate."""
    share = int(config.boilerplate_fraction * num_documents) + 1
    return max(config.boilerplate_min_documents, share, 2)


def find_repeated_lines(
    records: Iterable[Record], config: CleaningConfig
) -> frozenset[int]:
    """Hashes of the lines that stand in very many distinct documents.

    Copies of a document count once, or its lines would look like boilerplate
    and the one copy that deduplication keeps would lose its text.
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
    """Cleaned documents on disk, their hashes and signatures in memory."""

    path: str
    hashes: np.ndarray  # uint64 [N], in the order of the file
    signatures: np.ndarray  # uint32 [N, num_permutations]


def _clean_to_scratch(
    records: Iterable[Record],
    cleaner: cleaning.Cleaner,
    config: NearDuplicateConfig,
    path: str,
) -> _Scratch:
    """Cleans records into a file, dropping exact duplicates on the way."""
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
    """The documents of a corpus file, their sentences on lines."""
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
    """The counts that writing one document adds to the report."""
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
    """Copies the scratch file's documents but the dropped ones."""
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
    """`{"a/b": 1}` as `{"a": {"b": 1}}`, sorted."""
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
    """A short report for people."""
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
    """The report of a complete corpus, or None.

    report.json is written last: where it stands, the build finished.
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


def build(config: CorpusConfig) -> dict[str, Any]:
    """Builds a corpus, unless a complete one with these settings exists.

    Args:
        config: CorpusConfig.

    Returns:
        The report: `counts`, `settings`, `runner`, `seconds`, `warnings`, and
        `reused`, whether the corpus was there already.

    Raises:
        ValueError: the input is not usable, all documents were dropped, or
            the folder holds a corpus with other settings.
    """
    report = completed_report(config.output_dir)
    if report and not config.overwrite:
        if report["settings"] != json.loads(json.dumps(config.settings())):
            raise ValueError(
                "`output_dir` holds a corpus that was built with other "
                f"settings. Received: {config.output_dir}. Give another "
                "folder, or build anew with --overwrite."
            )
        return {**report, "reused": True}
    start = time.monotonic()
    if config.source == "files":  # bad names fail before any work
        file_access.match_files(config.files.input_files, "input_files")
    file_access.make_folder(config.output_dir)
    file_access.remove(file_access.join(config.output_dir, REPORT_FILE))
    if config.runner:
        from tfllm.data.corpus import beam  # the extra `beam`

        counts = beam.build(config)
    else:
        counts = _build_in_process(config)
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
    """Builds the default docstring corpus in a folder that has none.

    Whatever complete corpus stands there is taken as it is.

    Returns:
        The report, see `build`.
    """
    report = completed_report(output_dir)
    if report:
        return {**report, "reused": True}
    return build(CorpusConfig(output_dir))
