"""The in-graph tokenizer, with the `tokenizers` package as its oracle."""

import dataclasses
import json
import random
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from tfllm.models import FAMILIES
from tfllm.tokenizers import WordPieceTokenizer
from tfllm.tokenizers.wordpiece import BERT_TOKENS

SPECIALS = list(BERT_TOKENS.all())
WORDS = """the quick brown foxes jumped over lazy dogs while naïve café owners
discussed résumés über straße façade Åström İstanbul ısı ÇELİK привет мир Ёлка
ἀρχή Ὀδυσσεύς σίγμα ΣΊΣΥΦΟΣ שָׁלוֹם עולם مرحبا بالعالم สวัสดีชาวโลก नमस्ते
दुनिया 한국어 안녕하세요 日本語 中文字符 ひらがな カタカナ
ﬁnance ﬂow Ａｂｃ １２３
tokenization unbelievable international 2024 3.14 e-mail don't 😀 👍🏽 👩‍👩‍👧 
½ ² № ǆ ẞ º ª ᾳ Ⅷ ﷺ ㍿ 가각 q̃ z̶̷ ñ ŵ""".split()  # noqa: SIM905
# Pieces where tensorflow_text and BERT disagree about word borders.
ODD = ["\u061d", "x\u061d", "##\u061d", "\u166d", "\U00020000", "##]", "a.b"]
ODD += ["\U0002b820", "##\U0002b820", "\u2e43", "##ß", "ｱ", "Ω", "[unused0]"]
BLOCKS = [
    (0x00, 0x250), (0x250, 0x500), (0x500, 0x800), (0x800, 0x1100),
    (0x1100, 0x1200), (0x1200, 0x2000), (0x2000, 0x2E80), (0x2E80, 0x3400),
    (0x4E00, 0x4F00), (0xA000, 0xAC00), (0xAC00, 0xD7FF), (0xE000, 0xE100),
    (0xF900, 0xFFFF), (0x10000, 0x12000), (0x16000, 0x17000),
    (0x1B000, 0x1D000), (0x1D000, 0x20000), (0x20000, 0x20100),
    (0x2B700, 0x2BA00), (0x2F800, 0x2FA20), (0xE0000, 0xE0200),
    (0xF0000, 0xF0010), (0x10FFF0, 0x110000),
]  # fmt: skip
MARKS = "\u0300\u0301\u0307\u0308\u0323\u0327\u0345\u034f\u0591\u064b\u093c"
MARKS += "\u0e31\u200d\ufe0f\u00ad\u200b\u20dd\u0903"


def _vocab(lowercase):
    chars = set()
    texts = [*WORDS, *(w.lower() for w in WORDS), "abcdefghijklmnopqrstuvwxyz"]
    texts += ["ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!\"#$%&'()*+,-./:;<=>?@[]"]
    texts += ["。、！？「」«»—–…‘’“”¿¡§¶†‡•‰′″‹›", "Ωµ€£¥©®™°±×÷√∞≈≠≤≥"]
    for text in texts:
        chars.update(text)
        chars.update(unicodedata.normalize("NFD", text))
    chars = sorted(c for c in chars if not c.isspace())
    pieces = [w for w in WORDS if len(w) < 6] + ["##ing", "##ed", "##tion"]
    pieces += [unicodedata.normalize("NFD", w) for w in ("한국어", "가각")]
    pieces += ["hello", "mask", "cls", "aa", "##aaaa", "##a" * 1, "é", "##日"]
    tokens = [*SPECIALS, *chars, *(f"##{c}" for c in chars), *pieces, *ODD]
    if lowercase:
        tokens += [w.lower() for w in WORDS]
    return list(dict.fromkeys(tokens))


