"""Folders to and from an installed Transformers."""

import pathlib
from typing import Any

import numpy as np
import pytest

from tfllm.interop import model_folder
from tfllm.tasks import MaskedLM


@pytest.mark.live_parity
class TestTransformers:
    """Our folder there, and theirs here."""

    def inputs(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(0)
        mask = (np.arange(9) < np.array([[9], [5]])).astype("int32")
        return {
            "token_ids": rng.integers(1, 53, (2, 9)).astype("int32"),
            "segment_ids": (np.arange(9) > 4) * mask,
            "padding_mask": mask,
        }

    def theirs(self, model: Any) -> list[np.ndarray]:
        torch = pytest.importorskip("torch")
        x = {k: torch.tensor(v).long() for k, v in self.inputs().items()}
        with torch.no_grad():
            out = model.eval()(
                input_ids=x["token_ids"],
                token_type_ids=x["segment_ids"],
                attention_mask=x["padding_mask"],
            )
        return [out.prediction_logits.numpy(), out.seq_relationship_logits]

    def assert_same_logits(self, task: MaskedLM, model: Any) -> None:
        ours = task(self.inputs())
        for name, value in zip(("mlm", "nsp"), self.theirs(model), strict=True):
            np.testing.assert_allclose(
                ours[name].numpy(), np.asarray(value), atol=1e-4, rtol=0
            )

    def test_ours_there(self, saved: pathlib.Path, task: MaskedLM) -> None:
        transformers = pytest.importorskip("transformers")
        pytest.importorskip("torch")
        model, info = transformers.BertForPreTraining.from_pretrained(
            saved, output_loading_info=True
        )
        assert not any(info[k] for k in info if k.endswith("_keys"))
        self.assert_same_logits(task, model)

    def test_theirs_here(self, tmp_path: pathlib.Path) -> None:
        transformers = pytest.importorskip("transformers")
        pytest.importorskip("torch")
        config = transformers.BertConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=56,
            vocab_size=53,
            max_position_embeddings=19,
            hidden_act="gelu_new",
        )
        model = transformers.BertForPreTraining(config)
        model.save_pretrained(tmp_path)
        self.assert_same_logits(model_folder.load(tmp_path), model)
