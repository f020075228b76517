"""What a model folder holds, written and read."""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.interop.small_folder import (
    SPECIALS,
    assert_same_weights,
    small_task,
    tensors_of,
    write_tensors,
)
from tfllm.interop import model_folder, tensor_files
from tfllm.models import FAMILIES, Transformer
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import (
    ByteBPETokenizer,
    RowTemplate,
    SpecialTokens,
    WordPieceTokenizer,
)
from tfllm.tokenizers.byte_pair_model import byte_symbols


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
        "README.md",
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
    with pytest.raises(ValueError, match=r"--tokenizer.*53.*65 tokens"):
        model_folder.check_vocabulary(tokenizer, task.config, "--tokenizer")
    with pytest.raises(ValueError, match="65 tokens"):
        model_folder.save(task, tmp_path / "out", tokenizer)
    assert not (tmp_path / "out").exists()
    other = WordPieceTokenizer(SPECIALS[::-1])
    with pytest.raises(ValueError, match=r"`pad_token_id`, 0\. Received: 4"):
        model_folder.check_vocabulary(other, task.config)


def test_a_decoder_may_pad_with_a_token_of_its_own() -> None:
    vocab = [*byte_symbols(), "<|endoftext|>", "<pad>"]
    named = SpecialTokens(eos="<|endoftext|>", pad="<pad>")
    config = FAMILIES["gpt2"].size(
        "tiny", vocab_size=len(vocab), bos_token_id=256, eos_token_id=256
    )
    for special_tokens in (named, SpecialTokens(eos="<|endoftext|>")):
        model_folder.check_vocabulary(
            ByteBPETokenizer(vocab, [], special_tokens=special_tokens), config
        )
    opened = RowTemplate(pad="eos", opens=("bos",))
    lacking = ByteBPETokenizer(vocab, [], special_tokens=named, template=opened)
    with pytest.raises(ValueError, match="must have a bos token"):
        model_folder.check_vocabulary(lacking, config)
