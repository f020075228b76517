r"""Prepares training shards from text and a vocabulary.

    python -m tools.prepare_data --input_files=corpus/train.txt \
        --tokenizer=vocab.txt --output_dir=shards --workers=8

The files are the same for any number of workers. A run that was stopped
continues when the same command is given again. Train on the folder with
`--train_files=shards`.
"""

from absl import flags as absl_flags
from absl import logging

import tfllm.lean_keras  # noqa: F401

# isort: split
from tfllm import flags
from tfllm.data.pretraining.instances import PAIR_OBJECTIVES, InstanceSettings
from tfllm.data.pretraining.masking import MASKING_UNITS, MaskingConfig
from tfllm.data.pretraining.prepare import PrepareConfig, prepare

_INPUT_FILES = absl_flags.DEFINE_string(
    "input_files",
    None,
    "Text files: globs, comma-separated; one sentence per line, documents "
    "separated by blank lines; .gz is read too.",
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
    "task", "masked_lm", ["masked_lm"], "What the shards are for."
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
    "block_bytes", 1 << 20, "Text per shard, which bounds the memory."
)
_WORKERS = absl_flags.DEFINE_integer("workers", 1, "Processes.")
_OVERWRITE = absl_flags.DEFINE_bool(
    "overwrite", False, "Delete shards made with other settings."
)


def read_config() -> PrepareConfig:
    """The flags as a typed config."""
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
    manifest = prepare(read_config())
    logging.info(
        "%d examples in %d shards: %s",
        sum(manifest.counts),
        len(manifest.counts),
        manifest.folder,
    )


if __name__ == "__main__":
    flags.run(main)
