"""Presets of KerasHub: equal outputs in both directions."""

import io
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import sentencepiece

from tests.interop.test_tf1_bert import VOCAB
from tfllm.interop import model_folder
from tfllm.interop.sources import (
    convert,
    keras_hub_source,
    keras_hub_writer,
)
from tfllm.interop.sources.keras_hub_layouts import LAYOUTS
from tfllm.models import FAMILIES
from tfllm.tokenizers.byte_pair_model import byte_symbols

keras_hub = pytest.importorskip("keras_hub")
gelu_approximate = pytest.importorskip(
    "keras_hub.src.utils.keras_utils"
).gelu_approximate
pytestmark = [
    # When Keras saves weights, when it builds KerasHub's T5, and when that
    # reads its tokenizer.
    pytest.mark.filterwarnings(f"ignore:{text}")
    for text in (
        "__array__ implementation:DeprecationWarning",
        r"Layer '\w+' .of type T5:UserWarning",
        r"unclosed file.*vocabulary\.spm:ResourceWarning",
    )
]

SIZES = {
    "vocabulary_size": 300,
    "num_layers": 2,
    "num_heads": 4,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "max_sequence_length": 20,
}
ROTARY = {
    "vocabulary_size": 300,
    "num_layers": 2,
    "num_query_heads": 4,
    "num_key_value_heads": 2,
    "hidden_dim": 16,
    "intermediate_dim": 24,
    "rope_max_wavelength": 5000,
    "layer_norm_epsilon": 1e-5,
}
SCALED = {
    "rope_frequency_adjustment_factor": 8.0,
    "rope_low_freq_factor": 1.0,
    "rope_high_freq_factor": 4.0,
    "rope_pretraining_sequence_length": 64,
}
T5 = {
    **{k: v for k, v in SIZES.items() if k != "max_sequence_length"},
    "use_gated_activation": False,
}
# T5 1.1: gates, a table of its own for the output, heads of another width.
GATED = {
    "use_gated_activation": True,
    "activation": gelu_approximate,
    "tie_embedding_weights": False,
    "key_value_dim": 6,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("BertBackbone", {**SIZES, "num_segments": 3}),
    "roberta": ("RobertaBackbone", SIZES),
    "gpt2": ("GPT2Backbone", SIZES),
    "llama": ("LlamaBackbone", ROTARY),
    "llama3": ("Llama3Backbone", {**ROTARY, **SCALED}),
    "t5": ("T5Backbone", T5),
    "t5_gated": ("T5Backbone", {**T5, **GATED}),
}
WORDS = [*byte_symbols(), "\u0120a", "ab"]
MERGES = ["\u0120 a", "a b"]


def randomized(model: Any) -> Any:
    rng = np.random.default_rng(0)
    for v in model.weights:
        center = 1.0 if v.path.endswith(("gamma", "scale")) else 0.0
        v.assign(center + 0.3 * rng.normal(size=v.shape))
    return model


def tokenizer_of(case: str) -> Any:
    made = keras_hub.tokenizers
    if case == "bert":
        return made.BertTokenizer([*VOCAB, "the", "The"], lowercase=True)
    if case == "gpt2":
        tokens = [*WORDS, "<|endoftext|>"]
        ids = {token: i for i, token in enumerate(tokens)}
        return made.GPT2Tokenizer(ids, MERGES)
    if case == "roberta":
        tokens = ["<s>", "<pad>", "</s>", "<unk>", *WORDS, "<mask>"]
        ids = {token: i for i, token in enumerate(tokens)}
        return made.RobertaTokenizer(ids, MERGES)
    if case.startswith("t5"):
        return made.T5Tokenizer(pieces())
    return None


