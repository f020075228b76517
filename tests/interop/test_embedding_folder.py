"""Folders of sentence-transformers: heeded, written back, or refused."""

import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf

import tfllm
from tests.interop.small_folder import assert_same_weights
from tests.serving import small_models
from tfllm.interop import model_folder
from tfllm.layers.pooling import ProjectionConfig
from tfllm.tasks import Embedding
from tfllm.tasks.embedding import EmbeddedText
from tfllm.tokenizers import load_tokenizer

TEXTS = ["it was the best of times", "dog", "the worst " * 9]
TANH = "torch.nn.modules.activation.Tanh"
BASE = "sentence_transformers.base.modules"
NEW_TYPES = {
    "Transformer": f"{BASE}.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling."
    "Pooling",
    "Dense": f"{BASE}.dense.Dense",
    "Normalize": f"{BASE}.normalize.Normalize",
}


def write_json(path: pathlib.Path, values: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(values))


def write_modules(
    folder: pathlib.Path, kinds: list[str], new: bool = False
) -> None:
    rows = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": NEW_TYPES[kind]
            if new
            else f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    write_json(folder / "modules.json", rows)


def write_dense(
    path: pathlib.Path, sizes: tuple[int, int], bias: bool = True, **keys: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Writes a Dense module; returns matrix and bias as torch has them."""
    rng = np.random.default_rng(sizes[1])
    weight = rng.normal(size=sizes[::-1]).astype("float32")
    offset = rng.normal(size=sizes[1]).astype("float32")
    config = {
        "in_features": sizes[0],
        "out_features": sizes[1],
        "bias": bias,
        "activation_function": TANH,
    }
    write_json(path / "config.json", {**config, **keys})
    tensors = {"linear.weight": weight} | (
        {"linear.bias": offset} if bias else {}
    )
    safetensors.numpy.save_file(tensors, path / "model.safetensors")
    return weight, offset * bias


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A bare encoder of 32 numbers, as Transformers writes it."""
    target = tmp_path / "theirs"
    shutil.copytree(small_models.labelled("embedding"), target)
    for name in ("modules.json", "sentence_bert_config.json"):
        (target / name).unlink()
    (target / "config_sentence_transformers.json").unlink()
    for name in ("1_Pooling", "2_Normalize"):
        shutil.rmtree(target / name)
    values = json.loads((target / "config.json").read_text())
    del values["tfllm"]
    write_json(target / "config.json", values)
    return target


def hidden_states(folder: pathlib.Path, text: str, limit: int) -> np.ndarray:
    """Returns [tokens, D] of a text that is cut."""
    tokenizer = load_tokenizer(str(folder))
    (ids,) = tokenizer.tokenize(tf.constant([text])).to_list()
    ids = [tokenizer.special.cls, *ids[: limit - 2], tokenizer.special.sep]
    states = model_folder.load(folder).model.transformer(tf.constant([ids]))
    return np.array(states)[0]


@pytest.mark.parametrize("new", [False, True])
def test_a_folder_of_modules(folder: pathlib.Path, new: bool) -> None:
    """Mean and max of 9 tokens, behind a prompt; two layers; length one."""
    write_modules(
        folder, ["Transformer", "Pooling", "Dense", "Dense", "Normalize"], new
    )
    modes = ["pooling_mode_mean_tokens", "pooling_mode_max_tokens"]
    pooling: dict[str, Any] = {"word_embedding_dimension": 32}
    pooling |= dict.fromkeys(modes, True) | {"pooling_mode_cls_token": False}
    if new:
        pooling = {"embedding_dimension": 32, "pooling_mode": ["max", "mean"]}
        pooling["include_prompt"] = True
    write_json(folder / "1_Pooling/config.json", pooling)
    first, offset = write_dense(folder / "2_Dense", (64, 8))
    second, _ = write_dense(
        folder / "3_Dense",
        (8, 5),
        bias=False,
        activation_function="torch.nn.modules.linear.Identity",
    )
    (folder / "4_Normalize").mkdir()
    values = {"prompts": {"query": "dog of ", "document": None}}
    values["default_prompt_name"] = "query"
    write_json(folder / "config_sentence_transformers.json", values)
    if new:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings["model_max_length"] = 9
        write_json(folder / "tokenizer_config.json", settings)
    else:
        limits = {"max_seq_length": 9, "do_lower_case": True}
        write_json(folder / "sentence_bert_config.json", limits)

    embed = tfllm.pipeline("sentence-embedding", model=str(folder))
    for text, found in zip(TEXTS, embed(TEXTS), strict=True):
        states = hidden_states(folder, f"dog of {text}", 9)
        assert len(states) <= 9
        # Both spellings put the maximum first: the old one by its own order.
        pooled = np.concatenate([states.max(axis=0), states.mean(axis=0)])
        expected = second @ np.tanh(first @ pooled + offset)
        expected /= np.linalg.norm(expected)
        np.testing.assert_allclose(np.ravel(found), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "pooling"),
    [
        ("cls", "cls"),
        ("max", "max"),
        ("mean", "mean"),
        ("mean_sqrt_len_tokens", "mean_sqrt_len"),
        ("weightedmean", "weighted_mean"),
        ("lasttoken", "last"),
    ],
)
def test_names_of_poolings(
    folder: pathlib.Path, mode: str, pooling: str
) -> None:
    old = mode if mode.endswith("token") else mode.removesuffix("_tokens")
    old += {"cls": "_token", "lasttoken": ""}.get(mode, "_tokens")
    for config in ({"pooling_mode": mode}, {f"pooling_mode_{old}": True}):
        write_json(folder / "1_Pooling/config.json", config)
        assert model_folder.load(folder).model.pooling == pooling


