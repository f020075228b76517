r"""Prepares training shards from text and a vocabulary.

    python -m tools.prepare_data --input_files=corpus/train.txt \
        --tokenizer=vocab.txt --output_dir=shards --workers=8

The files are the same for any number of workers. A run that was stopped
continues when the same command is given again. Train on the folder with
`--train_files=shards`. For causal language models, text is only tokenized;
rows of any length are cut in training:

    python -m tools.prepare_data --task=causal_lm --workers=8 \
        --input_files=corpus/train.txt --tokenizer=vocab --output_dir=shards
"""

from absl import flags as absl_flags
from absl import logging

import tfllm.lean_keras  # noqa: F401

# isort: split
from tfllm import flags
from tfllm.data.corpus.sources import DOCUMENT_PER
from tfllm.data.pretraining import shards, tokenize_files
from tfllm.data.pretraining.instances import PAIR_OBJECTIVES, InstanceSettings
from tfllm.data.pretraining.masking import MASKING_UNITS, MaskingConfig
from tfllm.data.pretraining.prepare import PrepareConfig, prepare
from tfllm.data.pretraining.tokenize_files import (
    TokenizeConfig,
    prepare_stream,
)

_INPUT_FILES = absl_flags.DEFINE_string(
    "input_files",
    None,
    "Text files: globs, comma-separated; .gz is read too. masked_lm: one "
    "sentence per line, documents separated by blank lines. causal_lm: see "
    "--document_per; JSONL with a field `text` as well.",
    required=True,
)
_TOKENIZER = absl_flags.DEFINE_string(
    "tokenizer",
    None,
    "Vocabulary file or tokenizer folder.",
    required=True,
)
_OUTPUT_DIR = absl_flags.DEFINE_string(
    "output_dir", None, "Folder for the shards.", required=True
)
_TASK = absl_flags.DEFINE_enum(
    "task",
    shards.TASK,
    [shards.TASK, tokenize_files.TASK],
    "What the shards are for.",
)
_DOCUMENT_PER = absl_flags.DEFINE_enum(
    "document_per",
    "blank_line",
    DOCUMENT_PER,
    "What a document of a text file is, for causal_lm.",
)
_PAIR_OBJECTIVE = absl_flags.DEFINE_enum(
    "pair_objective",
    "nsp",
    PAIR_OBJECTIVES,
    "nsp: is B the next text; sop: are A and B swapped; none: one segment.",
)
_SEQ_LENGTH = absl_flags.DEFINE_integer(
    "seq_length", 128, "Tokens per example, special tokens included."
)
_MASK_RATE = absl_flags.DEFINE_float(
    "mask_rate", 0.15, "Share of tokens to mask (static masks)."
)
_MAX_PREDICTIONS = absl_flags.DEFINE_integer(
    "max_predictions",
    None,
    "Masked tokens per example at most; default ceil(rate * seq_length).",
)
_MASKING = absl_flags.DEFINE_enum(
    "masking", "token", MASKING_UNITS, "What is masked together."
)
_STATIC_MASKS = absl_flags.DEFINE_bool(
    "static_masks",
    False,
    "Draw the masks now; otherwise training draws new ones in each epoch.",
)
_DUPE_FACTOR = absl_flags.DEFINE_integer(
    "dupe_factor", 10, "Passes over the text, each with other pairs."
)
_SHORT_SEQ_PROB = absl_flags.DEFINE_float(
    "short_seq_prob", 0.1, "Share of documents with a shorter target."
)
_SEED = absl_flags.DEFINE_integer("seed", 0, "Seed of all choices.")
_BLOCK_BYTES = absl_flags.DEFINE_integer(
    "block_bytes",
    1 << 20,
    "Text per shard, which bounds the memory, for masked_lm.",
)
_WORKERS = absl_flags.DEFINE_integer("workers", 1, "Processes.")
_OVERWRITE = absl_flags.DEFINE_bool(
    "overwrite", False, "Delete shards made with other settings."
)


# What is decided for one of the tasks alone.
_OF_ONE_TASK = {
    shards.TASK: (
        _PAIR_OBJECTIVE,
        _SEQ_LENGTH,
        _MASK_RATE,
        _MAX_PREDICTIONS,
        _MASKING,
        _STATIC_MASKS,
        _DUPE_FACTOR,
        _SHORT_SEQ_PROB,
        _SEED,
        _BLOCK_BYTES,
    ),
    tokenize_files.TASK: (_DOCUMENT_PER,),
}


def read_config() -> PrepareConfig | TokenizeConfig:
    """The flags as the typed config of the task.

    Raises:
        ValueError: A flag of another task was given.
    """
    for task, holders in _OF_ONE_TASK.items():
        for holder in holders:
            if task != _TASK.value and holder.present:
                raise ValueError(
                    f"`{holder.name}` is of --task={task}. Received: it with "
                    f"--task={_TASK.value}."
                )
    if _TASK.value == tokenize_files.TASK:
        return TokenizeConfig(
            input_files=_INPUT_FILES.value,
            tokenizer=_TOKENIZER.value,
            output_dir=_OUTPUT_DIR.value,
            document_per=_DOCUMENT_PER.value,
            workers=_WORKERS.value,
            overwrite=_OVERWRITE.value,
        )
    return PrepareConfig(
        input_files=_INPUT_FILES.value,
        tokenizer=_TOKENIZER.value,
        output_dir=_OUTPUT_DIR.value,
        instances=InstanceSettings(
            seq_length=_SEQ_LENGTH.value,
            pair_objective=_PAIR_OBJECTIVE.value,
            short_seq_prob=_SHORT_SEQ_PROB.value,
            dupe_factor=_DUPE_FACTOR.value,
            seed=_SEED.value,
        ),
        masking=MaskingConfig(
            rate=_MASK_RATE.value,
            max_predictions=_MAX_PREDICTIONS.value,
            unit=_MASKING.value,
        ),
        static_masks=_STATIC_MASKS.value,
        block_bytes=_BLOCK_BYTES.value,
        workers=_WORKERS.value,
        overwrite=_OVERWRITE.value,
    )


def main() -> None:
    """Prepares shards as the flags say."""
    config = read_config()
    if isinstance(config, TokenizeConfig):
        counts = prepare_stream(config)
        logging.info(
            "%d tokens of %d words: %s",
            counts.tokens,
            counts.words,
            config.output_dir,
        )
        return
    manifest = prepare(config)
    logging.info(
        "%d examples in %d shards: %s",
        sum(manifest.counts),
        len(manifest.counts),
        manifest.folder,
    )


if __name__ == "__main__":
    flags.run(main)
