"""How files are read that have no labels."""

from typing import Any

import pytest

from tests.tasks.tiny_task import model_config
from tfllm.prediction.jobs import check_tagged_files, labelled_config
from tfllm.tasks import create


@pytest.mark.parametrize(
    ("run", "given", "expected"),
    [
        # The label's name said that there is a header.
        ({"text_column": "0", "label_column": "label"}, {}, True),
        ({"text_column": "0", "label_column": "1"}, {}, None),
        ({"text_column": "text", "label_column": "1"}, {}, True),
        (
            {"text_column": "0", "label_column": "label"},
            {"text_column": "1"},
            None,
        ),
        (
            {"text_column": "0", "label_column": "label"},
            {"has_header": False},
            False,
        ),
    ],
)
def test_a_header_is_one_without_labels_too(
    run: dict[str, Any], given: dict[str, Any], expected: bool | None
) -> None:
    task = create("classification", model_config(), labels=("a", "b"))
    found = labelled_config(task, {**run, "seq_length": 8}, given, False)
    assert found.table.has_header is expected
    assert found.label_column == ""


def test_text_files_that_may_be_conll() -> None:
    task = create("tagging", model_config(), labels=("a", "b"))
    run = {"train_files": "a.txt, b.txt", "format": "auto"}
    with pytest.raises(ValueError, match=r"Received: c\.txt.*--format=text"):
        check_tagged_files(task, run, {}, ["x.conll", "c.txt"])
    check_tagged_files(task, run, {"format": "text"}, ["c.txt"])
    check_tagged_files(task, run, {}, ["c.conll"])
    check_tagged_files(task, run, {}, [])
    check_tagged_files(task, {**run, "train_files": "a.conll"}, {}, ["c.txt"])
    check_tagged_files(task, {}, {}, ["c.jsonl"])
    # Other tasks do not read CoNLL.
    other = create("classification", model_config(), labels=("a", "b"))
    check_tagged_files(other, run, {}, ["c.txt"])