FULL: dict[str, Any] = {
    "pooling": ("weighted_mean", "cls"),
    "projections": (
        ProjectionConfig(64, 6, "gelu"),
        ProjectionConfig(6, 4, "identity", use_bias=False),
    ),
    "normalize": True,
    "truncate_dim": 3,
    "text": EmbeddedText(9, {"a": "dog ", "b": ""}, "a", "dot"),
}


def full_task(**changes: Any) -> Embedding:
    tokenizer = small_models.wordpiece()
    config = small_models.config_of("bert", tokenizer)
    task = Embedding(config, **{**FULL, **changes})
    small_models.shake(task)
    return task


@pytest.mark.parametrize("normalize", [True, False])
def test_a_folder_of_ours(normalize: bool, tmp_path: pathlib.Path) -> None:
    task = full_task(normalize=normalize)
    model_folder.save(task, tmp_path, small_models.wordpiece())
    read = {
        path.relative_to(tmp_path).as_posix(): json.loads(path.read_text())
        for path in tmp_path.rglob("*.json")
    }
    assert [row["type"].rpartition(".")[2] for row in read["modules.json"]] == [
        "Transformer",
        "Pooling",
        "Dense",
        "Dense",
        *["Normalize"] * normalize,
    ]
    assert read["1_Pooling/config.json"]["pooling_mode"] == [
        "weightedmean",
        "cls",
    ]
    assert read["3_Dense/config.json"] == {
        "in_features": 6,
        "out_features": 4,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    assert read["sentence_bert_config.json"]["max_seq_length"] == 9
    assert read["config_sentence_transformers.json"] == {
        "prompts": {"a": "dog ", "b": ""},
        "default_prompt_name": "a",
        "similarity_fn_name": "dot",
        "truncate_dim": 3,
    }
    assert "pooling" not in read["config.json"]["tfllm"]
    again = model_folder.load(tmp_path)
    assert again.get_config() == {**task.get_config(), "name": again.name}
    assert_same_weights(task, again)
    x = {"token_ids": tf.constant([[2, 7, 9, 3]])}
    found = again(x)["embedding"].numpy()
    assert found.shape == (1, 3)
    copy = Embedding.from_config(task.get_config())
    copy.set_weights(task.get_weights())
    np.testing.assert_allclose(copy(x)["embedding"], found, atol=1e-6)


def test_what_others_wrote_later_counts(tmp_path: pathlib.Path) -> None:
    """Transformers keeps our key in config.json as it was."""
    model_folder.save(full_task(), tmp_path, small_models.wordpiece())
    write_modules(tmp_path, ["Transformer", "Pooling", "Dense"])
    write_json(tmp_path / "1_Pooling/config.json", {"pooling_mode": "max"})
    write_dense(tmp_path / "2_Dense", (32, 7))
    again = model_folder.load(tmp_path)
    assert (again.model.pooling, again.model.normalize) == ("max", False)
    assert again.model.output_size == 3  # of 7


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("1_Pooling", {"pooling_mode": "median"}, "`pooling_mode`.*'median'"),
        ("1_Pooling", {"pooling_mode": 3}, "`pooling_mode`.*Received: 3"),
        ("1_Pooling", {"heads": 3}, "`heads`.*not supported. Received: 3"),
        ("2_Dense", {"use_residual": True}, "`use_residual`.*Received: True"),
        ("2_Dense", {"bias": 1}, "`bias`.*Received: 1"),
        ("2_Dense", {"out_features": "5"}, "`out_features`.*Received: '5'"),
        (
            "2_Dense",
            {"activation_function": "my.Mish"},
            "`activation_function`.*'my.Mish'",
        ),
        (
            "2_Dense",
            {"module_input_name": "token_embeddings"},
            "`module_input_name`.*'token_embeddings'",
        ),
        ("2_Dense", {"in_features": 31}, "take the 32 numbers.*takes 31"),
        (
            "config_sentence_transformers.json",
            {"default_prompt_name": "query"},
            "`default_prompt_name`.*'query'",
        ),
        (
            "config_sentence_transformers.json",
            {"similarity_fn_name": "maxsim"},
            "`similarity_fn_name`.*'maxsim'",
        ),
        (
            "config_sentence_transformers.json",
            {"model_type": "SparseEncoder"},
            "`model_type`.*'SparseEncoder'",
        ),
        (
            "config_sentence_transformers.json",
            {"truncate_dim": 9},
            "`truncate_dim`.*Received: 9",
        ),
        (
            "sentence_bert_config.json",
            {"max_seq_length": -3},
            "`max_seq_length`.*Received: -3",
        ),
        (
            "sentence_bert_config.json",
            {"max_seq_length": True},
            "`max_seq_length`.*Received: True",
        ),
        (
            "sentence_bert_config.json",
            {"query_expansion": {"length": 32}},
            "`query_expansion`.*32",
        ),
        (
            "sentence_bert_config.json",
            {"tokenizer_args": {"padding_side": "left"}},
            "`tokenizer_args`.*padding_side",
        ),
    ],
)
def test_what_is_not_built(
    folder: pathlib.Path, file: str, values: dict[str, Any], message: str
) -> None:
    write_modules(folder, ["Transformer", "Pooling", "Dense"])
    write_json(folder / "1_Pooling/config.json", {"pooling_mode": "mean"})
    write_dense(folder / "2_Dense", (32, 5))
    assert model_folder.load(folder).model.output_size == 5
    path = folder / file
    path = path if path.suffix else path / "config.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    write_json(path, {**before, **values})
    with pytest.raises(ValueError, match=message) as error:
        model_folder.load(folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize(
    "kinds",
    [
        ["Transformer", "Pooling", "LayerNorm"],
        ["Transformer", "CNN", "Pooling"],
        ["Transformer", "Pooling", "Normalize", "Dense"],
        ["Pooling", "Transformer"],
    ],
)
def test_modules_that_are_not_built(
    folder: pathlib.Path, kinds: list[str]
) -> None:
    write_modules(folder, kinds) if set(kinds) <= set(NEW_TYPES) else (
        write_json(
            folder / "modules.json",
            [
                {
                    "idx": i,
                    "path": f"{i}_{kind}" if i else "",
                    "type": f"sentence_transformers.models.{kind}",
                }
                for i, kind in enumerate(kinds)
            ],
        )
    )
    with pytest.raises(ValueError, match=r"modules\.json.*Received") as error:
        model_folder.load(folder)
    assert all(kind in str(error.value) for kind in kinds)


def test_code_of_others_is_not_run(folder: pathlib.Path) -> None:
    row = {"idx": 0, "path": "", "type": "custom_st.Pooling"}
    write_json(folder / "modules.json", [row])
    with pytest.raises(ValueError, match=r"'custom_st\.Pooling'"):
        model_folder.load(folder)
    row = {"idx": 0, "path": "../x", "type": NEW_TYPES["Pooling"]}
    write_json(folder / "modules.json", [row])
    with pytest.raises(ValueError, match=r"'\.\./x'"):
        model_folder.load(folder)


def test_lower_case_before_a_cased_tokenizer(folder: pathlib.Path) -> None:
    write_json(folder / "1_Pooling/config.json", {"pooling_mode": "mean"})
    path = folder / "sentence_bert_config.json"
    write_json(path, {"do_lower_case": True})
    assert model_folder.load(folder)
    for name in ("tokenizer.json", "special_tokens_map.json"):
        (folder / name).unlink()
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False})
    with pytest.raises(ValueError, match="`do_lower_case`.*Received: True"):
        model_folder.load(folder)