def _oracle(vocab, lowercase, specials=False, **options):
    ids = {token: i for i, token in enumerate(vocab)}
    tokenizer = Tokenizer(
        models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100)
    )
    tokenizer.normalizer = normalizers.BertNormalizer(
        **{
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": lowercase,
            **options,
        }
    )
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if specials:
        tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def _difficult_lines():
    rng = random.Random(7)
    lines = ["", " ", "\n", "\0", "[MASK]", "[CLS] [SEP]", "a[MASK]b [mask]"]
    lines += [w + t for w in WORDS for t in ("", "s", "\u0301", ".")]

    def char():
        first, last = rng.choice(BLOCKS)
        code = rng.randrange(first, last)
        return " " if 0xD800 <= code < 0xE000 else chr(code)

    for _ in range(1200):
        lines.append("".join(char() for _ in range(rng.randrange(1, 30))))
    for _ in range(1200):
        parts = []
        for _ in range(rng.randrange(1, 9)):
            word = list(rng.choice(WORDS))
            for _ in range(rng.randrange(3)):
                place = rng.randrange(len(word) + 1)
                word.insert(place, rng.choice([char(), rng.choice(MARKS)]))
            form = rng.choice(["NFC", "NFD", "NFKC", None])
            text = "".join(word)
            parts.append(unicodedata.normalize(form, text) if form else text)
        separator = rng.choice([" ", "\t", "\r\n", "\u3000", "\u2028", ""])
        lines.append(separator.join(parts))
    for size in [*range(97, 104), 300, *range(31, 36), *range(48, 53)]:
        for unit in (
            "aßé日한😀я\u0301",
            "a",
            "ß",
            "е",
            "한",
            "é",
            "e\u0301",
            "𝒳",
        ):
            word = (unit * size)[:size]
            lines += [word, f"a {word} b", f"{word}. a", f"\xad{word}\0日"]
    for code in [*range(0x100), 0xFFFD, 0x200D, 0xFEFF]:
        lines.append(f"hello{chr(code)}mask {chr(code)} a{chr(code)}")
    for code in range(0x110000):
        category = unicodedata.category(chr(code))
        if category[0] == "P":
            lines.append(f"don{chr(code)}t {chr(code)}")
    for token in SPECIALS:
        lines += [
            f"a{token}b",
            f"{token}{token}",
            f" [ {token[1:]}",
            token[:-1],
        ]
    return lines


LINES = _difficult_lines()


def _byte_offsets(text, spans):
    sizes = np.cumsum([0] + [len(c.encode()) for c in text])
    return [(int(sizes[a]), int(sizes[b])) for a, b in spans]


@pytest.mark.parametrize("specials", [False, True])
@pytest.mark.parametrize(
    ("lowercase", "strip", "chinese"),
    [
        (True, None, True),
        (False, None, True),
        (True, False, True),
        (False, True, True),
        (True, None, False),
        (False, None, False),
    ],
)
def test_ids_and_offsets_equal(lowercase, strip, chinese, specials):
    vocab = _vocab(lowercase)
    tokenizer = WordPieceTokenizer(
        vocab,
        lowercase,
        strip,
        tokenize_chinese_chars=chinese,
        special_tokens_in_text=SPECIALS if specials else (),
    )
    oracle = _oracle(
        vocab,
        lowercase,
        specials,
        strip_accents=strip,
        handle_chinese_chars=chinese,
    )
    assert len(LINES) >= 4000
    ids = tokenizer.tokenize(tf.constant(LINES)).to_list()
    parts = tokenizer.tokenize_with_offsets(tf.constant(LINES))
    assert parts[0].to_list() == ids
    expected = oracle.encode_batch(LINES, add_special_tokens=False)
    different = [
        (line, got, want.tokens)
        for line, got, want in zip(LINES, ids, expected, strict=True)
        if got != want.ids
    ]
    print(f"{len(LINES) - len(different)} of {len(LINES)} lines have equal ids")
    assert not different, different[:3]
    starts, ends = parts[1].to_list(), parts[2].to_list()
    wrong = []
    for i, (line, want) in enumerate(zip(LINES, expected, strict=True)):
        got = list(zip(starts[i], ends[i], strict=True))
        if got != _byte_offsets(line, want.offsets):
            wrong.append((line, got, _byte_offsets(line, want.offsets)))
    print(f"{len(LINES) - len(wrong)} of {len(LINES)} have equal offsets")
    assert not wrong, wrong[:5]


