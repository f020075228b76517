"""What `import tfllm` offers, before anything else is imported."""

import inspect
import pathlib
import subprocess
import sys

import pytest

import tfllm
from tfllm.data.vocabularies import byte_bpe

NAMES = [
    "data",
    "layers",
    "load",
    "models",
    "pipeline",
    "save",
    "tasks",
    "tokenizers",
]

ALONE = """
import sys
import tfllm
heavy = {"tensorflow", "keras", "torch", "tf_keras", "transformers"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert set(tfllm.__all__) <= set(dir(tfllm))
for name in tfllm.__all__:
    print(name, getattr(tfllm, name).__name__)
"""


def test_names_resolve_after_a_plain_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"{name} {name}"
        if name in ("load", "pipeline", "save")
        else f"{name} tfllm.{name}"
        for name in NAMES
    ]


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="'tfllm' has no attribute 'loda'"):
        _ = tfllm.loda  # type: ignore[attr-defined]
    with pytest.raises(AttributeError, match="has no attribute 'opne'"):
        _ = tfllm.data.opne  # type: ignore[attr-defined]


def test_data_open(tmp_path: pathlib.Path) -> None:
    (tmp_path / "train.txt").write_text("ab cd\n\nef gh\n")
    tokenizer = byte_bpe.train(
        str(tmp_path / "train.txt"),
        str(tmp_path / "bytes"),
        byte_bpe.ByteBPETrainingConfig(vocab_size=257),
    )
    assert set(tfllm.data.__all__) <= set(dir(tfllm.data))
    data = tfllm.data.open(
        "causal_lm",
        str(tmp_path / "train.txt"),
        tokenizer,
        tfllm.data.CausalDataConfig(4, 2),
    )
    batch, *_ = next(iter(data.dataset()))
    assert batch["token_ids"].shape == (2, 4)


@pytest.mark.parametrize("name", ["layers", "models", "tasks", "tokenizers"])
def test_public_names_have_docstrings(name: str) -> None:
    module = getattr(tfllm, name)
    public = [getattr(module, entry) for entry in module.__all__]
    for value in filter(inspect.isroutine, public):
        assert value.__doc__, value
    for value in filter(inspect.isclass, public):
        assert value.__dict__.get("__doc__"), value