def test_pooling_without_its_prompt(folder: pathlib.Path) -> None:
    pooling = {"pooling_mode": "mean", "include_prompt": False}
    write_json(folder / "1_Pooling/config.json", pooling)
    assert model_folder.load(folder).prompt == ""
    values = {"prompts": {"q": "query: "}, "default_prompt_name": "q"}
    write_json(folder / "config_sentence_transformers.json", values)
    with pytest.raises(ValueError, match="`include_prompt`.*False"):
        model_folder.load(folder)


@pytest.mark.parametrize("change", ["shape", "missing", "h5"])
def test_tensors_of_a_module_that_do_not_fit(
    folder: pathlib.Path, change: str
) -> None:
    write_modules(folder, ["Transformer", "Pooling", "Dense"])
    write_json(folder / "1_Pooling/config.json", {"pooling_mode": "mean"})
    weight, bias = write_dense(folder / "2_Dense", (32, 5))
    path = folder / "2_Dense/model.safetensors"
    if change == "h5":
        path.rename(path.with_name("tf_model.h5"))
        message = r"2_Dense.*\['tf_model.h5'\]"
    else:
        tensors = {"linear.weight": weight}
        if change == "shape":
            tensors["linear.bias"] = bias[:3].copy()
        safetensors.numpy.save_file(tensors, path)
        message = {
            "shape": r"2_Dense/linear\.bias: \(3,\), not \(5,\)",
            "missing": r"1 missing: 2_Dense/linear\.bias",
        }[change]
    with pytest.raises(ValueError, match=message):
        model_folder.load(folder)