def test_every_code_point_equals():
    # Within a word, so that dropping, splitting and mapping all show.
    codes = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    rng = random.Random(3)
    # All that have a decomposition, case or mark, and a sample of the rest.
    codes = [
        c
        for c in codes
        if unicodedata.category(chr(c)) not in ("Lo", "Co", "Cn", "So")
        or rng.random() < 0.02
    ]
    texts = [f"a{chr(c)}b" for c in codes]
    for lowercase in (True, False):
        chars = set("ab") | {chr(c) for c in codes}
        chars |= set(unicodedata.normalize("NFD", "".join(texts)))
        chars |= set("".join(texts).lower())
        plain = sorted(c for c in chars if c not in "\0")
        vocab = [*SPECIALS, *plain, *(f"##{c}" for c in plain)]
        ids = WordPieceTokenizer(vocab, lowercase).tokenize(texts).to_list()
        oracle = _oracle(vocab, lowercase)
        expected = oracle.encode_batch(texts, add_special_tokens=False)
        pairs = zip(codes, ids, expected, strict=True)
        assert not [hex(c) for c, got, want in pairs if got != want.ids]


def test_known_difference_order_of_spacing_marks():
    marks = ["\u302e", "\u1b44", "\U0001d165", "\U0001d16d"]
    vocab = [*SPECIALS, "a", *(f"##{mark}" for mark in marks)]
    texts = [f"a{x}{y}" for x in marks for y in marks]
    ids = WordPieceTokenizer(vocab).tokenize(texts).to_list()
    encodings = _oracle(vocab, True).encode_batch(texts)
    different = [
        t for t, g, w in zip(texts, ids, encodings, strict=True) if g != w.ids
    ]
    assert len(different) == 6


def test_invalid_utf8_is_dropped():
    rng = random.Random(5)
    raw = [
        b"a\xffb",
        b"\xe4\xb8",
        b"a\xe4\xb8b",
        b"\xf0\x9f\x98a",
        b"\xed\xa0\x80a",
    ]
    for line in LINES[::4]:
        data = bytearray(line.encode())
        for _ in range(3):
            place = rng.randrange(len(data) + 1)
            data[place:place] = bytes([rng.randrange(0x80, 0x100)])
        raw.append(bytes(data))
    vocab = _vocab(True)
    ids = WordPieceTokenizer(vocab).tokenize(raw).to_list()
    decoded = [line.decode(errors="replace") for line in raw]
    expected = _oracle(vocab, True).encode_batch(decoded)
    different = [
        r for r, g, w in zip(raw, ids, expected, strict=True) if g != w.ids
    ]
    assert not different


def test_saved_model_and_pipelines(tmp_path):
    tokenizer = WordPieceTokenizer(
        _vocab(True), special_tokens_in_text=["[MASK]"]
    )

    def tokenize(text):
        ids, starts, ends = tokenizer.tokenize_with_offsets(text)
        return {
            "ids": ids.to_tensor(),
            "starts": starts.to_tensor(),
            "ends": ends.to_tensor(),
            "text": tokenizer.detokenize(ids),
        }

    module = tf.Module()
    module.serve = tf.function(
        tokenize, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(module, str(tmp_path / "1"))
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    lines = tf.constant(LINES[::7])
    expected = tokenize(lines)
    dataset = tf.data.Dataset.from_tensor_slices(lines).batch(len(lines))
    for got in (loaded.serve(lines), next(iter(dataset.map(tokenize)))):
        for name, value in expected.items():
            np.testing.assert_array_equal(got[name], value)
    assert loaded.serve(tf.constant([], tf.string))["ids"].shape[0] == 0
    graph = module.serve.get_concrete_function().graph.as_graph_def()
    functions = [n for f in graph.library.function for n in f.node_def]
    ops = {node.op for node in [*graph.node, *functions]}
    forbidden = ("PyFunc", "Table", "RoundRobin", "Binarize", "XlaMust")
    assert not [op for op in ops if any(word in op for word in forbidden)]
    assert "FastBertNormalize" in ops


def test_save_and_read(tmp_path):
    vocab = _vocab(False)
    tokens = dataclasses.replace(BERT_TOKENS, mask="hello")
    WordPieceTokenizer(vocab, False, special_tokens=tokens).save(str(tmp_path))
    read = WordPieceTokenizer.from_file(str(tmp_path))
    assert read.vocab == vocab
    assert not read.lowercase
    assert read.special_tokens == tokens
    assert read.special.mask == vocab.index("hello")
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["do_lower_case"] is False
    fast = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    encoding = fast.encode("the café", "Übung")
    assert encoding.tokens[0] == "[CLS]"
    assert encoding.type_ids[-1] == 1
    file = WordPieceTokenizer.from_file(str(tmp_path / "vocab.txt"))
    assert not file.lowercase  # The vocabulary has capitals.
    assert file.vocab_hash() == read.vocab_hash()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "an empty file"),
        (b"[PAD]\n\0\1", "NUL byte on line 2"),
        (b"a\n\xff\xfe\n", "bytes on line 2 that are not UTF-8"),
        (b"[PAD]\na\nb\na\n", "'a' on lines 2 and 4"),
        (b"[PAD]\n\na\n", "empty token on line 2"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", r"without \[MASK\]"),
    ],
)
def test_refuses_vocabulary(tmp_path, content, message):
    path = tmp_path / "vocab.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        WordPieceTokenizer.from_file(str(path))


