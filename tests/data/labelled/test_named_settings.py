"""Settings by name become configs."""

import dataclasses

import pytest

from tfllm.data.labelled import named_settings
from tfllm.data.labelled.config import LabelledDataConfig
from tfllm.data.tables.config import TableConfig
from tfllm.runs.run_config import RunConfig


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


def test_labels_are_needed() -> None:
    named_settings.check_label_column("embedding", "")
    named_settings.check_label_column("tagging", "1")
    for task in ("regression", "tagging", "question_answering"):
        with pytest.raises(ValueError, match=f"`label_column`.*{task}"):
            named_settings.check_label_column(task, "")
        with pytest.raises(ValueError, match=f"`label_column`.*{task}"):
            RunConfig.of(
                task=task,
                label_column="",
                model_dir="m",
                train_files="f",
                tokenizer="t",
                epochs=1,
            ).check()


def test_held_out_files_are_read_plainly() -> None:
    config = LabelledDataConfig(seq_length=32, class_balanced=True)
    plain = named_settings.evaluation_config(config)
    assert plain == dataclasses.replace(config, class_balanced=False, stride=16)
    for task, stride in (
        ("tagging", 16),
        ("question_answering", 128),
        # What goes together is cut.
        ("embedding", None),
        ("multiple_choice", None),
    ):
        config = LabelledDataConfig(task=task, seq_length=32)
        plain = named_settings.evaluation_config(config)
        assert plain == dataclasses.replace(config, stride=stride)
    own = dataclasses.replace(config, stride=5)
    assert named_settings.evaluation_config(own).stride == 5
