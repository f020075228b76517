"""Settings by name, as flags and records of runs have them, to configs."""

import dataclasses
from typing import Any

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.tables.config import TableConfig

_TABLE = tuple(field.name for field in dataclasses.fields(TableConfig))


def data_config(values: dict[str, Any]) -> LabelledDataConfig:
    """Returns how labelled files become batches.

    Args:
        values: By the names of the fields of LabelledDataConfig and
            TableConfig; others are passed over, missing ones have defaults.

    Raises:
        ValueError: They do not go together.
    """
    own = [field.name for field in dataclasses.fields(LabelledDataConfig)]
    settings = {name: values[name] for name in own if name in values}
    table = {name: values[name] for name in _TABLE if name in values}
    if settings.get("stride") == 0:
        settings["stride"] = None
    for name in ("labels", "choice_columns"):
        if isinstance(settings.get(name), str):
            settings[name] = _names(settings[name])
        elif name in settings:
            settings[name] = tuple(settings[name])
    return LabelledDataConfig(**{**settings, "table": TableConfig(**table)})


def evaluation_config(config: LabelledDataConfig) -> LabelledDataConfig:
    """Returns how held-out files become batches: plainly, and whole.

    No label weighs more than another, and windows are laid over texts that
    training cuts.

    Args:
        config: That of training.
    """
    stride = config.stride
    # The others lay windows anyway, or have texts that go together.
    if config.task in ("classification", "multi_label", "regression"):
        stride = stride or max(1, config.seq_length // 2)
    return dataclasses.replace(
        config, class_weights="", class_balanced=False, stride=stride
    )


def _names(text: str) -> tuple[str, ...]:
    """Returns names that commas separate."""
    return tuple(part.strip() for part in text.split(",") if part.strip())
