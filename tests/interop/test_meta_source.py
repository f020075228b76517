"""LLaMA of Meta, against its forward pass in NumPy."""

import base64
import itertools
import json
import pathlib
from typing import Any

import numpy as np
import pytest
import tokenizers

from tests.interop.torch_writer import Call, tensor, write_zip
from tfllm.interop import model_folder
from tfllm.interop.sources import convert, tiktoken_file
from tfllm.tokenizers.split_patterns import PATTERNS

D, N, K, F, V, L = 24, 4, 2, 40, 50, 2
H = D // N
PARAMS = {
    "dim": D,
    "n_layers": L,
    "n_heads": N,
    "n_kv_heads": K,
    "norm_eps": 1e-5,
    "vocab_size": -1,
    "rope_theta": 5000.0,
}
# Axis along which the files cut a tensor.
CUTS = {"wq": 0, "wk": 0, "wv": 0, "wo": 1, "w1": 0, "w2": 1, "w3": 0}


def random_tensors(rows: int = V) -> dict[str, np.ndarray]:
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (rows, D),
        "norm.weight": (D,),
        "output.weight": (rows, D),
    }
    for i in range(L):
        for name, shape in {
            "attention.wq": (N * H, D),
            "attention.wk": (K * H, D),
            "attention.wv": (K * H, D),
            "attention.wo": (D, N * H),
            "feed_forward.w1": (F, D),
            "feed_forward.w2": (D, F),
            "feed_forward.w3": (F, D),
            "attention_norm": (D,),
            "ffn_norm": (D,),
        }.items():
            shapes[f"layers.{i}.{name}.weight"] = shape
    rng = np.random.default_rng(0)
    tensors = {n: 0.3 * rng.normal(size=s) for n, s in shapes.items()}
    return {n: a.astype("float32") for n, a in tensors.items()}


