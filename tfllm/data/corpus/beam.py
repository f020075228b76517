r"""Builds a corpus with Apache Beam, on more than one machine.

The steps are those of `builder.py`, with the same functions; this module only
distributes them. As no step depends on the order of documents, the result has
the same documents and counts; their order in the files is Beam's. Each file is
read by one worker: split very large ones. Needs the extra `beam`.

    records -> lines in many documents (side input)
    records -> clean -> one per content hash -> LSH buckets -> hashes to drop
                                            \-> documents but those -> files
"""

import collections
import functools
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tfllm import file_access
from tfllm.data.corpus import builder, cleaning, near_duplicates, sources
from tfllm.data.corpus.builder import CorpusConfig, Record

_Count = tuple[str, int]
_COUNTS = "counts"  # side output of every step


def import_beam() -> Any:
    """Imports Apache Beam, which only this module needs.

    Raises:
        ValueError: Apache Beam is not installed.
    """
    try:
        import apache_beam
    except ImportError as error:
        raise ValueError(
            "`runner` needs Apache Beam, which is not installed. Received: "
            f"{error}. Install it with: pip install 'tfllm[beam]', or leave "
            "--runner out to build in this process."
        ) from error
    return apache_beam


# --- Steps on single elements, as plain functions ----------------------------


@functools.lru_cache(maxsize=1)
def _hasher(
    config: near_duplicates.NearDuplicateConfig,
) -> near_duplicates.MinHasher:
    """Returns the hasher of this worker process."""
    return near_duplicates.MinHasher(config)


def _read(path: str, config: CorpusConfig) -> Iterator[Record | _Count]:
    """Yields the records of a file, then its counts as (name, count)."""
    reader = sources.RecordReader(config.files)
    yield from reader.read(path)
    yield from reader.counts.items()


def _lines(record: Record, config: CorpusConfig) -> tuple[int, tuple[int, ...]]:
    """Returns the hashes of a document and of its repeatable lines."""
    text = cleaning.Cleaner(config.cleaning).normalize(record)
    lines = cleaning.repeatable_lines(text)
    return (
        cleaning.content_hash(text),
        tuple({cleaning.line_hash(line) for line in lines}),
    )


def _clean(
    record: Record, repeated: frozenset[int], config: CorpusConfig
) -> Iterator[tuple[int, str] | _Count]:
    """Yields (content hash, document) unless dropped, then counts."""
    cleaner = cleaning.Cleaner(config.cleaning, repeated)
    text = cleaner.clean(record)
    if text is not None:
        yield cleaning.content_hash(text), text
    yield from cleaner.counts.items()


def _one_copy(
    element: tuple[int, Iterable[str]],
) -> Iterator[tuple[int, str] | _Count]:
    """Yields one of several equal documents, then counts of the others."""
    identity, texts = element
    copies = 0
    text = ""
    for text in texts:  # noqa: B007 - all copies are equal
        copies += 1
    yield identity, text
    if copies > 1:
        yield "dropped/exact_duplicate/documents", copies - 1
        yield (
            "dropped/exact_duplicate/characters",
            (copies - 1) * len(text),
        )


def _buckets(
    element: tuple[int, str], config: CorpusConfig
) -> Iterator[tuple[tuple[int, int], tuple[int, bytes]]]:
    """Yields ((band, key), (content hash, signature)) for each band."""
    identity, text = element
    settings = config.near_duplicates
    signature = _hasher(settings).signature(text)
    for band in range(settings.num_bands):
        key = near_duplicates.band_keys(signature[None], band, settings)
        yield (band, int(key[0])), (identity, signature.tobytes())


def _near_duplicates(
    element: tuple[tuple[int, int], Iterable[tuple[int, bytes]]],
    config: CorpusConfig,
) -> list[int]:
    """Returns the hashes to drop from a bucket."""
    members = list(element[1])
    if len(members) < 2:
        return []
    hashes = np.array([identity for identity, _ in members], np.uint64)
    table = np.frombuffer(b"".join(s for _, s in members), np.uint32)
    dropped = near_duplicates.duplicates_in_bucket(
        hashes,
        table.reshape(len(members), -1),
        config.near_duplicates.threshold,
    )
    return [int(identity) for identity in dropped]


def _split(
    element: tuple[int, dict[str, Iterable[Any]]], config: CorpusConfig
) -> Iterator[tuple[str, str] | _Count]:
    """Yields ("train" or "heldout", document) unless dropped, then counts."""
    _, joined = element
    (text,) = joined["documents"]
    if list(joined["dropped"]):
        yield "dropped/near_duplicate/documents", 1
        yield "dropped/near_duplicate/characters", len(text)
        return
    held = cleaning.heldout_value(text) < config.heldout_fraction
    split = "heldout" if held else "train"
    yield split, text
    yield from builder.count_output(split, text).items()


# --- Steps as transforms of Beam ----------------------------------------------