@pytest.mark.live_parity
class TestSentenceTransformers:
    """Vectors of the installed sentence-transformers."""

    def assert_same(self, folder: pathlib.Path) -> None:
        st = pytest.importorskip("sentence_transformers")
        theirs = st.SentenceTransformer(str(folder)).encode(TEXTS)
        embed = tfllm.pipeline("sentence-embedding", model=str(folder))
        ours = np.array(embed(TEXTS))
        np.testing.assert_allclose(ours, theirs, atol=1e-5)

    @pytest.mark.parametrize("name", ["full", "plain", "old"])
    def test_ours_there(self, name: str, tmp_path: pathlib.Path) -> None:
        changes: dict[str, Any] = {
            "full": {},
            "plain": {
                "pooling": "mean",
                "projections": (),
                "truncate_dim": None,
                "text": None,
            },
            "old": {"pooling": ("cls", "max")},
        }[name]
        task = full_task(**changes)
        model_folder.save(task, tmp_path, small_models.wordpiece())
        self.assert_same(tmp_path)

    @pytest.mark.parametrize(
        "mode",
        [
            "mean",
            "max",
            "cls",
            "lasttoken",
            "weightedmean",
            "mean_sqrt_len_tokens",
            ("lasttoken", "mean"),
        ],
    )
    def test_theirs_here(
        self, mode: Any, folder: pathlib.Path, tmp_path: pathlib.Path
    ) -> None:
        st = pytest.importorskip("sentence_transformers")
        modules = pytest.importorskip(
            "sentence_transformers.sentence_transformer.modules"
        )
        dense = pytest.importorskip("sentence_transformers.base.modules.dense")
        torch = pytest.importorskip("torch")
        first = modules.Transformer(str(folder), max_seq_length=9)
        pooling = modules.Pooling(32, pooling_mode=mode)
        width = pooling.get_embedding_dimension()
        model = st.SentenceTransformer(
            modules=[
                first,
                pooling,
                dense.Dense(
                    width, 6, activation_function=torch.nn.GELU(), bias=False
                ),
            ],
            prompts={"query": "dog of "},
            default_prompt_name="query",
        )
        model.save(str(tmp_path / "saved"))
        self.assert_same(tmp_path / "saved")
