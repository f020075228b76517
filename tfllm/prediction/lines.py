"""Settings to read lines without a header, by the form that a task needs."""

from collections.abc import Mapping
from typing import Any

from tfllm.tasks import Task

# Fields of LabelledDataConfig and TableConfig.
Settings = dict[str, Any]

_TEXT = {"format": "text", "text_column": "text", "text_pair_column": ""}
_PAIR = {
    "format": "tsv",
    "delimiter": "tab",
    "has_header": False,
    "text_column": "0",
    "text_pair_column": "1",
}


def texts(task: Task, settings: Mapping[str, Any]) -> Settings:
    """Returns settings for reading files with one text per line."""
    return _TEXT


def pairs(task: Task, settings: Mapping[str, Any]) -> Settings:
    """Returns settings for two texts per line, with a tab between them."""
    return _PAIR


def texts_or_pairs(task: Task, settings: Mapping[str, Any]) -> Settings:
    """Returns settings for as many texts per line as the run had."""
    return _PAIR if settings.get("text_pair_column") else _TEXT


def objects(task: Task, settings: Mapping[str, Any]) -> Settings:
    """Returns settings for a JSON object per line."""
    return {"format": "jsonl"}


def sentences(task: Task, settings: Mapping[str, Any]) -> Settings:
    """Returns settings for sentences; JSON objects if they have predicates."""
    if not task.with_predicates:
        return texts_or_pairs(task, settings)
    return {
        "format": "jsonl",
        "text_column": "text",
        "predicate_column": "predicate",
    }
