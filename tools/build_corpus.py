r"""Builds a cleaned pretraining corpus from docstrings or the user's files.

    python -m tools.build_corpus --output_dir=corpus
    python -m tools.build_corpus --source=files --input_files='text/*.txt.gz' \
        --output_dir=corpus

Writes train.txt and heldout.txt (one sentence per line, documents separated
by blank lines) and report.json. The first form needs no network and no files:
it takes the docstrings of the installed Python packages.
"""

from absl import flags as absl_flags

from tfllm import flags
from tfllm.data.bad_records import ON_BAD_RECORD
from tfllm.data.corpus import builder, sources
from tfllm.data.corpus.cleaning import UNICODE_FORMS, CleaningConfig
from tfllm.data.corpus.near_duplicates import NearDuplicateConfig

_CLEANING, _FILES = CleaningConfig(), sources.FilesConfig()
_NEAR = NearDuplicateConfig()

# Input and output.
_SOURCE = absl_flags.DEFINE_enum(
    "source",
    "docstrings",
    builder.SOURCES,
    "Text of the installed Python packages, or your files.",
)
_INPUT_FILES = absl_flags.DEFINE_string(
    "input_files",
    "",
    "Text or JSONL files, plain or gzip: paths and globs, comma-separated.",
)
_OUTPUT_DIR = absl_flags.DEFINE_string(
    "output_dir", None, "Folder for train.txt, heldout.txt, report.json."
)
_OVERWRITE = absl_flags.DEFINE_bool(
    "overwrite", False, "Build again over a complete corpus."
)
_HELDOUT_FRACTION = absl_flags.DEFINE_float(
    "heldout_fraction", 0.02, "Share of the documents for heldout.txt."
)
_RUNNER = absl_flags.DEFINE_string(
    "runner",
    "",
    "Apache Beam runner, such as DirectRunner; default: in this process.",
)

# Reading files.
_DOCUMENT_PER = absl_flags.DEFINE_enum(
    "document_per",
    _FILES.document_per,
    sources.DOCUMENT_PER,
    "What a document of a plain text file is; a whole file must fit in memory.",
)
_TEXT_FIELD = absl_flags.DEFINE_string(
    "text_field", _FILES.text_field, "Field of a JSONL record with the text."
)
_ON_BAD_RECORD = absl_flags.DEFINE_enum(
    "on_bad_record",
    _FILES.on_bad_record,
    ON_BAD_RECORD,
    "Stop at a JSONL record that does not parse, or skip and count it.",
)

# Cleaning; a limit of 0 is off.
_UNICODE_FORM = absl_flags.DEFINE_enum(
    "unicode_form",
    _CLEANING.unicode_form,
    UNICODE_FORMS,
    "Unicode normalisation.",
)
_MIN_CHARS = absl_flags.DEFINE_integer(
    "min_chars", _CLEANING.min_characters, "Shorter documents are dropped."
)
_MAX_CHARS = absl_flags.DEFINE_integer(
    "max_chars", _CLEANING.max_characters, "Longer documents are dropped."
)
_MIN_WORDS = absl_flags.DEFINE_integer(
    "min_words", _CLEANING.min_words, "As --min_chars, in words."
)
_MAX_WORDS = absl_flags.DEFINE_integer(
    "max_words", _CLEANING.max_words, "As --max_chars, in words."
)
_MAX_SYMBOL_RATIO = absl_flags.DEFINE_float(
    "max_symbol_ratio",
    _CLEANING.max_symbol_ratio,
    "Documents with a larger share of symbols are dropped.",
)
_BOILERPLATE_RULES = absl_flags.DEFINE_bool(
    "boilerplate_rules",
    _CLEANING.boilerplate_rules,
    "Remove page numbers, copyright and cookie lines, Gutenberg licences.",
)
_BOILERPLATE_FRACTION = absl_flags.DEFINE_float(
    "boilerplate_fraction",
    _CLEANING.boilerplate_fraction,
    "Remove lines that stand in more than this share of the documents.",
)
_NEAR_DUPLICATE_THRESHOLD = absl_flags.DEFINE_float(
    "near_duplicate_threshold",
    _NEAR.threshold,
    "Similarity (Jaccard, of word 5-grams) from which documents are dropped.",
)


def corpus_config() -> builder.CorpusConfig:
    """The settings that the flags say."""
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
    """Builds the corpus that the flags say."""
    config = corpus_config()
    report = builder.build(config)
    if report["reused"]:
        print(
            f"{config.output_dir} holds this corpus already: nothing to do "
            "(--overwrite builds it again)."
        )
    else:
        print(builder.format_report(report))
        print(f"corpus: {config.output_dir}")


if __name__ == "__main__":
    flags.run(main)
