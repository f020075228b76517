"""The flags of labelled files, and the configs that they become."""

import dataclasses

from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.tables.config import TableConfig
from tfllm.runs import labelled_flags


def test_flags_are_fields() -> None:
    fields = {
        field.name
        for config in (LabelledDataConfig, TableConfig)
        for field in dataclasses.fields(config)
    }
    assert set(labelled_flags.names()) <= fields
    table = {field.name for field in dataclasses.fields(TableConfig)}
    # Every way to read a table can be asked for.
    assert table <= set(labelled_flags.names())
