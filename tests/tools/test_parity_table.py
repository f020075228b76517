"""The tables that tools/parity_table.py prints."""

import pathlib
import re

import pytest

from tools import parity_cases, parity_compare, parity_table


@pytest.mark.live_parity
def test_tables(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: pathlib.Path,
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    case = ("qwen2", "causal_lm", "default")
    monkeypatch.setattr(parity_cases, "parameters", lambda: [case])
    default = parity_cases.configs("qwen2")["default"]
    monkeypatch.setattr(
        parity_cases, "configs", lambda family: {"default": default}
    )
    file = tmp_path / "results.json"
    parity_table.update(file, "qwen2", ["outputs"])
    parity_table.update(file, "qwen2", ["tokens"])
    assert parity_table.show(parity_table.read(file), ["qwen2"]) == 0
    printed = capsys.readouterr().out
    row = r"\| qwen2 \| causal_lm \| default \| right, left \| \d\.\de-\d\d \|"
    assert re.search(row, printed)
    assert "| qwen2 | default | 16 of 16 | 16 of 16 |" in printed
    # A difference is counted.
    monkeypatch.setattr(
        parity_compare, "largest_difference", lambda *arguments: 2e-5
    )
    parity_table.update(file, "qwen2", ["outputs"])
    assert parity_table.show(parity_table.read(file), ["qwen2"]) == 1


@pytest.mark.live_parity
@pytest.mark.wide
def test_folders_and_lines(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    file = tmp_path / "results.json"
    parity_table.update(file, "bert", ["folders", "lines"])
    results = parity_table.read(file)
    assert len(results["folders"]["bert"]) > 9
    assert parity_table.show(results, ["bert"]) == 0
