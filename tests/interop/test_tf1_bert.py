import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfllm.interop import model_folder, tf1_bert
from tfllm.interop.sources import convert
from tfllm.interop.sources.contract import Options
from tfllm.models import FAMILIES
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import load_tokenizer

OFFICIAL = pathlib.Path(__file__).parent / "official_bert.py"
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [
    f"w{i}" for i in range(48)
]


def to_model_folder(
    source: str, folder: str, lower_case: bool | None = None
) -> convert.Report:
    return convert.to_model_folder(
        source, folder, "tf1_bert", Options(lower_case)
    )


def random_task(activation: str = "gelu_tanh", **options: Any) -> MaskedLM:
    """Returns a tiny task in which no weight is zero or one."""
    config = FAMILIES["bert"].config(
        num_layers=2,
        hidden_size=24,
        num_heads=3,
        intermediate_size=56,
        vocab_size=53,
        max_position_embeddings=19,
        activation=activation,
    )
    task = MaskedLM(config, **options)
    rng = np.random.default_rng(0)
    for v in task.model.trainable_variables:
        center = 1.0 if v.name == "scale" else 0.0
        v.assign(center + 0.2 * rng.normal(size=v.shape))
    return task


def random_inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    mask = (np.arange(11) < np.array([[11], [7], [3]])).astype("int32")
    return {
        "token_ids": rng.integers(1, 53, (3, 11)).astype("int32") * mask,
        "segment_ids": (np.arange(11) > 2).astype("int32") * mask,
        "padding_mask": mask,
        "masked_positions": rng.integers(0, 3, (3, 4)).astype("int32"),
    }


def values(task: MaskedLM) -> list[np.ndarray]:
    return [v.numpy() for v in task.model.trainable_variables]


def assert_same_weights(first: MaskedLM, second: MaskedLM) -> None:
    for a, b in zip(values(first), values(second), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("published", "expected"),
    [
        (
            "bert.embeddings.word_embeddings.weight",
            "bert/embeddings/word_embeddings",
        ),
        ("bert.embeddings.LayerNorm.weight", "bert/embeddings/LayerNorm/gamma"),
        (
            "bert.encoder.layer.11.attention.self.query.weight",
            "bert/encoder/layer_11/attention/self/query/kernel",
        ),
        (
            "bert.encoder.layer.0.output.LayerNorm.bias",
            "bert/encoder/layer_0/output/LayerNorm/beta",
        ),
        ("bert.pooler.dense.bias", "bert/pooler/dense/bias"),
        ("cls.predictions.bias", "cls/predictions/output_bias"),
        (
            "cls.predictions.transform.dense.weight",
            "cls/predictions/transform/dense/kernel",
        ),
        ("cls.seq_relationship.weight", "cls/seq_relationship/output_weights"),
        ("cls.seq_relationship.bias", "cls/seq_relationship/output_bias"),
    ],
)
def test_names_are_the_ones_google_published(
    published: str, expected: str
) -> None:
    assert tf1_bert.tf1_name(published) == expected


def test_shapes_in_the_file_are_the_tf1_ones(tmp_path: pathlib.Path) -> None:
    tf1_bert.save(random_task(), str(tmp_path))
    shapes = tf.train.load_checkpoint(
        str(tmp_path / "bert_model.ckpt")
    ).get_variable_to_shape_map()
    assert shapes["bert/encoder/layer_1/intermediate/dense/kernel"] == [24, 56]
    assert shapes["cls/seq_relationship/output_weights"] == [2, 24]
    assert len(shapes) == 5 + 2 * 16 + 2 + 5 + 2
    assert not (tmp_path / "partial").exists()


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_round_trip(tmp_path: pathlib.Path, activation: str) -> None:
    task = random_task(activation)
    tf1_bert.save(task, str(tmp_path))
    config = tf1_bert.read_config(str(tmp_path))
    assert config == task.config
    other = MaskedLM(config)
    assert not tf1_bert.load_weights(other, str(tmp_path))
    assert_same_weights(task, other)


def test_gelu_of_the_original_is_the_tanh_form(
    tmp_path: pathlib.Path,
) -> None:
    tf1_bert.save(random_task(), str(tmp_path))
    file = tmp_path / "bert_config.json"
    config = json.loads(file.read_text())
    del config["tfllm_gelu"]
    file.write_text(json.dumps(config))
    found = tf1_bert.read_config(str(tmp_path))
    assert found.block.feed_forward.activation == "gelu_tanh"


def test_to_model_folder_and_back(tmp_path: pathlib.Path) -> None:
    task = random_task()
    first, folder, last = (str(tmp_path / n) for n in ("a", "b", "c"))
    tf1_bert.save(task, first)
    vocab = "".join(f"{token}\n" for token in VOCAB)
    (tmp_path / "a" / "vocab.txt").write_text(vocab)
    to_model_folder(first, folder)
    assert_same_weights(task, model_folder.load(folder))
    tf1_bert.from_model_folder(folder, last)
    other = MaskedLM(tf1_bert.read_config(last))
    tf1_bert.load_weights(other, last)
    assert_same_weights(task, other)
    assert (tmp_path / "c" / "vocab.txt").read_text() == vocab