def pieces() -> bytes:
    """A SentencePiece model with the special tokens of T5."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["The ab a", "a mask", "The b"] * 9),
        model_writer=content,
        vocab_size=24,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return content.getvalue()


# Those with most to convert: positions, a head, grouped queries, scaling.
SHOWN = ("roberta", "llama3")


@pytest.fixture(
    params=[
        pytest.param(c, marks=() if c in SHOWN else pytest.mark.wide)
        for c in CASES
    ],
    scope="module",
)
def case(request: Any) -> str:
    return request.param


@pytest.fixture(scope="module")
def preset(case: str, tmp_path_factory: Any) -> tuple[pathlib.Path, Any]:
    """A preset of a random model, and the model."""
    name, arguments = CASES[case]
    model = getattr(keras_hub.models, name)(**arguments)
    if case == "roberta":
        model = keras_hub.models.RobertaMaskedLM(model, preprocessor=None)
    randomized(model)
    folder = tmp_path_factory.mktemp("preset")
    model.save_to_preset(str(folder))
    if tokenizer := tokenizer_of(case):
        tokenizer.save_to_preset(str(folder))
    return folder, model


def rows_of(ids: Any) -> list[list[int]]:
    return ids if isinstance(ids, list) else ids.to_list()


def hidden(model: Any) -> np.ndarray:
    """The states of the last layer; rows padded on the right."""
    backbone = getattr(model, "backbone", model)
    rng = np.random.default_rng(1)
    mask = (np.arange(9) < [[9], [6]]).astype("int32")
    inputs = {
        "token_ids": rng.integers(1, 300, (2, 9)),
        "padding_mask": mask,
        "segment_ids": rng.integers(0, 3, (2, 9)),
    }
    # An encoder-decoder reads other tokens with its decoder.
    inputs |= {f"encoder_{name}": x for name, x in inputs.items()}
    inputs |= {
        "decoder_token_ids": rng.integers(1, 300, (2, 9)),
        "decoder_padding_mask": mask,
    }
    outputs = backbone({name: inputs[name] for name in backbone.input})
    if isinstance(outputs, dict):
        names = ("sequence_output", "decoder_sequence_output")
        outputs = next(outputs[name] for name in names if name in outputs)
    return np.asarray(outputs)[mask == 1]


@pytest.mark.slow
def test_both_ways(case: str, preset: Any, tmp_path: pathlib.Path) -> None:
    folder, model = preset
    ours, back = str(tmp_path / "ours"), str(tmp_path / "back")
    report = convert.to_model_folder(str(folder), ours)
    assert report.source == "keras_hub"
    assert report.left_out == []
    assert report.difference is not None
    assert report.difference < 1e-5
    assert "keras-hub" in str(report)

    keras_hub_writer.write(ours, back)
    again = keras_hub.models.Backbone.from_preset(back)
    np.testing.assert_allclose(hidden(again), hidden(model), atol=1e-5)
    if case == "roberta":
        task = keras_hub.models.MaskedLM.from_preset(back, preprocessor=None)
        for v, w in zip(task.weights, model.weights, strict=True):
            if "position" not in v.path:
                np.testing.assert_array_equal(v.numpy(), w.numpy(), v.path)
    if tokenizer := tokenizer_of(case):
        text = ["The ab a<mask>"]
        expected = rows_of(tokenizer(text))
        tokenizer = keras_hub.tokenizers.Tokenizer.from_preset(back)
        assert rows_of(tokenizer(text)) == expected
        read = model_folder.load(ours).tokenizer.tokenize(["The ab a"])
        assert read.to_list()[0] == expected[0][: len(read.to_list()[0])]


def saved(
    tmp_path: pathlib.Path, family: str, **changes: Any
) -> tuple[str, str]:
    from tfllm.tasks import CausalLM, MaskedLM, Seq2SeqLM

    config = FAMILIES[family].size("tiny", vocab_size=50, **changes)
    kind: Any = CausalLM if config.generates else MaskedLM
    if config.kind == "encoder_decoder":
        kind = Seq2SeqLM
    model_folder.save(kind(config), tmp_path / "ours")
    return str(tmp_path / "ours"), str(tmp_path / "theirs")


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("bert", {"activation": "gelu"}, "`hidden_act`.*'gelu_new'.*'gelu'"),
        ("gpt2", {"epsilon": 1e-6}, "`layer_norm_epsilon`.*1e-05.*1e-06"),
        ("llama", {"head_dim": 8}, "`head_dim`.*8"),
        ("t5", {"num_decoder_layers": 3}, "`num_decoder_layers`.*3 and 2"),
        ("t5", {"num_buckets": 16}, "`relative_attention_num_buckets`.*32"),
        ("qwen2", {}, "of a family that KerasHub's.*'qwen2'"),
    ],
)
def test_what_the_classes_of_keras_hub_fix(
    tmp_path: pathlib.Path, family: str, changes: Any, message: str
) -> None:
    source, target = saved(tmp_path, family, **changes)
    with pytest.raises(ValueError, match=message):
        keras_hub_writer.write(source, target)
    assert not pathlib.Path(target).exists()


def test_presets_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    for name in ("missing", "no_such_preset_en"):
        with pytest.raises(ValueError, match="a preset that KerasHub loads"):
            keras_hub_source.read(str(tmp_path / name), convert.Options())
    assert not keras_hub_source.recognizes(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    assert not keras_hub_source.recognizes(str(tmp_path))


def test_each_layout_names_a_class_and_a_family() -> None:
    for name, layout in LAYOUTS.items():
        assert hasattr(keras_hub.models, name)
        assert layout.family in FAMILIES
