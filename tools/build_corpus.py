r"""Builds a cleaned pretraining corpus from docstrings or text files.

    python -m tools.build_corpus --output_dir=corpus
    python -m tools.build_corpus --source=files --input_files='text/*.txt.gz' \
        --output_dir=corpus

Writes train.txt and heldout.txt (one sentence per line, documents separated by
blank lines) and report.json. Without --source it needs neither network nor
files: it reads the docstrings of the installed Python packages.
"""

from tfllm.data.bad_records import ON_BAD_RECORD
from tfllm.data.corpus import beam, builder, sources
from tfllm.data.corpus.cleaning import UNICODE_FORMS, CleaningConfig
from tfllm.data.corpus.near_duplicates import NearDuplicateConfig
from tfllm.runs import flags

_CLEANING, _FILES = CleaningConfig(), sources.FilesConfig()
_NEAR = NearDuplicateConfig()

_GROUP = flags.Group("Input and output")
_SOURCE = _GROUP.choice(
    "source",
    "docstrings",
    builder.SOURCES,
    "Source of the text: docstrings of the installed Python packages, or "
    "files.",
)
_INPUT_FILES = _GROUP.string(
    "input_files",
    "",
    "Text or JSONL files, plain or gzip: paths and globs, comma-separated. "
    "Needed with --source=files.",
)
_OUTPUT_DIR = _GROUP.string(
    "output_dir",
    None,
    "Folder for train.txt, heldout.txt and report.json. Needed.",
)
_HELDOUT_FRACTION = _GROUP.number(
    "heldout_fraction",
    0.02,
    "Share of the documents to write to heldout.txt, from 0 to 1.",
)
_RUNNER = _GROUP.string(
    "runner",
    "",
    "Apache Beam runner, such as DirectRunner; needs the extra beam. Default: "
    "run in this process, without Beam.",
)
_OVERWRITE = _GROUP.boolean(
    "overwrite",
    False,
    "Build again, even if --output_dir already holds this corpus.",
)

_GROUP = flags.Group("Reading files")
_DOCUMENT_PER = _GROUP.choice(
    "document_per",
    _FILES.document_per,
    sources.DOCUMENT_PER,
    "Documents of a plain text file: text between blank lines, each line, or "
    "the whole file, which must then fit in memory.",
)
_TEXT_FIELD = _GROUP.string(
    "text_field",
    _FILES.text_field,
    "Field of a JSONL record that holds the text.",
)
_ON_BAD_RECORD = _GROUP.choice(
    "on_bad_record",
    _FILES.on_bad_record,
    ON_BAD_RECORD,
    "Handling of JSONL records that cannot be read: fail stops with an error, "
    "skip leaves them out and counts them.",
)

_GROUP = flags.Group("Cleaning (0 turns a limit off)")
_UNICODE_FORM = _GROUP.choice(
    "unicode_form",
    _CLEANING.unicode_form,
    UNICODE_FORMS,
    "Unicode normalization form of the text; none leaves it as it is.",
)
_MIN_CHARS = _GROUP.integer(
    "min_chars",
    _CLEANING.min_characters,
    "Drop documents with fewer characters.",
)
_MAX_CHARS = _GROUP.integer(
    "max_chars",
    _CLEANING.max_characters,
    "Drop documents with more characters.",
)
_MIN_WORDS = _GROUP.integer(
    "min_words",
    _CLEANING.min_words,
    "Drop documents with fewer words.",
)
_MAX_WORDS = _GROUP.integer(
    "max_words",
    _CLEANING.max_words,
    "Drop documents with more words.",
)
_MAX_SYMBOL_RATIO = _GROUP.number(
    "max_symbol_ratio",
    _CLEANING.max_symbol_ratio,
    "Drop documents with a larger share of symbols among their characters, "
    "from 0 to 1.",
)
_BOILERPLATE_RULES = _GROUP.boolean(
    "boilerplate_rules",
    _CLEANING.boilerplate_rules,
    "Remove page numbers, copyright and cookie lines, and the licences of "
    "Project Gutenberg.",
)
_BOILERPLATE_FRACTION = _GROUP.number(
    "boilerplate_fraction",
    _CLEANING.boilerplate_fraction,
    "Remove lines that occur in a larger share of the documents, from 0 to 1.",
)
_NEAR_DUPLICATE_THRESHOLD = _GROUP.number(
    "near_duplicate_threshold",
    _NEAR.threshold,
    "Drop near duplicates: documents whose word 5-grams have at least this "
    "Jaccard similarity, from 0 to 1, to those of an earlier document.",
)


def corpus_config() -> builder.CorpusConfig:
    """Returns the config from the flags."""
    if not _OUTPUT_DIR.value:
        raise ValueError(
            "`output_dir` must name a folder. Received: nothing. "
            "Add --output_dir=FOLDER."
        )
    return builder.CorpusConfig(
        output_dir=_OUTPUT_DIR.value,
        source=_SOURCE.value,
        files=sources.FilesConfig(
            input_files=_INPUT_FILES.value,
            document_per=_DOCUMENT_PER.value,
            text_field=_TEXT_FIELD.value,
            on_bad_record=_ON_BAD_RECORD.value,
        ),
        cleaning=CleaningConfig(
            unicode_form=_UNICODE_FORM.value,
            min_characters=_MIN_CHARS.value,
            max_characters=_MAX_CHARS.value,
            min_words=_MIN_WORDS.value,
            max_words=_MAX_WORDS.value,
            max_symbol_ratio=_MAX_SYMBOL_RATIO.value,
            boilerplate_rules=_BOILERPLATE_RULES.value,
            boilerplate_fraction=_BOILERPLATE_FRACTION.value,
        ),
        near_duplicates=NearDuplicateConfig(
            threshold=_NEAR_DUPLICATE_THRESHOLD.value
        ),
        heldout_fraction=_HELDOUT_FRACTION.value,
        runner=_RUNNER.value,
        overwrite=_OVERWRITE.value,
    )


def main() -> None:
    """Builds the corpus."""
    config = corpus_config()
    report = builder.build(config, beam.build if config.runner else None)
    if report["reused"]:
        print(f"{config.output_dir} holds this corpus already: nothing to do.")
    else:
        print(builder.format_report(report))
        print(f"corpus: {config.output_dir}")


if __name__ == "__main__":
    flags.run(main)