def norm(x: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * scale


def rotate(x: np.ndarray) -> np.ndarray:
    """Neighbours are the parts of a complex number; x is [T, heads, H]."""
    angles = np.arange(len(x))[:, None] * 5000.0 ** (-np.arange(0, H, 2) / H)
    turned = x[..., ::2] + 1j * x[..., 1::2]
    turned = turned * np.exp(1j * angles)[:, None]
    return np.stack([turned.real, turned.imag], -1).reshape(x.shape)


def logits(w: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    x = w["tok_embeddings.weight"][ids]
    hidden = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    for i in range(L):
        p = {
            n.removeprefix(f"layers.{i}.").removesuffix(".weight"): a
            for n, a in w.items()
        }
        h = norm(x, p["attention_norm"])
        q, k, v = (
            (h @ p[f"attention.w{n}"].T).reshape(len(ids), -1, H) for n in "qkv"
        )
        q, k = rotate(q), rotate(k)
        k, v = np.repeat(k, N // K, 1), np.repeat(v, N // K, 1)
        scores = np.einsum("tnh,snh->nts", q, k) / np.sqrt(H) + hidden
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        scores /= scores.sum(-1, keepdims=True)
        mixed = np.einsum("nts,snh->tnh", scores, v).reshape(len(ids), -1)
        x = x + mixed @ p["attention.wo"].T
        h = norm(x, p["ffn_norm"])
        gate = h @ p["feed_forward.w1"].T
        gate = gate / (1 + np.exp(-gate)) * (h @ p["feed_forward.w3"].T)
        x = x + gate @ p["feed_forward.w2"].T
    return norm(x, w["norm.weight"]) @ w["output.weight"].T


def part(name: str, a: np.ndarray, i: int, count: int, rows: bool) -> Any:
    layer = name.split(".")[-2]
    axis = CUTS.get(layer)
    if layer in ("tok_embeddings", "output"):
        axis = 0 if rows or layer == "output" else 1
    piece = a if axis is None else np.split(a, count, axis)[i]
    return np.ascontiguousarray(piece)


def write(
    folder: pathlib.Path,
    tensors: dict[str, np.ndarray],
    count: int,
    rows: bool = False,
) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "params.json").write_text(json.dumps(PARAMS))
    for i in range(count):
        parts = {n: part(n, a, i, count, rows) for n, a in tensors.items()}
        parts["rope.freqs"] = np.ones(H // 2, "float32")
        write_zip(
            folder / f"consolidated.{i:02d}.pth",
            {name: tensor(name, a) for name, a in parts.items()},
            parts,
        )


@pytest.mark.parametrize(("count", "rows"), [(1, False), (2, False), (2, True)])
def test_logits_are_those_of_the_original(
    tmp_path: pathlib.Path, count: int, rows: bool
) -> None:
    tensors = random_tensors()
    write(tmp_path / "meta", tensors, count, rows)
    report = convert.to_model_folder(str(tmp_path / "meta"), f"{tmp_path}/ours")
    assert report.source == "meta"
    assert len(report.read) == len(tensors)
    assert report.left_out == ["rope.freqs"]
    assert "`pip install transformers`" in report.comparison
    ids = np.random.default_rng(1).integers(0, V, 9).astype("int32")
    task = model_folder.load(tmp_path / "ours")
    found = task.model(ids[None])["clm"].numpy()[0]
    np.testing.assert_allclose(found, logits(tensors, ids), atol=1e-5)


@pytest.mark.live_parity
@pytest.mark.slow
def test_transformers_computes_the_same(tmp_path: pathlib.Path) -> None:
    for package in ("torch", "transformers"):
        pytest.importorskip(package)
    write(tmp_path / "meta", random_tensors(), 2)
    report = convert.to_model_folder(f"{tmp_path}/meta", f"{tmp_path}/ours")
    assert "which read the result" in report.comparison
    assert report.difference is not None, report.comparison
    assert report.difference < 1e-5


def test_parts_that_are_missing(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "meta", random_tensors(), 2)
    first = tmp_path / "meta" / "consolidated.00.pth"
    kept = first.read_bytes()
    first.unlink()
    target = str(tmp_path / "ours")
    with pytest.raises(ValueError, match=r"and those that follow.*\.01\.pth"):
        convert.to_model_folder(str(tmp_path / "meta"), target)
    first.write_bytes(kept)
    a = np.ones(2, "float32")
    second = tmp_path / "meta" / "consolidated.01.pth"
    write_zip(second, {"w": tensor("w", a)}, {"w": a})
    with pytest.raises(ValueError, match=r"01\.pth' must have the tensors of"):
        convert.to_model_folder(str(tmp_path / "meta"), target)
    (tmp_path / "meta" / "params.json").write_text("{}")
    write(tmp_path / "other", random_tensors(), 1)
    (tmp_path / "other" / "params.json").write_text('{"dim": 24}')
    with pytest.raises(ValueError, match=r"params\.json' must have `n_layers`"):
        convert.to_model_folder(str(tmp_path / "other"), target)
    assert not (tmp_path / "ours").exists()


def test_pickles_are_not_executed(tmp_path: pathlib.Path) -> None:
    write(tmp_path / "meta", random_tensors(), 1)
    proof, a = tmp_path / "executed", np.ones(2, "float32")
    value = {"w": tensor("w", a), "evil": Call("os.system", (f"> {proof}",))}
    path = tmp_path / "meta" / "consolidated.00.pth"
    write_zip(path, value, {"w": a})
    with pytest.raises(ValueError, match=r"00\.pth' must be .*os\.system"):
        convert.to_model_folder(str(tmp_path / "meta"), str(tmp_path / "ours"))
    assert not proof.exists()
    assert not (tmp_path / "ours").exists()


# Tokens of LLaMA 3 in small: some are reached by several merges, and one,
# " there", by none.
TIKTOKEN = [*(bytes([i]) for i in range(256)), *map(str.encode, ["th", "he"])]
TIKTOKEN += [b"in", b" t", b"the", b" th", b"er", b" the", b"ing", b"12"]
TIKTOKEN += ["\u00e9".encode(), b"\n\n", b"  ", b" there", b"123", b"thing"]
LINES = [
    "the thing, there 12345 in then",
    "thething THE  the\n\n\nend   there's",
    "caf\u00e9 \u4f60\u597d \U0001f600 12 123 1234",
    "",
    " there",
]


def write_tiktoken(path: pathlib.Path) -> None:
    lines = [
        f"{base64.b64encode(token).decode()} {rank}\n"
        for rank, token in enumerate(TIKTOKEN)
    ]
    path.write_text("".join(lines))


def merged(word: bytes) -> list[int]:
    """The ids of a word: joins the pair with the lowest rank, as tiktoken."""
    ranks = {token: rank for rank, token in enumerate(TIKTOKEN)}
    if word in ranks:
        return [ranks[word]]
    parts = [word[i : i + 1] for i in range(len(word))]
    while True:
        pairs = [
            (ranks[a + b], i)
            for i, (a, b) in enumerate(itertools.pairwise(parts))
            if a + b in ranks
        ]
        if not pairs:
            return [ranks[part] for part in parts]
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


@pytest.mark.parametrize("scaled", [False, True])
def test_tokens_of_tiktoken(
    tmp_path: pathlib.Path, monkeypatch: Any, scaled: bool
) -> None:
    monkeypatch.setitem(PARAMS, "use_scaled_rope", scaled)
    write(tmp_path / "meta", random_tensors(len(TIKTOKEN) + 20), 1)
    write_tiktoken(tmp_path / "meta" / "tokenizer.model")
    convert.to_model_folder(str(tmp_path / "meta"), str(tmp_path / "ours"))
    task = model_folder.load(tmp_path / "ours")
    tokenizer, first = task.tokenizer, len(TIKTOKEN)
    pattern = tokenizers.Regex(PATTERNS["llama3"].published)
    split = tokenizers.pre_tokenizers.Split(pattern, "isolated")
    expected = [
        [i for w, _ in split.pre_tokenize_str(line) for i in merged(w.encode())]
        for line in LINES
    ]
    assert tokenizer.tokenize(LINES).to_list() == expected
    assert [bytes(t) for t in tokenizer.token_bytes[:first]] == TIKTOKEN
    assert (tokenizer.special.bos, tokenizer.special.eos) == (first, first + 1)
    assert tokenizer.vocab[first + 9] == "<|eot_id|>"
    assert tokenizer.vocab[first + 6] == "<|start_header_id|>"
    known = "<|python_tag|>" in tokenizer.vocab
    assert (known, "<|eom_id|>" in tokenizer.vocab) == (scaled, scaled)
    last = 11 if scaled else 14
    assert tokenizer.vocab[-1] == f"<|reserved_special_token_{last}|>"
    assert list(task.text.config.eos_token_id) == [first + 1, first + 9]


def test_the_special_tokens_of_the_published_models() -> None:
    third = tiktoken_file.special_tokens("3", 256)
    assert third[10] == "<|reserved_special_token_5|>"
    assert third[-1] == "<|reserved_special_token_250|>"
    newer = tiktoken_file.special_tokens("3.1", 256)
    assert newer[4] == "<|finetune_right_pad_id|>"
    assert newer[11] == "<|reserved_special_token_3|>"
    assert newer[-1] == "<|reserved_special_token_247|>"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IQ== 0\nnot a line\n", "line 2 of .*tokenizer.model' must be a"),
        ("IQ== 0\nIg== 2\n", "ranks 0, 1.*Received: 2 tokens.*up to 2"),
        ("IQ== 0\n", "byte of ASCII"),
    ],
)
def test_damaged_lists_of_tokens(
    tmp_path: pathlib.Path, text: str, message: str
) -> None:
    write(tmp_path / "meta", random_tensors(), 1)
    (tmp_path / "meta" / "tokenizer.model").write_text(text)
    with pytest.raises(ValueError, match=message):
        convert.to_model_folder(str(tmp_path / "meta"), str(tmp_path / "ours"))
    write_tiktoken(tmp_path / "meta" / "tokenizer.model")
    with pytest.raises(ValueError, match="has 50 rows. Received: 272 tokens"):
        convert.to_model_folder(str(tmp_path / "meta"), str(tmp_path / "ours"))