def test_refuses_arguments(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        WordPieceTokenizer.from_file(str(tmp_path / "none"))
    with pytest.raises(ValueError, match="vocab.txt' does not exist"):
        WordPieceTokenizer.from_file(str(tmp_path))
    with pytest.raises(ValueError, match=r"Received: \['x'\]"):
        WordPieceTokenizer(SPECIALS, special_tokens_in_text=["x"])
    with pytest.raises(ValueError, match="Received: string of shape"):
        WordPieceTokenizer(SPECIALS).tokenize(tf.constant("a"))


def test_detokenize():
    vocab = [*SPECIALS, "un", "##able", "##s", "."]
    tokenizer = WordPieceTokenizer(vocab)
    ids = tf.ragged.constant([[2, 5, 6, 7, 8, 3], [], [7, 5]], tf.int32)
    text = [b"[CLS] unables. [SEP]", b"", b"##s un"]
    assert tokenizer.detokenize(ids).numpy().tolist() == text
    text[0] = b"unables."
    short = tokenizer.detokenize(ids.to_tensor(), skip_special_tokens=True)
    assert short.numpy().tolist() == text
    assert tokenizer.is_special.sum() == 5
    assert tokenizer.is_continuation.tolist() == [False] * 6 + [True] * 2 + [
        False
    ]


@pytest.mark.parametrize("lowercase", [True, False])
def test_reads_a_folder_with_tokenizer_json_alone(tmp_path, lowercase):
    """Transformers 5 writes no vocab.txt."""
    tokenizer = WordPieceTokenizer(_vocab(lowercase), lowercase=lowercase)
    tokenizer.save(str(tmp_path))
    for name in ("vocab.txt", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    read = WordPieceTokenizer.from_file(str(tmp_path))
    assert read.vocab == tokenizer.vocab
    assert read.lowercase == lowercase
    text = tf.constant(["Naïve CAFÉ 日本語"])
    assert read.tokenize(text).to_list() == tokenizer.tokenize(text).to_list()
    damaged = json.loads((tmp_path / "tokenizer.json").read_text())
    damaged["model"]["type"] = "BPE"
    (tmp_path / "tokenizer.json").write_text(json.dumps(damaged))
    with pytest.raises(ValueError, match="WordPiece.*'BPE'"):
        WordPieceTokenizer.from_file(str(tmp_path))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("padding_side", "left"),
        ("padding_side", "middle"),
        ("truncation_side", "left"),
    ],
)
def test_sides_in_the_config_are_refused(tmp_path, whole, key, value):
    WordPieceTokenizer([*SPECIALS, "a"], lowercase=True).save(str(tmp_path))
    if not whole:
        (tmp_path / "tokenizer.json").unlink()
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, key: "right"}))
    WordPieceTokenizer.from_file(str(tmp_path))
    file.write_text(json.dumps({**config, key: value}))
    with pytest.raises(ValueError, match=f"`{key}` in .*Received: '{value}'"):
        WordPieceTokenizer.from_file(str(tmp_path))


def test_a_class_error_names_each_class_once(tmp_path):
    (tmp_path / "vocab.txt").write_text("\n".join([*SPECIALS, "a"]) + "\n")
    file = tmp_path / "tokenizer_config.json"
    file.write_text('{"tokenizer_class": "TapasTokenizer"}')
    spec = FAMILIES["bert"].tokenizer
    with pytest.raises(ValueError, match="TapasTokenizer") as caught:
        WordPieceTokenizer.from_file(str(tmp_path), spec)
    assert str(caught.value).count("'BertTokenizer'") == 1
