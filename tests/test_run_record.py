"""The records of a run as other verbs read them."""

import json
import pathlib
import re
import typing
from typing import Any

import pytest

from tfllm import run_record, run_settings
from tfllm.runs.run_config import RunConfig

KINDS = run_settings.types()
# What version 0.1 wrote for R-Drop and adversarial training, on and off.
FLAT = {
    "r_drop": 0.5,
    "adversarial": "none",
    "adversarial_epsilon": 1.0,
    "adversarial_steps": 3,
    "adversarial_step_size": 0.1,
    "adversarial_start_size": 0.1,
}
CONFIG = RunConfig.of(
    task="tagging", model="bert:tiny", epochs=2, has_header=True, r_drop=0.5
)


def test_every_flag_has_one_place() -> None:
    """Sections share no names, and each value survives the way and back."""
    assert len(CONFIG.values) == len(run_settings.FIELDS) + len(FLAT)
    others: dict[Any, Any] = {bool: True, int: 7, float: 0.25, str: "x"}
    changed = {}
    for name, kind in KINDS.items():
        kind = (*typing.get_args(kind), kind)[0]
        changed[name] = others[kind]
    changed |= {
        "adversarial": "freelb",
        "denoising": "text_infilling",
        "mean_span_length": 2.5,
        "deterministic": False,
    }
    config = RunConfig.of(**changed)
    values = config.values
    assert {name: values[name] for name in changed} == changed
    assert RunConfig.of(**values) == config
    record = run_settings.nested(config.settings)
    assert run_settings.flat(record) == config.settings
    again = RunConfig.from_record(config.settings)
    assert again.settings == config.settings == changed
    with pytest.raises(TypeError, match="learning_rat"):
        RunConfig.of(learning_rat=1.0)


def test_a_record_has_sections(tmp_path: pathlib.Path) -> None:
    record = run_settings.nested({**CONFIG.settings, "inputs": {"a": {}}})
    assert record["task"] == "tagging"
    assert record["model"]["model"] == "bert:tiny"
    assert record["schedule"]["epochs"] == 2
    assert record["methods"] == {"r_drop": {"factor": 0.5}}
    assert record["inputs"] == {"a": {}}
    assert {*record} == {
        "task",
        "seed",
        "seeds",
        "methods",
        "inputs",
        *run_settings.SECTIONS,
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps(record))
    expected = {**CONFIG.settings, "inputs": {"a": {}}}
    assert run_record.read(str(path)) == expected
    assert run_record.read(str(tmp_path / "no.json")) is None


def test_a_flat_record_is_the_same_run(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps({**CONFIG.settings, **FLAT}))
    assert run_record.read(str(path)) == CONFIG.settings
    path.write_text(json.dumps({**CONFIG.settings, **FLAT, "r_drop": 0.0}))
    found = run_record.read(str(path))
    assert found == CONFIG.replace(r_drop=0.0).settings


def test_an_unknown_method_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "run.json"
    for methods, received in (
        ({"prune": {"share": 0.5}}, "'prune'"),
        ({"r_drop": {"power": 2}}, "['power']"),
    ):
        record = run_settings.nested(CONFIG.settings) | {"methods": methods}
        path.write_text(json.dumps(record))
        with pytest.raises(ValueError, match=re.escape(received)) as caught:
            run_record.read(str(path))
        assert str(caught.value).startswith(f"{path} is wrong: ")


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("seq_length", '"abc"', "an integer of at least 0"),
        ("seq_length", "-5", "an integer of at least 0"),
        ("seq_length", "true", "an integer of at least 0"),
        ("seq_length", "null", "an integer of at least 0"),
        ("stride", "1.5", "an integer of at least 0, or null"),
        ("warmup", "NaN", "a finite number"),
        ("epochs", '"3"', "a finite number, or null"),
        ("pad_to_max", "1", "true or false"),
        ("has_header", "0", "true or false, or null"),
        ("text_column", "0", "a text"),
        ("labels", '["a"]', "a text"),
    ],
)
def test_a_setting_of_another_type_is_refused(
    tmp_path: pathlib.Path, field: str, value: str, rule: str
) -> None:
    path = tmp_path / "run.json"
    path.write_text(f'{{"{field}": {value}}}')
    with pytest.raises(ValueError, match="Correct the file") as caught:
        run_record.read_if_whole(str(path))
    assert str(caught.value).startswith(
        f"`{field}` in {path} must be {rule}. Received: {value}. "
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("null", "it holds null, not a JSON object"),
        ("[1]", "it holds a list, not a JSON object"),
        ('{"a": 1}', "it has none of the settings of a run"),
    ],
)
def test_a_damaged_record(
    tmp_path: pathlib.Path, content: str, reason: str
) -> None:
    path = tmp_path / "run.json"
    path.write_text(content)
    with pytest.raises(run_record.DamagedRecord) as caught:
        run_record.read(str(path))
    assert caught.value.fault == f"{path} is damaged: {reason}."