class _Pipeline:
    """Applies the steps to collections, and gathers their counts.

    Args:
        beam: The apache_beam module.
        config: What to build.
    """

    def __init__(self, beam: Any, config: CorpusConfig) -> None:
        self.beam = beam
        self.config = config
        self._counts: list[Any] = []

    def counted(self, items: Any, label: str, step: Any, *args: Any) -> Any:
        """Applies a step that yields elements and (name, count) pairs."""
        beam = self.beam

        def tagged(element: Any, *rest: Any) -> Iterator[Any]:
            for item in step(element, *rest):
                is_count = (
                    isinstance(item, tuple)
                    and isinstance(item[0], str)
                    and isinstance(item[1], int)
                )
                yield (
                    beam.pvalue.TaggedOutput(_COUNTS, item)
                    if is_count
                    else item
                )

        outputs = items | label >> beam.FlatMap(tagged, *args).with_outputs(
            _COUNTS, main="items"
        )
        self._counts.append(outputs[_COUNTS])
        return outputs["items"]

    def repeated_lines(self, records: Any) -> Any:
        """Returns a singleton of the hashes of lines in very many documents."""
        beam, config = self.beam, self.config
        distinct = (
            records
            | "HashLines" >> beam.Map(_lines, config)
            | "DistinctForLines" >> beam.Distinct()
        )
        total = distinct | "CountDocuments" >> beam.combiners.Count.Globally()

        def is_repeated(item: tuple[int, int], documents: int) -> bool:
            return item[1] >= builder.boilerplate_threshold(
                config.cleaning, documents
            )

        lines = (
            distinct
            | "Lines" >> beam.FlatMap(lambda item: item[1])
            | "CountLines" >> beam.combiners.Count.PerElement()
            | "Repeated"
            >> beam.Filter(is_repeated, beam.pvalue.AsSingleton(total))
            | "Hashes" >> beam.Keys()
        )
        self._counts.append(
            lines | "CountRepeated" >> beam.Map(lambda _: ("repeated_lines", 1))
        )
        return (
            lines
            | "ToList" >> beam.combiners.ToList()
            | "ToSet" >> beam.Map(frozenset)
        )

    def without_duplicates(self, documents: Any) -> Any:
        """Returns documents by split, without exact and near duplicates."""
        beam, config = self.beam, self.config
        grouped = documents | "ByContent" >> beam.GroupByKey()
        single = self.counted(grouped, "ExactDuplicates", _one_copy)
        dropped = (
            single
            | "Buckets"
            >> beam.FlatMap(
                _buckets if config.near_duplicates.threshold else _no_buckets,
                config,
            )
            | "ByBucket" >> beam.GroupByKey()
            | "NearDuplicates" >> beam.FlatMap(_near_duplicates, config)
            | "DistinctDropped" >> beam.Distinct()
            | "KeyDropped" >> beam.Map(lambda identity: (identity, True))
        )
        joined = {
            "documents": single,
            "dropped": dropped,
        } | "Join" >> beam.CoGroupByKey()
        return self.counted(joined, "Split", _split, config)

    def write(self, documents: Any, split: str, name: str) -> None:
        """Writes a split to a file with a temporary name."""
        beam = self.beam
        _ = (
            documents
            | f"Only_{split}" >> beam.Filter(lambda item: item[0] == split)
            | f"Text_{split}" >> beam.Map(lambda item: item[1] + "\n")
            | f"Write_{split}"
            >> beam.io.WriteToText(
                _temporary(self.config, name),
                num_shards=1,
                shard_name_template="",
            )
        )

    def write_counts(self) -> None:
        """Writes the sums of all counts to a temporary file, as JSON lines."""
        beam = self.beam
        _ = (
            self._counts
            | "AllCounts" >> beam.Flatten()
            | "SumCounts" >> beam.CombinePerKey(sum)
            | "CountsAsJson" >> beam.Map(json.dumps)
            | "WriteCounts"
            >> beam.io.WriteToText(
                _temporary(self.config, builder.REPORT_FILE),
                num_shards=1,
                shard_name_template="",
            )
        )


def _no_buckets(element: Any, config: CorpusConfig) -> tuple[()]:
    """Replaces `_buckets` if near duplicates are kept."""
    return ()


def _temporary(config: CorpusConfig, name: str) -> str:
    """Returns the temporary path of an output file."""
    return file_access.join(config.output_dir, f"{name}.{os.getpid()}.tmp")


def build(config: CorpusConfig) -> collections.Counter[str]:
    """Builds the corpus files of `config` with Beam.

    Args:
        config: What to build; `runner` names the Beam runner.

    Returns:
        The counts, by the names of the in-process build.

    Raises:
        ValueError: Beam is not installed, or the input cannot be used.
    """
    beam = import_beam()
    source_counts: dict[str, int] = {}
    source: list[Any]
    if config.source == "docstrings":
        source, counted = builder.docstring_documents(config)
        source_counts.update({f"source/{n}": c for n, c in counted.items()})
    else:
        source = file_access.match_files(
            config.files.input_files, "input_files"
        )
        source_counts["source/files"] = len(source)
    options = beam.options.pipeline_options.PipelineOptions(
        [], runner=config.runner, save_main_session=False
    )
    with beam.Pipeline(options=options) as pipeline:
        steps = _Pipeline(beam, config)
        records = (
            pipeline
            | "Source" >> beam.Create(source)
            | "Spread" >> beam.Reshuffle()
        )
        if config.source == "files":
            records = steps.counted(records, "Read", _read, config)
        repeated: Any = frozenset()
        if config.cleaning.boilerplate_fraction:
            repeated = beam.pvalue.AsSingleton(steps.repeated_lines(records))
        cleaned = steps.counted(records, "Clean", _clean, repeated, config)
        kept = steps.without_duplicates(cleaned)
        steps.write(kept, "train", builder.TRAIN_FILE)
        steps.write(kept, "heldout", builder.HELDOUT_FILE)
        steps.write_counts()
    counts: collections.Counter[str] = collections.Counter(source_counts)
    path = _temporary(config, builder.REPORT_FILE)
    with file_access.open_binary(path) as file:
        counts.update(dict(json.loads(line) for line in file))
    file_access.remove(path)
    counts.setdefault("repeated_lines", 0)
    for name in (builder.TRAIN_FILE, builder.HELDOUT_FILE):
        target = file_access.join(config.output_dir, name)
        file_access.rename(_temporary(config, name), target)
    return counts
