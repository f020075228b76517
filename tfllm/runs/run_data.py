"""The files of a run: corpus, vocabulary, training data, held-out data."""

import logging
import os
from collections.abc import Mapping

import tensorflow as tf

from tfllm.data import fingerprints, prepared_folder
from tfllm.data.corpus.builder import ensure_docstring_corpus
from tfllm.data.labelled.batches import LabelledData
from tfllm.data.open_data import Data, open_data
from tfllm.data.tables.row import TFDS_PREFIX
from tfllm.data.vocabularies.train import train as train_tokenizer
from tfllm.file_access import match_files
from tfllm.interop.config_file import family_of, resolve_model
from tfllm.models import FAMILIES
from tfllm.runs import starting_point
from tfllm.runs.run_config import RunConfig
from tfllm.runs.starting_point import StartingPoint

# As the train verb logs: its user sees one program.
logger = logging.getLogger("tfllm.train")

# Flags that name files.
FILES = ("train_files", "eval_files")


def ensure_text(config: RunConfig) -> None:
    """Builds a missing corpus or vocabulary, as `corpus_source` says.

    Args:
        config: RunConfig.
    """
    if config.text.corpus_source != "docstrings":
        return
    files = [file for flag in FILES if (file := config.value_of(flag))]
    if not all(tf.io.gfile.exists(file) for file in files):
        corpus = os.path.dirname(config.data.train_files)
        logger.info(
            "No corpus in %s: building it from the docstrings of the "
            "installed packages.",
            corpus,
        )
        ensure_docstring_corpus(corpus)
    if not tf.io.gfile.exists(config.model.tokenizer):
        logger.info(
            "No vocabulary in %s: training one of %d entries on %s.",
            config.model.tokenizer,
            config.text.vocab_size,
            config.data.train_files,
        )
        _train_vocabulary(config)


def _train_vocabulary(config: RunConfig) -> None:
    """Trains a vocabulary of the kind that the model reads."""
    name = (
        config.model.model
        or config.model.init_from
        or starting_point.DEFAULT_MODEL
    )
    family = family_of(name) or FAMILIES[resolve_model(name).family]
    train_tokenizer(
        config.data.train_files,
        config.model.tokenizer,
        family.tokenizer,
        config.text.vocab_size,
    )


def check_files(config: RunConfig) -> None:
    """Raises ValueError unless every pattern matches files or a folder."""
    for flag in FILES:
        files = config.value_of(flag)
        if not files or files.startswith(TFDS_PREFIX):
            continue
        if config.is_labelled or not prepared_folder.is_prepared(files):
            match_files(files, flag)


def fingerprints_of(
    config: RunConfig, start: StartingPoint
) -> dict[str, dict[str, str]]:
    """Returns fingerprints of the inputs, to tell whether they changed.

    Args:
        config: RunConfig.
        start: Its starting point.

    Returns:
        Name of the input -> file -> fingerprint.
    """
    origin = config.model.tokenizer or config.model.init_from
    inputs = {"tokenizer": {origin: start.tokenizer.vocab_hash()[:16]}}
    for flag in FILES:
        if files := config.value_of(flag):
            inputs[flag] = fingerprints.of_files(files, flag)
    return inputs


def open_files(
    config: RunConfig, start: StartingPoint
) -> tuple[Data, Data | None]:
    """Opens the training data and the held-out data.

    Args:
        config: RunConfig.
        start: Its starting point.

    Returns:
        Training data; held-out data, or None without `eval_files`.
    """
    index_dir = os.path.join(config.model_dir, "data_index")
    data = _open_train_files(config, start, index_dir)
    logger.info(
        "%d training examples, %d steps per epoch.",
        data.num_examples,
        data.steps_per_epoch,
    )
    if data.is_labelled and data.tag_scheme:
        logger.info("The tags follow %s.", data.tag_scheme)
    if not config.data.eval_files:
        return data, None
    held_out = open_data(
        config.task,
        config.data.eval_files,
        start.tokenizer,
        config.data_kind.for_model(
            config.evaluation_data(data.labels if data.is_labelled else ()),
            start.model,
        ),
        index_dir,
        flag="eval_files",
    )
    if held_out.is_labelled:
        _log_skipped(held_out.skipped)
    return data, held_out


def _open_train_files(
    config: RunConfig, start: StartingPoint, index_dir: str
) -> Data:
    """Returns the training data, with labels in the order of the model."""
    data = open_data(
        config.task,
        config.data.train_files,
        start.tokenizer,
        config.data_kind.for_model(config.data_config(), start.model),
        index_dir,
    )
    if not data.is_labelled:
        return data
    _log_skipped(data.skipped)
    labels = start.label_order(data.labels)
    if config.labelled.labels or labels == data.labels:
        return data
    return LabelledData(
        data.records,
        start.tokenizer,
        config.labelled_config(labels),
        data.skipped,
    )


def _log_skipped(skipped: Mapping[str, int]) -> None:
    """Logs the number of records that were skipped, by file."""
    for file, count in sorted(skipped.items()):
        logger.info("Skipped %d bad records of %s.", count, file)
