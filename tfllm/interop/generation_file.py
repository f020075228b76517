"""generation_config.json: how the model of a folder generates text."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from typing import TYPE_CHECKING, Any

from tfllm import file_access
from tfllm.interop.config_file import CONFIG_FILE, read_json

if TYPE_CHECKING:
    import keras

    from tfllm.models import TransformerConfig
    from tfllm.tasks import Task
    from tfllm.tasks.text_generation import TextGeneration

logger = logging.getLogger(__name__)


def write_generation_config(
    model: keras.Layer, config: TransformerConfig, folder: pathlib.Path
) -> None:
    """Writes generation_config.json.

    A task writes the defaults of its `text`. If its folder had a file that
    cannot be used, a warning says why, and nothing is written.

    Args:
        model: A task, or a bare model, whose special ids are written.
        config: Config of the model.
        folder: Existing local folder.
    """
    from tfllm.generation import GENERATION_CONFIG_FILE, GenerationConfig

    text = getattr(model, "text", None)
    if text is not None and text.refusal:
        logger.warning(
            "%s is not copied. %s", GENERATION_CONFIG_FILE, text.refusal
        )
        return
    generation = (
        GenerationConfig.from_published(_special_ids(config))
        if text is None
        else text.config
    )
    path = file_access.join(str(folder), GENERATION_CONFIG_FILE)
    with file_access.write_atomically(path) as file:
        file.write(generation.to_json())


def read_text_generation(
    folder: pathlib.Path, task: Task
) -> TextGeneration | None:
    """Returns the text generation of a task with the folder's defaults.

    Args:
        folder: Local model folder.
        task: The task, with its tokenizer.

    Returns:
        None without a tokenizer. If the defaults cannot be used, text
        generation that raises ValueError when it is called.
    """
    from tfllm.generation import GENERATION_CONFIG_FILE, GenerationConfig
    from tfllm.generation.config import left_out, with_new_lengths
    from tfllm.tasks.text_generation import TextGeneration

    if task.tokenizer is None:
        return None
    file = folder / GENERATION_CONFIG_FILE
    # Older folders have these in config.json.
    values: dict[str, Any] = dict(_special_ids(task.config))
    older = read_json(folder / CONFIG_FILE)
    ends = older.get("eos_token_id")
    if isinstance(ends, list):
        # The config of a model has only the first of them.
        values["eos_token_id"] = ends
    try:
        if file.is_file():
            values |= read_json(file)
        elif task.config.kind == "encoder_decoder":
            values |= _options(older)
        if task.config.kind == "encoder_decoder":
            values = with_new_lengths(values)
        generation = GenerationConfig.from_published(values)
        generation.check_vocabulary(task.config.vocab_size)
        text = TextGeneration(task, task.tokenizer, generation)
        text.config_for()
    except ValueError as error:
        # Training or scoring does not need the file: only generating fails.
        refusal = str(error)
        if str(file) not in refusal:
            place = file if file.is_file() else folder / CONFIG_FILE
            refusal = f"'{place}': {refusal.rstrip('.')}. Correct the file."
        return TextGeneration(task, task.tokenizer, refusal=refusal)
    if fields := left_out(values):
        logger.warning(
            "'%s' has fields that generation here does not: %s",
            file,
            ", ".join(f"{name}={value!r}" for name, value in fields.items()),
        )
    return text


def _options(values: dict[str, Any]) -> dict[str, Any]:
    """Returns what an older config.json says about generation."""
    from tfllm.generation import GenerationConfig

    names = {field.name for field in dataclasses.fields(GenerationConfig)}
    names |= {"max_length", "min_length"}
    return {k: v for k, v in values.items() if k in names and v is not None}


def _special_ids(config: TransformerConfig) -> dict[str, int | None]:
    """Returns the ids that generation needs."""
    return {
        "decoder_start_token_id": config.decoder_start_token_id,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "pad_token_id": config.pad_token_id,
    }
