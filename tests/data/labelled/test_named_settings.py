"""Settings by name become configs."""

import dataclasses

import pytest

from tfllm.data.labelled import named_settings
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.tables.config import TableConfig


def test_values_by_name() -> None:
    found = named_settings.data_config(
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
        named_settings.data_config({"format": "xml"})


def test_held_out_files_are_read_plainly() -> None:
    config = LabelledDataConfig(seq_length=32, class_balanced=True)
    plain = named_settings.evaluation_config(config)
    assert plain == dataclasses.replace(config, class_balanced=False, stride=16)
    # Their data lay windows, or cut, by themselves.
    for task in ("tagging", "question_answering", "multiple_choice"):
        config = LabelledDataConfig(task=task, seq_length=32)
        assert named_settings.evaluation_config(config) == config
    own = dataclasses.replace(config, stride=5)
    assert named_settings.evaluation_config(own).stride == 5
