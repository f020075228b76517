import pathlib
import subprocess
import sys

import numpy as np

from tfllm.interop import model_folder, tf1_bert
from tfllm.interop.sources import table
from tfllm.models import FAMILIES
from tfllm.tasks import MaskedLM

_ROOT = pathlib.Path(__file__).parents[2]


def convert(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.convert_checkpoint", *arguments],
        capture_output=True,
        text=True,
        cwd=_ROOT,
        timeout=120,
    )


def test_from_tf1(tmp_path: pathlib.Path) -> None:
    task = MaskedLM(
        FAMILIES["bert"].config(
            num_layers=1, hidden_size=8, num_heads=2, vocab_size=11
        )
    )
    tf1_bert.save(task, str(tmp_path / "tf1"))
    done = convert(f"--input={tmp_path}/tf1", f"--output_dir={tmp_path}/folder")
    assert done.returncode == 0, done.stderr
    count = len(model_folder.weights.weights_of(task, FAMILIES["bert"]))
    read, left_out, compared, converted = done.stdout.splitlines()
    assert read == (
        f"read: {count} tensors of BERT, from {tmp_path}/tf1 (tf1_bert)"
    )
    assert left_out == "left out: nothing"
    # Without Transformers it says which package would do it.
    assert compared.startswith("compared: ")
    assert "transformers" in compared
    assert converted == f"converted: {tmp_path}/folder"
    loaded = model_folder.load(tmp_path / "folder")
    for first, second in zip(
        task.trainable_variables, loaded.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(first.numpy(), second.numpy())


def test_bad_flags_exit_with_one_line(tmp_path: pathlib.Path) -> None:
    for arguments, message in (
        ([f"--input={tmp_path}"], "`output_dir`"),
        (
            ["--from=model_folder", "--input=a", "--output_dir=b"],
            "`from` and `to` must differ",
        ),
        (
            ["--from=gguf", "--to=tf1_bert", "--input=a", "--output_dir=b"],
            "`from` must be model_folder",
        ),
        (
            [
                "--from=model_folder",
                "--to=tf1_bert",
                "--lower_case=true",
                "--input=a",
                "--output_dir=b",
            ],
            "`lower_case` must be auto for a model folder",
        ),
    ):
        done = convert(*arguments)
        assert done.returncode == 1
        assert message in done.stderr.strip().splitlines()[-1]


def test_flags_name_the_formats_of_the_table() -> None:
    help_text = convert("--help").stdout
    for name in (*table.SOURCES, *table.TARGETS):
        assert name in help_text
