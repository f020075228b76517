"""The flags of labelled files, and the configs that they become."""

import dataclasses

import pytest

from tfllm import labelled_flags
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.tables.config import TableConfig


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


def test_values_by_name() -> None:
    found = labelled_flags.data_config(
        {
            "task": "multi_label",
            "text_column": "1",
            "delimiter": "tab",
            "has_header": False,
            "labels": "a, b",
            "choice_columns": ["x", "y"],
            "stride": 0,
            "learning_rate": 1e-3,
        }
    )
    assert found == LabelledDataConfig(
        task="multi_label",
        text_column="1",
        labels=("a", "b"),
        choice_columns=("x", "y"),
        table=TableConfig(delimiter="tab", has_header=False),
    )
    with pytest.raises(ValueError, match=r"`format`.*Received: 'xml'"):
        labelled_flags.data_config({"format": "xml"})


def test_held_out_files_are_read_plainly() -> None:
    config = LabelledDataConfig(seq_length=32, class_balanced=True)
    plain = labelled_flags.evaluation_config(config)
    assert plain == dataclasses.replace(config, class_balanced=False, stride=16)
    # Their data lay windows, or cut, by themselves.
    for task in ("tagging", "question_answering", "multiple_choice"):
        config = LabelledDataConfig(task=task, seq_length=32)
        assert labelled_flags.evaluation_config(config) == config
    own = dataclasses.replace(config, stride=5)
    assert labelled_flags.evaluation_config(own).stride == 5
