"""TF1 checkpoints of ALBERT, against the forward pass of its code in NumPy."""

import io
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import sentencepiece
import tensorflow as tf

from tfllm.interop import model_folder
from tfllm.interop.sources import convert
from tfllm.interop.sources.contract import Options
from tfllm.interop.sources.tf1_albert_source import tf1_name
from tfllm.models import FAMILIES

V, E, D, N, F, L = 60, 8, 12, 3, 20, 3
CONFIG = {
    "attention_probs_dropout_prob": 0,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0,
    "embedding_size": E,
    "hidden_size": D,
    "initializer_range": 0.02,
    "intermediate_size": F,
    "max_position_embeddings": 16,
    "num_attention_heads": N,
    "num_hidden_layers": L,
    "num_hidden_groups": 1,
    "net_structure_type": 0,
    "gap_size": 0,
    "num_memory_blocks": 0,
    "inner_group_num": 1,
    "down_scale_factor": 1,
    "type_vocab_size": 2,
    "vocab_size": V,
}
BLOCK = "bert/encoder/transformer/group_0/inner_group_0/"
SHAPES = {
    "bert/embeddings/word_embeddings": (V, E),
    "bert/embeddings/position_embeddings": (16, E),
    "bert/embeddings/token_type_embeddings": (2, E),
    "bert/embeddings/LayerNorm/gamma": (E,),
    "bert/embeddings/LayerNorm/beta": (E,),
    "bert/encoder/embedding_hidden_mapping_in/kernel": (E, D),
    "bert/encoder/embedding_hidden_mapping_in/bias": (D,),
    **{
        f"{BLOCK}{layer}/{leaf}": shape if leaf == "kernel" else shape[1:]
        for layer, shape in {
            "attention_1/self/query": (D, D),
            "attention_1/self/key": (D, D),
            "attention_1/self/value": (D, D),
            "attention_1/output/dense": (D, D),
            "ffn_1/intermediate/dense": (D, F),
            "ffn_1/intermediate/output/dense": (F, D),
        }.items()
        for leaf in ("kernel", "bias")
    },
    **{
        f"{BLOCK}{norm}/{leaf}": (D,)
        for norm in ("LayerNorm", "LayerNorm_1")
        for leaf in ("gamma", "beta")
    },
    "bert/pooler/dense/kernel": (D, D),
    "bert/pooler/dense/bias": (D,),
    "cls/predictions/transform/dense/kernel": (D, E),
    "cls/predictions/transform/dense/bias": (E,),
    "cls/predictions/transform/LayerNorm/gamma": (E,),
    "cls/predictions/transform/LayerNorm/beta": (E,),
    "cls/predictions/output_bias": (V,),
    "cls/seq_relationship/output_weights": (2, D),
    "cls/seq_relationship/output_bias": (2,),
}


def random_variables() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: (name.endswith("gamma") + 0.3 * rng.normal(size=shape)).astype(
            "float32"
        )
        for name, shape in SHAPES.items()
    }


def write(
    folder: pathlib.Path,
    variables: dict[str, np.ndarray],
    scope: str = "",
    **changes: Any,
) -> None:
    folder.mkdir()
    stored = {f"{scope}{name}": a for name, a in variables.items()}
    stored["global_step"] = np.int64(7)
    stored["bert/pooler/dense/bias/lamb_m"] = np.ones(D, "float32")
    tf.raw_ops.SaveV2(
        prefix=str(folder / "model.ckpt-best"),
        tensor_names=list(stored),
        shape_and_slices=[""] * len(stored),
        tensors=[tf.constant(a) for a in stored.values()],
    )
    text = json.dumps({**CONFIG, **changes})
    (folder / "albert_config.json").write_text(text)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))


