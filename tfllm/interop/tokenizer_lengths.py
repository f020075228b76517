"""Takes the default row length from the tokenizer files of a folder."""

import logging
import pathlib
from typing import TYPE_CHECKING

from tfllm.interop.config_file import read_json

if TYPE_CHECKING:
    from tfllm.tasks import Task

logger = logging.getLogger(__name__)


def heed(folder: pathlib.Path, task: "Task") -> None:
    """Makes `model_max_length` of the tokenizer the default row length.

    As in Transformers, a call may ask for longer rows, up to those of the
    model, and `truncation` in tokenizer.json is ignored; a shorter one is
    logged. `padding` there does not change results.

    Args:
        folder: Local model folder.
        task: The task whose `usual_length` is set.

    Raises:
        ValueError: The length is not a positive number, or a file is damaged.
    """
    length = _read_length(folder)
    lengths = [n for n in (length, task.usual_length) if n is not None]
    task.usual_length = min(lengths, default=None)
    file = folder / "tokenizer.json"
    cut = (read_json(file).get("truncation") or {}) if file.is_file() else {}
    shorter = cut.get("max_length")
    usual = [n for n in (task.usual_length, task.config.max_length) if n]
    if isinstance(shorter, int) and shorter < min(usual, default=2**31):
        logger.warning(
            "`truncation` in '%s' cuts rows to %d tokens. It is passed over, "
            "as in Transformers; `seq_length` gives the length of rows.",
            file,
            shorter,
        )


def _read_length(folder: pathlib.Path) -> int | None:
    """Returns `model_max_length`; None without a limit."""
    file = folder / "tokenizer_config.json"
    values = read_json(file) if file.is_file() else {}
    length = values.get("model_max_length")
    if length is None:
        return None
    is_number = isinstance(length, int | float) and not isinstance(length, bool)
    if not is_number or not length >= 1:
        raise ValueError(
            f"`model_max_length` in '{file}' must be a number of at least 1. "
            f"Received: {length!r}. Correct the file, or remove this field."
        )
    # Tokenizers without a limit store 10 ** 30.
    return int(length) if length < 2**31 else None