def test_optimizer_state_is_left_out(tmp_path: pathlib.Path) -> None:
    prefix = str(tmp_path / "bert_model.ckpt")
    task = random_task()
    tf1_bert.save(task, str(tmp_path))
    reader = tf.train.load_checkpoint(prefix)
    tensors = {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
    }
    tensors |= {f"{n}/adam_m": v for n, v in tensors.items()}
    tensors["global_step"] = np.int64(7)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(v) for v in tensors.values()],
    )
    assert not tf1_bert.load_weights(MaskedLM(task.config), str(tmp_path))


def test_missing_checkpoint_is_named(tmp_path: pathlib.Path) -> None:
    for call in (
        lambda: tf1_bert.load_weights(random_task(), str(tmp_path)),
        lambda: to_model_folder(str(tmp_path), str(tmp_path / "out")),
    ):
        with pytest.raises(ValueError, match=r"no file that ends in \.index"):
            call()
    with pytest.raises(ValueError, match="must be a TF1 checkpoint"):
        tf1_bert.load_weights(random_task(), str(tmp_path / "model.ckpt-1"))


def rename(folder: pathlib.Path, name: str) -> None:
    """Renames the checkpoint of a folder."""
    for path in folder.glob("bert_model.ckpt*"):
        path.rename(folder / path.name.replace("bert_model.ckpt", name))


def test_checkpoints_of_any_name(tmp_path: pathlib.Path) -> None:
    task, source = random_task(), tmp_path / "source"
    tf1_bert.save(task, str(source))
    rename(source, "model.ckpt-1000")
    (source / "bert_config.json").rename(source / "large.json")
    for number, path in enumerate(
        (source, source / "model.ckpt-1000", source / "model.ckpt-1000.index")
    ):
        folder = str(tmp_path / str(number))
        assert not to_model_folder(str(path), folder).left_out
        assert_same_weights(task, model_folder.load(folder))
    folder = str(tmp_path / "refused")
    (source / "other.json").write_text("{}")
    with pytest.raises(ValueError, match=r"large\.json, other\.json"):
        to_model_folder(str(source), folder)
    tf1_bert.save(task, str(source))
    with pytest.raises(
        ValueError, match=r"2, .*bert_model\.ckpt, .*model\.ckpt-1000\. Give"
    ):
        to_model_folder(str(source), folder)


@pytest.mark.parametrize("lower_case", [None, True])
def test_a_cased_vocabulary_keeps_case(
    lower_case: bool | None, tmp_path: pathlib.Path, caplog: Any
) -> None:
    tf1_bert.save(random_task(), str(tmp_path / "tf1"))
    tokens = [*VOCAB[:5], "The", "the", "cat"]
    (tmp_path / "tf1" / "vocab.txt").write_text("\n".join(tokens) + "\n")
    folder = str(tmp_path / "folder")
    to_model_folder(str(tmp_path / "tf1"), folder, lower_case)
    ours = load_tokenizer(folder)
    expected = [6, 6] if lower_case else [5, 6]
    assert ours.tokenize(["The the"]).to_list() == [expected]
    assert len(caplog.records) == (0 if lower_case else 1)


def test_a_vocabulary_that_stands_in_tokenizer_json_alone(
    tmp_path: pathlib.Path,
) -> None:
    """Transformers 5 writes no vocab.txt."""
    tf1_bert.save(random_task(), str(tmp_path / "a"))
    (tmp_path / "a" / "vocab.txt").write_text("\n".join(VOCAB) + "\n")
    to_model_folder(str(tmp_path / "a"), str(tmp_path / "b"))
    (tmp_path / "b" / "vocab.txt").unlink()
    tf1_bert.from_model_folder(str(tmp_path / "b"), str(tmp_path / "c"))
    assert (tmp_path / "c" / "vocab.txt").read_text().split("\n")[:-1] == VOCAB


@pytest.mark.slow
def test_official_gives_the_same_outputs(tmp_path: pathlib.Path) -> None:
    task, inputs = random_task(), random_inputs()
    tf1_bert.save(task, str(tmp_path))
    np.savez(tmp_path / "inputs.npz", **inputs)
    command = [
        sys.executable,
        str(OFFICIAL),
        str(tmp_path),
        str(tmp_path / "inputs.npz"),
        str(tmp_path / "outputs.npz"),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = np.load(tmp_path / "outputs.npz")
    ours = task(inputs)
    hidden = task.model.transformer(
        inputs["token_ids"],
        padding_mask=inputs["padding_mask"],
        segment_ids=inputs["segment_ids"],
    )
    for name, value in {**ours, "hidden_states": hidden}.items():
        np.testing.assert_allclose(
            value.numpy(), theirs[name], atol=1e-5, rtol=0, err_msg=name
        )