class Albert:
    """The forward pass of the published code, on variables by their names."""

    def __init__(self, variables: dict[str, np.ndarray]) -> None:
        self.variables = variables

    def norm(self, x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-12)
        gamma = self.variables[f"{name}/gamma"]
        return x * gamma + self.variables[f"{name}/beta"]

    def dense(self, x: np.ndarray, name: str) -> np.ndarray:
        kernel = self.variables[f"{name}/kernel"]
        return x @ kernel + self.variables[f"{name}/bias"]

    def block(self, x: np.ndarray) -> np.ndarray:
        q, k, v = (
            self.dense(x, f"{BLOCK}attention_1/self/{n}").reshape(
                len(x), N, D // N
            )
            for n in ("query", "key", "value")
        )
        scores = np.einsum("tnh,snh->nts", q, k) / np.sqrt(D // N)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = np.einsum("nts,snh->tnh", scores, v).reshape(len(x), D)
        mixed = self.dense(mixed, f"{BLOCK}attention_1/output/dense")
        x = self.norm(x + mixed, f"{BLOCK}LayerNorm")
        inner = gelu(self.dense(x, f"{BLOCK}ffn_1/intermediate/dense"))
        inner = self.dense(inner, f"{BLOCK}ffn_1/intermediate/output/dense")
        return self.norm(x + inner, f"{BLOCK}LayerNorm_1")

    def __call__(self, ids: np.ndarray, segments: np.ndarray) -> dict[str, Any]:
        w = self.variables
        x = w["bert/embeddings/word_embeddings"][ids]
        x = x + w["bert/embeddings/position_embeddings"][: len(ids)]
        x = x + w["bert/embeddings/token_type_embeddings"][segments]
        x = self.norm(x, "bert/embeddings/LayerNorm")
        x = self.dense(x, "bert/encoder/embedding_hidden_mapping_in")
        for _ in range(L):
            x = self.block(x)
        y = gelu(self.dense(x, "cls/predictions/transform/dense"))
        y = self.norm(y, "cls/predictions/transform/LayerNorm")
        y = y @ w["bert/embeddings/word_embeddings"].T
        first = np.tanh(self.dense(x[0], "bert/pooler/dense"))
        pair = first @ w["cls/seq_relationship/output_weights"].T
        return {
            "hidden": x,
            "mlm": y + w["cls/predictions/output_bias"],
            "nsp": pair + w["cls/seq_relationship/output_bias"],
        }


def test_every_published_name_has_its_variable() -> None:
    family = FAMILIES["albert"]
    config = family.config(num_layers=2)
    names = {tf1_name(weight.published) for weight in family.weights(config)}
    assert set(SHAPES) <= names
    # The others are heads of labelled tasks.
    assert {name.split("/")[0] for name in names - set(SHAPES)} <= {
        "classifier",
        "qa_outputs",
    }


@pytest.mark.parametrize("scope", ["", "module/"])
def test_outputs_are_those_of_the_original(
    tmp_path: pathlib.Path, scope: str
) -> None:
    variables = random_variables()
    write(tmp_path / "tf1", variables, scope)
    report = convert.to_model_folder(f"{tmp_path}/tf1", f"{tmp_path}/ours")
    assert report.source == "tf1_albert"
    assert (len(report.read), report.left_out) == (len(SHAPES), [])
    task = model_folder.load(tmp_path / "ours")
    assert task.pair_objective == "sop"
    ids = np.random.default_rng(1).integers(1, V, 9).astype("int32")
    segments = (np.arange(9) > 4).astype("int32")
    expected = Albert(variables)(ids, segments)
    outputs = task(
        {
            "token_ids": ids[None],
            "segment_ids": segments[None],
            "padding_mask": np.ones((1, 9), "int32"),
            "masked_positions": np.arange(9, dtype="int32")[None],
        }
    )
    for name in ("mlm", "nsp"):
        np.testing.assert_allclose(outputs[name][0], expected[name], atol=1e-5)
    hidden = task.model.transformer(ids[None], segment_ids=segments[None])
    np.testing.assert_allclose(hidden[0], expected["hidden"], atol=1e-5)


@pytest.mark.live_parity
@pytest.mark.slow
def test_transformers_computes_the_same(tmp_path: pathlib.Path) -> None:
    for package in ("torch", "transformers"):
        pytest.importorskip(package)
    write(tmp_path / "tf1", random_variables())
    report = convert.to_model_folder(f"{tmp_path}/tf1", f"{tmp_path}/ours")
    assert "which read the result" in str(report)
    assert report.difference is not None, report.comparison
    assert report.difference < 1e-5


def test_an_encoder_alone(tmp_path: pathlib.Path) -> None:
    variables = {
        name: a
        for name, a in random_variables().items()
        if not name.startswith("cls/")
    }
    variables["output_weights"] = np.ones((3, D), "float32")
    write(tmp_path / "tf1", variables)
    report = convert.to_model_folder(f"{tmp_path}/tf1", f"{tmp_path}/ours")
    assert report.left_out == ["output_weights"]
    config = json.loads((tmp_path / "ours" / "config.json").read_text())
    assert config["architectures"] == ["AlbertModel"]


@pytest.mark.parametrize("lower_case", [None, False])
def test_the_tokenizer(tmp_path: pathlib.Path, lower_case: bool | None) -> None:
    write(tmp_path / "tf1", random_variables())
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the Cat sat", "a cat ran", "the mat"] * 9),
        model_writer=content,
        vocab_size=30,
        hard_vocab_limit=False,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        control_symbols=["[CLS]", "[SEP]", "[MASK]"],
        minloglevel=2,
    )
    (tmp_path / "tf1" / "30k-clean.model").write_bytes(content.getvalue())
    convert.to_model_folder(
        f"{tmp_path}/tf1", f"{tmp_path}/ours", None, Options(lower_case)
    )
    tokenizer = model_folder.load(tmp_path / "ours").tokenizer
    upper, lower = tokenizer.tokenize(["The CAT", "the cat"]).to_list()
    assert (upper == lower) == (lower_case is not False)
    processor = sentencepiece.SentencePieceProcessor()
    processor.load_from_serialized_proto(content.getvalue())
    assert lower == processor.encode("the cat")
    (tmp_path / "tf1" / "other.model").write_bytes(b"")
    with pytest.raises(ValueError, match=r"30k-clean\.model, other\.model"):
        convert.to_model_folder(f"{tmp_path}/tf1", f"{tmp_path}/other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ln_type": "preln"}, "`ln_type`.*'postln'.*'preln'"),
        ({"num_memory_blocks": 2}, "`num_memory_blocks`.*0.*Received: 2"),
        ({"hidden_act": "mish"}, "`hidden_act`.*'mish'"),
    ],
)
def test_what_is_refused(
    tmp_path: pathlib.Path, changes: Any, message: str
) -> None:
    write(tmp_path / "tf1", random_variables(), **changes)
    with pytest.raises(ValueError, match=message):
        convert.to_model_folder(f"{tmp_path}/tf1", f"{tmp_path}/ours")
    assert not (tmp_path / "ours").exists()


def test_damaged_data_are_named(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "tf1", random_variables())
    (data,) = (tmp_path / "tf1").glob("*.data-*")
    data.write_bytes(data.read_bytes()[:200])
    with pytest.raises(ValueError, match="model.ckpt-best' must be a whole"):
        convert.to_model_folder(f"{tmp_path}/tf1", f"{tmp_path}/ours")
