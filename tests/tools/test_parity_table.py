"""The tables that tools/parity_table.py prints."""

import re

import pytest

from tools import parity_cases, parity_table


@pytest.mark.live_parity
def test_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    case = ("qwen2", "causal_lm", "default")
    monkeypatch.setattr(parity_cases, "parameters", lambda: [case])
    default = parity_cases.configs("qwen2")["default"]
    monkeypatch.setattr(
        parity_cases, "configs", lambda family: {"default": default}
    )
    assert parity_table.compare(["qwen2"]) == 0
    printed = capsys.readouterr().out
    row = r"\| qwen2 \| causal_lm \| default \| right, left \| \d\.\de-\d\d \|"
    assert re.search(row, printed)
    assert "| qwen2 | default | 16 of 16 | 16 of 16 |" in printed
    # A difference is counted.
    monkeypatch.setattr(
        parity_cases, "largest_difference", lambda *arguments: 2e-5
    )
    assert parity_table.compare(["qwen2"]) == 1
