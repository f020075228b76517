r"""Prepares training shards from text and a vocabulary.

    python -m tools.prepare_data --input_files=corpus/train.txt \
        --tokenizer=vocab.txt --output_dir=shards --workers=8

The shards do not depend on the number of workers. The same command resumes a
run that was stopped. Train with `--train_files=shards`. For causal language
models text is only tokenized; training cuts it into rows of any length:

    python -m tools.prepare_data --task=causal_lm --workers=8 \
        --input_files=corpus/train.txt --tokenizer=vocab --output_dir=shards
"""

import dataclasses

from absl import logging

from tfllm.data.causal import config as causal_config
from tfllm.data.corpus.sources import DOCUMENT_PER, FilesConfig
from tfllm.data.masked import config as masked_config
from tfllm.data.masked.config import (
    DEFAULT_PAIR_OBJECTIVE,
    MASKING_UNITS,
    PAIR_OBJECTIVES,
    InstanceSettings,
    MaskingConfig,
    PrepareConfig,
)
from tfllm.data.token_stream.config import TokenizeConfig
from tfllm.runs import flags

_GROUP = flags.Group("Input and output")
_INPUT_FILES = _GROUP.string(
    "input_files",
    "",
    "Text files, plain or gzip: paths and globs, comma-separated. For "
    "masked_lm one sentence per line and blank lines between documents; for "
    "causal_lm any text, or JSONL with a field text. Needed.",
)
_TOKENIZER = _GROUP.string(
    "tokenizer",
    "",
    "Tokenizer folder, or its vocab.txt, tokenizer.json or tokenizer.model. "
    "Needed.",
)
_MODEL = _GROUP.string(
    "model",
    "",
    "Model that will train on the shards, as in --model of tfllm.train. Its "
    "family lays out rows where the tokenizer's files do not say how, and has "
    "the default of --pair_objective. Default: as the files say.",
)
_LOWER_CASE = _GROUP.choice(
    "lower_case",
    "auto",
    ("auto", "true", "false"),
    "Whether a WordPiece tokenizer lower-cases text; auto reads it from the "
    "tokenizer's files, and lower-cases with a lone vocab.txt if it has no "
    "capitals.",
)
_OUTPUT_DIR = _GROUP.string(
    "output_dir",
    "",
    "Folder to write the shards to, for --train_files of tfllm.train. Needed.",
)
_TASK = _GROUP.choice(
    "task",
    masked_config.TASK,
    (masked_config.TASK, causal_config.TASK),
    "Task to prepare data for: masked_lm as for BERT, causal_lm as for GPT-2.",
)
_WORKERS = _GROUP.integer("workers", 1, "Number of processes.")
_OVERWRITE = _GROUP.boolean(
    "overwrite",
    False,
    "Delete shards in --output_dir that were made with other settings.",
)

_GROUP = flags.Group("With --task=masked_lm")
_SEQ_LENGTH = _GROUP.integer(
    "seq_length",
    InstanceSettings.seq_length,
    "Largest number of tokens per example, including special tokens.",
)
_PAIR_OBJECTIVE = _GROUP.choice(
    "pair_objective",
    DEFAULT_PAIR_OBJECTIVE,
    PAIR_OBJECTIVES,
    "Question about two segments A and B: nsp, is B the text behind A; sop, "
    "are A and B swapped; none, one segment and no question. Default: that of "
    "the family of --model; nsp without --model.",
)
_MASKING = _GROUP.choice(
    "masking",
    MaskingConfig.unit,
    MASKING_UNITS,
    "Unit of masking: single tokens, whole words, or spans of up to three "
    "words.",
)
_MASK_RATE = _GROUP.number(
    "mask_rate",
    MaskingConfig.rate,
    "Share of the tokens to mask, above 0 and below 1.",
)
_MAX_PREDICTIONS = _GROUP.integer(
    "max_predictions",
    None,
    "Largest number of masked tokens per example. Default: --mask_rate times "
    "--seq_length, rounded up.",
)
_STATIC_MASKS = _GROUP.boolean(
    "static_masks",
    False,
    "Draw the masks now; otherwise training draws new masks in each epoch.",
)
_DUPE_FACTOR = _GROUP.integer(
    "dupe_factor",
    InstanceSettings.dupe_factor,
    "Number of passes over the text, each with different pairs.",
)
_SHORT_SEQ_PROB = _GROUP.number(
    "short_seq_prob",
    InstanceSettings.short_seq_prob,
    "Share of the documents that become shorter examples, from 0 to 1.",
)
_SEED = _GROUP.integer(
    "seed", 0, "Seed of the pairs, the lengths and static masks."
)
_BLOCK_BYTES = _GROUP.integer(
    "block_bytes",
    masked_config.DEFAULT_BLOCK_BYTES,
    "Bytes of text per shard, which each process holds in memory.",
)

_GROUP = flags.Group("With --task=causal_lm")
_DOCUMENT_PER = _GROUP.choice(
    "document_per",
    FilesConfig.document_per,
    DOCUMENT_PER,
    "Documents of a plain text file: text between blank lines, each line, or "
    "the whole file.",
)


# Task -> flags for this task only.
_FLAGS_OF_ONE_TASK = {
    masked_config.TASK: (
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
        _LOWER_CASE,
    ),
    causal_config.TASK: (_DOCUMENT_PER,),
}


def read_config() -> PrepareConfig | TokenizeConfig:
    """Returns the config of the task from the flags.

    Raises:
        ValueError: A flag is missing, or belongs to the other task.
    """
    for holder in (_INPUT_FILES, _TOKENIZER, _OUTPUT_DIR):
        if not holder.value:
            raise ValueError(
                f"`{holder.name}` is needed. Received: nothing; add "
                f"--{holder.name}=..."
            )
    for task, holders in _FLAGS_OF_ONE_TASK.items():
        for holder in holders:
            if task != _TASK.value and holder.present:
                raise ValueError(
                    f"`{holder.name}` goes with --task={task}. Received: "
                    f"--task={_TASK.value}. Leave it out, or change the task."
                )
    if _TASK.value == causal_config.TASK:
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
        lower_case={"true": True, "false": False}.get(_LOWER_CASE.value),
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


def _for_family(
    config: PrepareConfig | TokenizeConfig,
) -> PrepareConfig | TokenizeConfig:
    """Returns the config with what the family of --model says."""
    from tfllm.interop.config_file import resolve_model
    from tfllm.models import FAMILIES

    model = resolve_model(_MODEL.value)
    config = dataclasses.replace(config, spec=FAMILIES[model.family].tokenizer)
    if isinstance(config, TokenizeConfig) or _PAIR_OBJECTIVE.present:
        return config
    instances = dataclasses.replace(
        config.instances, pair_objective=model.pair_objective
    )
    return dataclasses.replace(config, instances=instances)


def main() -> None:
    """Prepares the shards."""
    config = read_config()
    # TensorFlow takes seconds to import: flags are checked before.
    import tfllm.lean_keras  # noqa: F401

    # isort: split
    from tfllm.data.masked.prepare import prepare
    from tfllm.data.token_stream.tokenize_files import prepare_stream

    if _MODEL.value:
        config = _for_family(config)
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
