import dataclasses
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tfllm.interop import model_folder, tensor_files
from tfllm.models import FAMILIES, Transformer
from tfllm.tasks import MaskedLM
from tfllm.tokenizers.wordpiece import WordPieceTokenizer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SMALL = {
    "num_layers": 2,
    "hidden_size": 24,
    "num_heads": 3,
    "intermediate_size": 56,
    "vocab_size": 53,
    "max_position_embeddings": 19,
}
# Every argument of BERT's config, none at its default.
OFF_DEFAULT = {
    **SMALL,
    "num_segments": 3,
    "activation": "gelu_tanh",
    "dropout": 0.2,
    "attention_dropout": 0.3,
    "epsilon": 1e-5,
    "initializer_range": 0.1,
    "pad_token_id": 4,
}


def small_task(pair_objective: str = "nsp", **numbers: Any) -> MaskedLM:
    config = FAMILIES["bert"].config(**{**SMALL, **numbers})
    task = MaskedLM(config, pair_objective=pair_objective)
    rng = np.random.default_rng(0)
    for v in task.model.trainable_variables:
        v.assign(0.5 + 0.2 * rng.normal(size=v.shape))
    return task


def assert_same_weights(first: Any, second: Any) -> None:
    for a, b in zip(
        first.trainable_variables, second.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def tensors_of(folder: pathlib.Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(folder / "model.safetensors")


def write_tensors(folder: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")


@pytest.fixture(scope="module")
def task() -> MaskedLM:
    return small_task()


@pytest.fixture(scope="module")
def saved(task: MaskedLM, tmp_path_factory: Any) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("saved")
    model_folder.save(task, folder)
    return folder


@pytest.fixture
def folder(saved: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the saved folder, to damage."""
    return pathlib.Path(shutil.copytree(saved, tmp_path / "folder"))


@pytest.mark.parametrize("pair_objective", ["nsp", "sop", "none"])
def test_round_trip(pair_objective: str, tmp_path: pathlib.Path) -> None:
    task = small_task(pair_objective)
    model_folder.save(task, tmp_path)
    loaded = model_folder.load(tmp_path)
    assert loaded.get_config() | {"name": ""} == task.get_config() | {
        "name": ""
    }
    assert_same_weights(task, loaded)


def test_saved_weights_are_float32_under_any_policy(
    saved: pathlib.Path, task: MaskedLM, tmp_path: pathlib.Path
) -> None:
    loaded = model_folder.load(saved, dtype="mixed_bfloat16")
    assert loaded.compute_dtype == "bfloat16"
    model_folder.save(loaded, tmp_path)
    assert {t.dtype for t in tensors_of(tmp_path).values()} == {
        np.dtype("float32")
    }
    assert_same_weights(task, model_folder.load(tmp_path))


def test_config_json_says_what_it_is(saved: pathlib.Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    assert config["architectures"] == ["BertForPreTraining"]
    assert config["tfllm"]["task"] == "masked_lm"
    assert config["tfllm"]["pair_objective"] == "nsp"
    with safetensors.safe_open(saved / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_architecture_without_the_sequence_head(
    tmp_path: pathlib.Path,
) -> None:
    model_folder.save(
        small_task("none"), tmp_path, extra_config={"origin": "here"}
    )
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertForMaskedLM"]
    assert config["origin"] == "here"
    assert not any("seq" in name for name in tensors_of(tmp_path))


def test_names_and_shapes_are_the_published_ones(saved: pathlib.Path) -> None:
    shapes = {name: t.shape for name, t in tensors_of(saved).items()}
    prefix = "bert.encoder.layer.1"
    assert shapes[f"{prefix}.attention.self.key.weight"] == (24, 24)
    assert shapes[f"{prefix}.intermediate.dense.weight"] == (56, 24)
    assert shapes["cls.seq_relationship.weight"] == (2, 24)
    assert "cls.predictions.decoder.weight" not in shapes
    assert len(shapes) == 5 + 2 * 16 + 2 + 5 + 2


def test_fused_projection_is_taken_apart(
    saved: pathlib.Path, task: MaskedLM
) -> None:
    kernel = task.model.transformer.blocks[0].attention.qkv.kernel.numpy()
    tensors = tensors_of(saved)
    for i, name in enumerate(("query", "key", "value")):
        np.testing.assert_array_equal(
            tensors[f"bert.encoder.layer.0.attention.self.{name}.weight"],
            kernel[:, 24 * i : 24 * (i + 1)].T,
        )


def test_config_round_trip_with_every_field_off_its_default() -> None:
    family = FAMILIES["bert"]
    config = family.config(**OFF_DEFAULT)
    default = family.config()
    assert not [
        field.name
        for field in dataclasses.fields(config)
        if field.name not in ("family", "final_norm")
        and getattr(config, field.name) == getattr(default, field.name)
    ]
    published = json.loads(json.dumps(family.to_published(config)))
    assert family.from_published(published) == config


@pytest.mark.parametrize("activation", ["relu", "silu", "tanh", "gelu"])
def test_every_activation_has_a_published_name(activation: str) -> None:
    family = FAMILIES["bert"]
    config = family.config(activation=activation)
    assert family.from_published(family.to_published(config)) == config


def test_shards(task: MaskedLM, tmp_path: pathlib.Path) -> None:
    model_folder.save(task, tmp_path)
    model_folder.save(task, tmp_path, max_shard_bytes=20_000)
    files = sorted(tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    assert files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    assert all(file.stat().st_size < 25_000 for file in files)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == 4 * task.model.count_params()
    assert_same_weights(task, model_folder.load(tmp_path))
    # Back to one file: the shards go.
    model_folder.save(task, tmp_path)
    assert [f.name for f in sorted(tmp_path.iterdir())] == [
        "config.json",
        "model.safetensors",
    ]


def test_missing_shard_is_named(task: MaskedLM, tmp_path: pathlib.Path) -> None:
    model_folder.save(task, tmp_path, max_shard_bytes=20_000)
    next(iter(sorted(tmp_path.glob("model-*")))).unlink()
    with pytest.raises(ValueError, match=r"not there.*model-00001-of"):
        model_folder.load(tmp_path)


def test_legacy_names_and_buffers(folder: pathlib.Path, task: MaskedLM) -> None:
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors_of(folder).items()
    }
    table = tensors["bert.embeddings.word_embeddings.weight"]
    tensors["cls.predictions.decoder.weight"] = table.copy()
    tensors["cls.predictions.decoder.bias"] = tensors[
        "cls.predictions.bias"
    ].copy()
    tensors["bert.embeddings.position_ids"] = np.arange(19)[None]
    write_tensors(folder, tensors)
    assert_same_weights(task, model_folder.load(folder))


def test_tied_copy_stands_in_for_its_original(
    folder: pathlib.Path, task: MaskedLM
) -> None:
    tensors = tensors_of(folder)
    tensors["cls.predictions.decoder.bias"] = tensors.pop(
        "cls.predictions.bias"
    )
    write_tensors(folder, tensors)
    assert_same_weights(task, model_folder.load(folder))


def test_untied_copy_is_not_dropped_silently(folder: pathlib.Path) -> None:
    tensors = tensors_of(folder)
    tensors["cls.predictions.decoder.weight"] = (
        tensors["bert.embeddings.word_embeddings.weight"] + 1
    )
    write_tensors(folder, tensors)
    with pytest.raises(
        ValueError, match=r"1 unexpected: cls\.predictions\.decoder\.weight"
    ):
        model_folder.load(folder)


def test_bare_encoder_without_prefix(
    folder: pathlib.Path, task: MaskedLM
) -> None:
    tensors = {
        name.removeprefix("bert."): tensor
        for name, tensor in tensors_of(folder).items()
        if name.startswith("bert.")
    }
    tensors["embeddings.position_ids"] = np.arange(19)[None]
    write_tensors(folder, tensors)
    encoder = Transformer(task.config)
    encoder.build()
    report = model_folder.load_weights(encoder, folder, partial=True)
    assert report.unexpected == [
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
    ]
    assert not report.missing + report.misshaped
    assert_same_weights(task.model.transformer, encoder)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_files(folder: pathlib.Path, dtype: str) -> None:
    import ml_dtypes

    half = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}[dtype]
    tensors = {k: v.astype(half) for k, v in tensors_of(folder).items()}
    write_tensors(folder, tensors)
    loaded = model_folder.load(folder)
    table = loaded.model.transformer.embeddings.token_table
    assert table.dtype == "float32"
    np.testing.assert_array_equal(
        table.numpy(),
        tensors["bert.embeddings.word_embeddings.weight"].astype("float32"),
    )


def test_three_lists(folder: pathlib.Path, task: MaskedLM) -> None:
    tensors = tensors_of(folder)
    del tensors["cls.seq_relationship.weight"]
    del tensors["cls.seq_relationship.bias"]
    tensors["cls.predictions.bias"] = np.ones(7, "float32")
    tensors["adapter.weight"] = np.ones(3, "float32")
    write_tensors(folder, tensors)
    fresh = MaskedLM(task.config)
    before = [v.numpy() for v in fresh.model.trainable_variables]
    with pytest.raises(ValueError, match="must match the model") as error:
        model_folder.load_weights(fresh, folder)
    for text in (
        "2 missing: cls.seq_relationship.bias, cls.seq_relationship.weight",
        "1 unexpected: adapter.weight",
        "1 misshaped: cls.predictions.bias: (7,), not (53,)",
    ):
        assert text in str(error.value)
    # Refused means untouched.
    after = [v.numpy() for v in fresh.model.trainable_variables]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)

    report = model_folder.load_weights(fresh, folder, partial=True)
    assert report.missing == [
        "cls.seq_relationship.bias",
        "cls.seq_relationship.weight",
    ]
    assert report.unexpected == ["adapter.weight"]
    assert len(report.misshaped) == 1
    assert_same_weights(task.model.transformer, fresh.model.transformer)


def test_partial_does_not_leave_out_the_body(folder: pathlib.Path) -> None:
    tensors = tensors_of(folder)
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    write_tensors(folder, tensors)
    with pytest.raises(ValueError, match=r"body.*layer\.1\.output\.dense"):
        model_folder.load(folder, partial=True)


@pytest.mark.parametrize("partial", [False, True])
def test_folder_that_matches_nothing(
    folder: pathlib.Path, task: MaskedLM, partial: bool
) -> None:
    write_tensors(folder, {"h.0.ln_1.weight": np.ones(3, "float32")})
    with pytest.raises(ValueError, match=r"no tensor of.*matches") as error:
        model_folder.init_from(task, folder, partial=partial)
    assert str(folder) in str(error.value)
    assert "1 unexpected: h.0.ln_1.weight" in str(error.value)


def test_init_from_another_size(
    folder: pathlib.Path,
) -> None:
    other = MaskedLM(FAMILIES["bert"].config(**{**SMALL, "num_heads": 4}))
    with pytest.raises(ValueError, match=r"num_heads` 3 in the folder, 4 in"):
        model_folder.init_from(other, folder)
    deeper = MaskedLM(FAMILIES["bert"].config(**{**SMALL, "num_layers": 3}))
    with pytest.raises(ValueError, match=r"16 missing: .*layer\.2"):
        model_folder.init_from(deeper, folder)


@pytest.mark.parametrize("keep", [0, 5, 1000])
def test_damaged_weights_are_named(folder: pathlib.Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match="whole safetensors file") as error:
        model_folder.load(folder)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be JSON"),
        ("[1]", "must hold a JSON object"),
        ('{"model_type": "gpt_none"}', r"one of \['bert'.*'gpt_none'"),
        ("{}", r"`model_type`.*Received: None"),
        (
            '{"model_type": "bert", "hidden_act": "mish"}',
            "`hidden_act` must be.*mish",
        ),
        (
            '{"model_type": "bert", "hidden_size": "wide"}',
            r"must be right",
        ),
    ],
)
def test_bad_config_is_named(
    folder: pathlib.Path, text: str, message: str
) -> None:
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        model_folder.load(folder)
    assert str(folder / "config.json") in str(error.value)


def test_folder_of_another_family(
    folder: pathlib.Path, task: MaskedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dataclasses.replace(FAMILIES["bert"], name="other")
    monkeypatch.setitem(FAMILIES, "other", other)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "other"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="'bert'.*family 'other'"):
        model_folder.load_weights(task, folder)


def test_folder_without_weights(folder: pathlib.Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"\['pytorch_model.bin'\]"):
        model_folder.load(folder)


def test_unknown_task(folder: pathlib.Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["tfllm"]["task"] = "juggling"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="masked_lm.*juggling"):
        model_folder.load(folder)


def test_folder_of_others_gets_its_task_from_its_heads(
    folder: pathlib.Path, task: MaskedLM
) -> None:
    config = json.loads((folder / "config.json").read_text())
    del config["tfllm"]
    (folder / "config.json").write_text(json.dumps(config))
    loaded = model_folder.load(folder)
    assert loaded.pair_objective == "nsp"
    assert_same_weights(task, loaded)


def test_no_such_folder(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="must exist.*nowhere"):
        model_folder.load(tmp_path / "nowhere")


def test_hub_id(
    folder: pathlib.Path, task: MaskedLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def download(hub_id: str, **options: Any) -> str:
        if hub_id != "someone/bert":
            raise OSError("offline\nwith\nmany lines")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert_same_weights(task, model_folder.load("someone/bert"))
    with pytest.raises(ValueError, match="someone/else.*offline$"):
        model_folder.load("someone/else")


def test_remote_folder(task: MaskedLM) -> None:
    model_folder.save(task, "ram://models/bert")
    assert_same_weights(task, model_folder.load("ram://models/bert"))


def test_failed_save_leaves_the_old_folder(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {f.name: f.read_bytes() for f in folder.iterdir()}

    def full(part: Any, path: pathlib.Path, **options: Any) -> None:
        path.write_bytes(b"half a")
        if "00002" in path.name:
            raise safetensors.SafetensorError("No space left on device")

    monkeypatch.setattr(tensor_files.safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space left") as error:
        model_folder.save(small_task(), folder, max_shard_bytes=20_000)
    assert str(folder) in str(error.value)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before


def test_unwritable_folder(task: MaskedLM, tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file") as error:
        model_folder.save(task, tmp_path / "file")
    assert str(tmp_path / "file") in str(error.value)


def test_tokenizer_files(task: MaskedLM, tmp_path: pathlib.Path) -> None:
    vocab = SPECIALS + [f"w{i}" for i in range(48)]
    model_folder.save(task, tmp_path, WordPieceTokenizer(vocab))
    loaded = WordPieceTokenizer.from_file(str(tmp_path))
    model_folder.check_vocabulary(loaded, task.config)
    assert loaded.vocab == vocab


def test_vocabulary_that_does_not_fit(
    task: MaskedLM, tmp_path: pathlib.Path
) -> None:
    tokenizer = WordPieceTokenizer(SPECIALS + [f"w{i}" for i in range(60)])
    with pytest.raises(ValueError, match=r"`--tokenizer`.*53.*65 tokens"):
        model_folder.check_vocabulary(tokenizer, task.config, "--tokenizer")
    with pytest.raises(ValueError, match="65 tokens"):
        model_folder.save(task, tmp_path / "out", tokenizer)
    assert not (tmp_path / "out").exists()
    other = WordPieceTokenizer(SPECIALS[::-1])
    with pytest.raises(ValueError, match=r"`pad_token_id`, 0\. Received: 4"):
        model_folder.check_vocabulary(other, task.config)


def test_resolve_model(folder: pathlib.Path) -> None:
    family = FAMILIES["bert"]
    resolve = model_folder.resolve_model
    assert resolve("bert:tiny") == family.size("tiny")
    config = resolve("bert:mini", vocab_size=100, dropout=0.0)
    assert config == family.size("mini", vocab_size=100, dropout=0.0)
    small = family.config(**SMALL)
    assert resolve(str(folder)) == small
    assert resolve(str(folder / "config.json"), dropout=None) == small
    assert resolve(
        str(folder / "config.json"), vocab_size=9, dropout=0.0
    ) == family.config(**{**SMALL, "vocab_size": 9, "dropout": 0.0})


@pytest.mark.parametrize(
    ("spec", "near"),
    [
        ("bert:tinny", "bert:tiny"),
        ("brt:large", "bert:large"),
        ("bert", "bert:"),
        ("", "bert:"),
    ],
)
def test_unknown_model(spec: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"Did you mean '{near}") as error:
        model_folder.resolve_model(spec)
    assert repr(spec) in str(error.value)


def test_overrides_that_a_file_cannot_take(folder: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="`num_layers` cannot be set"):
        model_folder.resolve_model(str(folder), num_layers=3)
    with pytest.raises(ValueError, match=r"missing\.json"):
        model_folder.resolve_model("missing.json")


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
