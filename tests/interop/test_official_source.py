import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tfllm.interop import model_folder
from tfllm.interop.sources import convert, official_source
from tfllm.interop.sources.official_source import published_name

SCRIPT = pathlib.Path(__file__).parent / "official_encoder.py"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "word_embeddings/embeddings",
            "bert.embeddings.word_embeddings.weight",
        ),
        (
            "bert_encoder_v2/transformer/layer_11/self_attention/query/kernel",
            "bert.encoder.layer.11.attention.self.query.weight",
        ),
        (
            "transformer/layer_0/output_layer_norm/beta",
            "bert.encoder.layer.0.output.LayerNorm.bias",
        ),
        ("bert/cls/predictions/output_bias/bias", "cls.predictions.bias"),
        ("bert/next_sentence/logits/kernel", "cls.seq_relationship.weight"),
        ("global_step", None),
        ("transformer/layer_0/adapter/kernel", None),
    ],
)
def test_names(name: str, expected: str | None) -> None:
    assert published_name(name) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [pytest.param("encoder", marks=pytest.mark.wide), "pretrainer"]
)
def test_outputs_are_those_of_official(
    kind: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("official")
    if kind == "pretrainer":
        # The process of the comparison takes seconds: once is enough.
        monkeypatch.setattr(
            official_source.importlib.util, "find_spec", lambda name: None
        )
    command = [sys.executable, str(SCRIPT), str(tmp_path / "theirs"), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    report = convert.to_model_folder(f"{tmp_path}/theirs", f"{tmp_path}/ours")
    assert report.source == "official"
    if kind == "encoder":
        assert "with tf-models-official" in report.comparison
        assert report.difference is not None, report.comparison
        assert report.difference < 1e-5
    else:
        assert "pip install tf-models-official" in report.comparison
    theirs = np.load(tmp_path / "theirs" / "outputs.npz")
    task = model_folder.load(tmp_path / "ours")
    mask = theirs["mask"]
    hidden = convert.forward_here(task, theirs["ids"], mask)
    real = mask == 1
    np.testing.assert_allclose(
        np.asarray(hidden)[real], theirs["hidden"][real], atol=1e-5
    )
    if kind == "encoder":
        assert report.left_out == []
        return
    assert task.pair_objective == "nsp"
    # The head of two sentences has a pooler of its own.
    assert report.left_out == [
        "pooler_transform/bias",
        "pooler_transform/kernel",
    ]
    outputs = task(
        {
            "token_ids": theirs["ids"],
            "segment_ids": np.zeros_like(mask),
            "padding_mask": mask,
            "masked_positions": np.array([[1, 3], [2, 0]], "int32"),
        }
    )
    np.testing.assert_allclose(outputs["mlm"], theirs["mlm_logits"], atol=1e-5)
    np.testing.assert_allclose(
        outputs["nsp"], theirs["next_sentence"], atol=1e-5
    )
