"""Warm-up shows a server all widths of rows that run quickly."""

import os
import pathlib
import subprocess
import sys

import keras
import pytest

from tests.serving import small_models
from tests.serving.serve_process import ROOT
from tfllm.serving import row_widths
from tfllm.serving.export import export
from tfllm.serving.export_config import ExportConfig


def weights(size: int) -> list[keras.Variable]:
    """A matrix of so many weights, and a table that does not count."""
    table = keras.Variable("zeros", shape=(9999, 8), name="token_table")
    return [table, keras.Variable("zeros", shape=(size // 8, 8), name="kernel")]


def test_small_models_see_every_width() -> None:
    assert row_widths.widths(32, weights(10_000)) == [8, 16, 24, 32]
    assert row_widths.widths(30, weights(10_000)) == [8, 16, 24, 30]
    assert row_widths.widths(8192, weights(10_000))[-1] == 512


def test_large_models_see_what_they_are_quick_at() -> None:
    # 2 operations for each of 85 million weights, at each token.
    found = row_widths.widths(512, weights(85_000_000))
    assert found == [8, 16, 24, 32, 40, 48, 56]
    assert row_widths.widths(512, weights(2_000_000_000)) == []


@pytest.mark.dist
@pytest.mark.slow
def test_no_kernel_is_made_after_the_warm_up(tmp_path: pathlib.Path) -> None:
    report = export(
        ExportConfig(small_models.labelled("classification"), str(tmp_path))
    )
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "tests/serving/kernel_check.py")),
            *(report.folder, str(small_models.LENGTH - 2)),
        ],
        env={
            **os.environ,
            "DNNL_VERBOSE": "2",
            "PYTHONPATH": str(ROOT),
            "CUDA_VISIBLE_DEVICES": "-1",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    before, _, after = done.stdout.partition("WARM\n")
    if "create:cache_miss" not in before:
        pytest.skip("TensorFlow does not use oneDNN on this processor")
    made = [line for line in after.splitlines() if "create:cache_miss" in line]
    assert "exec" in after
    assert not made
