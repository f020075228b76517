"""Byte-level BPE against the `tokenizers` package."""

import collections
import inspect
import itertools
import json
import pathlib
import pkgutil
import random
import shutil
import unicodedata
from typing import Any

import keras
import pytest
import tensorflow as tf

from tfllm.data.vocabularies.byte_bpe import ByteBPETrainingConfig, train
from tfllm.tokenizers import ByteBPETokenizer, SpecialTokens, load_tokenizer
from tfllm.tokenizers.byte_pair import END_OF_TEXT
from tfllm.tokenizers.byte_pair_model import byte_symbols
from tfllm.tokenizers.split_patterns import PATTERNS

tokenizers = pytest.importorskip("tokenizers")

# Letters without case, unassigned, private use.
_LARGE = ("Lo", "Cn", "Co")
_HARD = [
    "",
    " ",
    "\n",
    "a  b\n\n c \t\n  ",
    "I'll we've don't it's 'S can't'",
    "x" * 3000,
    "naïve café e\u0301 \u1b44\u302e",
    "日本語のテキスト と 한국어",
    "😀👩‍👩‍👧‍👦 👍🏽",
    "\u0000 nul \u0000\u0000",
    "\u00a0\u2003\u3000wide\u2028spaces\u0085",
    "٣٤٥ ⅷ ½ 1.000,5e-3",
    END_OF_TEXT,
    "a<|endoftext|>b",
    "\ufeffmark",
    "Ġ Ċ ĉ",
]
_ALPHABET = (
    "abcdefgh ABC 0123456789 .,;:!?'\"()[]{}<>|_-+=*/\\&^%$#@~`\n\r\t "
    "äöüßéñçøæœ\u0301\u0308 αβγδ жзийк אבג عربي हिन्दी"
    " 中文字日本 한글 😀🚀👍🏽\u200d"
    "\u0000\u0001\u007f\u0085\u00a0\u00ad\u1680\u2003\u2028\u202f\u3000\ufeff"
    "٣٤½ⅷ²"
)


def real_texts() -> list[str]:
    """Docstrings and comments of the standard library, by line."""
    found: list[str] = []
    for module in pkgutil.iter_modules():
        if module.name in ("argparse", "decimal", "_pydecimal", "inspect"):
            source = inspect.getsource(__import__(module.name))
            found += source.split("\n\n")
            found += source.split("\n")
    return found


def fuzzed_texts(count: int) -> list[str]:
    """Random strings of hard characters, and of any."""
    rng = random.Random(0)
    found = []
    for i in range(count):
        size = rng.randint(1, 40)
        if i % 5:
            found.append("".join(rng.choices(_ALPHABET, k=size)))
            continue
        points = [rng.randrange(0x110000) for _ in range(size)]
        found.append("".join(chr(p) for p in points if not _surrogate(p)))
    return found


def _surrogate(point: int) -> bool:
    return 0xD800 <= point < 0xE000


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("byte_bpe")
    text = "\n".join([*real_texts()[:4000], *fuzzed_texts(300)])
    (folder / "text.txt").write_bytes(text.replace("\0", "").encode())
    train(
        str(folder / "text.txt"),
        str(folder / "tokenizer"),
        ByteBPETrainingConfig(vocab_size=2000),
    )
    return folder / "tokenizer"


@pytest.fixture(name="ours", scope="module")
def _ours(folder: pathlib.Path) -> ByteBPETokenizer:
    tokenizer = load_tokenizer(str(folder))
    assert isinstance(tokenizer, ByteBPETokenizer)
    return tokenizer


@pytest.fixture(name="theirs", scope="module")
def _theirs(folder: pathlib.Path) -> Any:
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


@pytest.fixture(name="plain", scope="module")
def _plain(theirs: Any) -> Any:
    """The same, reading special tokens as any text."""
    content = json.loads(theirs.to_str())
    content["added_tokens"] = []
    return tokenizers.Tokenizer.from_str(json.dumps(content))


def assert_equal(ours: ByteBPETokenizer, theirs: Any, texts: list[str]) -> None:
    found = ours.tokenize(tf.constant(texts))
    decoded = ours.detokenize(found).numpy()
    for text, ids, encoding, content in zip(
        texts, found.to_list(), theirs.encode_batch(texts), decoded, strict=True
    ):
        assert ids == encoding.ids, repr(text)
        assert content == text.encode(), repr(text)


def test_ids_and_bytes_equal_on_real_and_fuzzed_text(
    ours: ByteBPETokenizer, plain: Any
) -> None:
    texts = [*_HARD, *real_texts(), *fuzzed_texts(6000)]
    assert len(texts) > 10_000
    assert_equal(ours, plain, texts)


def test_every_code_point_is_of_the_same_class(
    ours: ByteBPETokenizer, plain: Any
) -> None:
    """Letters, digits, white space and the rest, before and after each.

    Of the large, uniform kinds (ideographs, unassigned) every 16th.
    """
    points = [
        p
        for p in range(0x110000)
        if not _surrogate(p)
        and (p % 16 == 0 or unicodedata.category(chr(p)) not in _LARGE)
    ]
    texts = []
    for start in range(0, len(points), 50):
        chars = map(chr, points[start : start + 50])
        texts.append("".join(f"a{c}1{c}{c}!{c}x {c} " for c in chars))
    assert_equal(ours, plain, texts)


def test_a_batch_equals_single_texts(ours: ByteBPETokenizer) -> None:
    texts = [*_HARD, *fuzzed_texts(50)]
    whole = ours.tokenize(tf.constant(texts)).to_list()
    assert whole == [ours.tokenize([text]).to_list()[0] for text in texts]
    assert ours.tokenize(tf.constant([], tf.string)).to_list() == []


def test_a_new_seed_leaves_the_tokenizer_alone(folder: pathlib.Path) -> None:
    """Setting it drops what TensorFlow's kernels own."""
    tokenizer = ByteBPETokenizer.from_file(str(folder))
    texts = ["The house on the hill.", "caf\u00e9 \U0001f600"]
    before = tokenizer.tokenize(texts).to_list()
    keras.utils.set_random_seed(1)
    assert tokenizer.tokenize(texts).to_list() == before
    tf.random.set_seed(2)
    mapped = tf.data.Dataset.from_tensors(texts).map(tokenizer.tokenize)
    assert next(iter(mapped)).to_list() == before


def test_prefix_space(folder: pathlib.Path, plain: Any) -> None:
    ours = ByteBPETokenizer.from_file(str(folder), add_prefix_space=True)
    content = json.loads(plain.to_str())
    content["pre_tokenizer"]["add_prefix_space"] = True
    theirs = tokenizers.Tokenizer.from_str(json.dumps(content))
    texts = ["word", " word", "\nword", "", " "]
    found = ours.tokenize(tf.constant(texts)).to_list()
    assert found == [e.ids for e in theirs.encode_batch(texts)]
    _, starts, ends = ours.tokenize_with_offsets(tf.constant(["word on"]))
    assert starts.to_list()[0][0] == 0
    assert ends.to_list()[0][-1] == len("word on")


def test_offsets_cut_the_text_into_the_tokens(ours: ByteBPETokenizer) -> None:
    texts = [*_HARD, *fuzzed_texts(200)]
    ids, starts, ends = ours.tokenize_with_offsets(tf.constant(texts))
    spelled = ours.token_bytes
    for text, row, begin, end in zip(
        texts, ids.to_list(), starts.to_list(), ends.to_list(), strict=True
    ):
        content = text.encode()
        cuts = [content[b:e] for b, e in zip(begin, end, strict=True)]
        assert cuts == [spelled[i] for i in row]


def test_bytes_that_are_not_utf8_come_back(ours: ByteBPETokenizer) -> None:
    texts = [b"\xff\xfe", b"ab\x80c", b"\xe4\xb8", b"ok \xc3( \xf0\x9f"]
    ids = ours.tokenize(tf.constant(texts))
    assert ours.detokenize(ids).numpy().tolist() == texts
    shown = ours.detokenize(ids, replace_invalid=True).numpy()
    assert [t.decode() for t in shown] == [
        t.decode("utf-8", errors="replace") for t in texts
    ]


def test_special_tokens(ours: ByteBPETokenizer) -> None:
    assert (
        ours.special.eos
        == ours.special.bos
        == ours.pad_id
        == ours.vocab_size - 1
    )
    ids = ours.tokenize(tf.constant([END_OF_TEXT])).to_list()[0]
    assert ours.special.eos not in ids
    ids = tf.constant([[*ids, ours.special.eos]])
    assert ours.detokenize(ids).numpy() == [END_OF_TEXT.encode() * 2]
    assert ours.detokenize(ids, skip_special_tokens=True).numpy() == [
        END_OF_TEXT.encode()
    ]


def test_files_round_trip(
    ours: ByteBPETokenizer, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    for name in ("tokenizer.json", "vocab.json"):
        one = tmp_path / name
        one.mkdir()
        shutil.copy(folder / name, one)
        if name == "vocab.json":
            shutil.copy(folder / "merges.txt", one)
        read = load_tokenizer(str(one))
        assert read.vocab_hash() == ours.vocab_hash()
        assert load_tokenizer(str(one / name)).vocab == ours.vocab
    assert (
        read.special.eos == ours.special.eos
    )  # the default where files are silent


@pytest.mark.parametrize("name", ["tokenizer.json", "added_tokens.json"])
def test_tokens_added_to_a_folder(
    name: str, folder: pathlib.Path, theirs: Any, tmp_path: pathlib.Path
) -> None:
    """As Transformers 4 saves them: vocab.json is as it was."""
    for file in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(folder / file, tmp_path)
    before = theirs.get_vocab_size()
    added = tokenizers.Tokenizer.from_str(theirs.to_str())
    added.add_special_tokens(["[PAD]", "[MORE]"])
    if name == "tokenizer.json":
        added.save(str(tmp_path / name))
    else:
        more = {t: added.token_to_id(t) for t in ("[MORE]", "[PAD]")}
        (tmp_path / name).write_text(json.dumps(more))
    roles = {"eos_token": END_OF_TEXT, "pad_token": "[PAD]"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(roles))
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({**config, "pad_token": "[PAD]"})
    )
    for path in (tmp_path, tmp_path / "vocab.json"):
        ours = ByteBPETokenizer.from_file(str(path))
        assert ours.vocab_size == added.get_vocab_size() == before + 2
        assert ours.pad_id == added.token_to_id("[PAD]") == before
        assert {t: i for i, t in enumerate(ours.vocab)} == added.get_vocab()
    assert_equal(ours, added, ["The house", "a  b\n"])


def test_tokens_that_no_text_gives_are_named(
    folder: pathlib.Path, tmp_path: pathlib.Path, caplog: Any
) -> None:
    load_tokenizer(str(folder))
    assert not caplog.records
    content = json.loads((folder / "tokenizer.json").read_text())
    vocab = content["model"]["vocab"]
    vocab |= {f"<user_{i}>": len(vocab) + i for i in range(7)}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    load_tokenizer(str(tmp_path))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "'<user_0>'" in record.getMessage()
    assert "and 2 more" in record.getMessage()
    assert END_OF_TEXT not in record.getMessage()


@pytest.mark.parametrize("space", [False, True])
def test_added_tokens_are_matched_whole(
    space: bool, folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["pre_tokenizer"]["add_prefix_space"] = space
    content["added_tokens"] = []
    oracle = tokenizers.Tokenizer.from_str(json.dumps(content))
    oracle.add_tokens(["<user>", "<user>s", "new word"])
    oracle.add_tokens([tokenizers.AddedToken("<l>", lstrip=True)])
    oracle.add_tokens([tokenizers.AddedToken("<r>", rstrip=True)])
    oracle.add_special_tokens(["<|im_start|>", "日本"])
    oracle.save(str(tmp_path / "tokenizer.json"))
    ours = load_tokenizer(str(tmp_path))
    rng = random.Random(0)
    parts = ["<user>", "<user>s ", "s", "new word", "<l>", "<r>", "日本", "a "]
    parts += ["<|im_start|>", "  ", "\n", "\0", "it's", "\u3000", "x", "new"]
    texts = [
        "".join(rng.choices(parts, k=rng.randint(1, 9))) for _ in range(400)
    ]
    ids, starts, ends = ours.tokenize_with_offsets(texts)
    assert ids.to_list() == [e.ids for e in oracle.encode_batch(texts)]
    assert ours.tokenize(texts).to_list() == ids.to_list()
    for text, row, first, last in zip(
        texts, ids.to_list(), starts.to_list(), ends.to_list(), strict=True
    ):
        assert ours.decode(row) == oracle.decode(row, skip_special_tokens=False)
        shown = ours.decode(row, skip_special_tokens=True)
        assert shown == oracle.decode(row, skip_special_tokens=True)
        spans = [text.encode()[a:b] for a, b in zip(first, last, strict=True)]
        assert b"".join(spans) == text.encode()
    ours.save(str(tmp_path / "saved"))
    again = load_tokenizer(str(tmp_path / "saved"))
    assert again.vocab_hash() == ours.vocab_hash()
    assert again.tokenize(texts).to_list() == ids.to_list()
    theirs = tokenizers.Tokenizer.from_file(
        str(tmp_path / "saved" / "tokenizer.json")
    )
    assert theirs.get_vocab() == oracle.get_vocab()


def test_special_tokens_in_text(ours: ByteBPETokenizer) -> None:
    opened = ByteBPETokenizer(
        ours.vocab,
        ours.merges,
        special_tokens=SpecialTokens(eos=END_OF_TEXT),
        special_tokens_in_text=[END_OF_TEXT],
    )
    (ids,) = opened.tokenize(["a<|endoftext|>b"]).to_list()
    a, b = (ours.token_to_id(token) for token in "ab")
    assert ids == [a, ours.special.eos, b]
    with pytest.raises(ValueError, match=r"Received: \['x'\]"):
        ByteBPETokenizer(ours.vocab, ours.merges, special_tokens_in_text=["x"])


def test_added_tokens_that_contradict_the_vocabulary(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    for file in ("vocab.json", "merges.txt"):
        shutil.copy(folder / file, tmp_path)
    (tmp_path / "added_tokens.json").write_text('{"A": 3000}')
    with pytest.raises(ValueError, match="added_tokens.json.*3000 for 'A'"):
        load_tokenizer(str(tmp_path))


def test_graph_dataset_and_moved_saved_model(
    ours: ByteBPETokenizer, tmp_path: pathlib.Path
) -> None:
    texts = [*_HARD, *fuzzed_texts(30)]
    expected = ours.tokenize(tf.constant(texts)).to_list()
    rows = tf.data.Dataset.from_tensor_slices(texts).batch(7).map(ours.tokenize)
    assert [row for batch in rows for row in batch.to_list()] == expected
    module = tf.Module()
    module.tokenizer = ours
    module.serve = tf.function(
        lambda text: ours.detokenize(ours.tokenize(text)),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path / "first"))
    shutil.move(tmp_path / "first", tmp_path / "second")
    loaded = tf.saved_model.load(str(tmp_path / "second"))
    served = loaded.serve(tf.constant(texts)).numpy()
    assert served.tolist() == [text.encode() for text in texts]


def test_a_plain_byte_model(tmp_path: pathlib.Path) -> None:
    (tmp_path / "text.txt").write_text("aa aa aa aa\n")
    tokenizer = train(
        str(tmp_path / "text.txt"),
        str(tmp_path / "bytes"),
        ByteBPETrainingConfig(vocab_size=257),
    )
    assert (tokenizer.vocab_size, tokenizer.merges) == (257, [])
    text = "aa ö\n\n"
    ids = tokenizer.tokenize(tf.constant([text])).to_list()[0]
    assert [tokenizer.token_bytes[i] for i in ids] == [
        bytes([b]) for b in text.encode()
    ]


def small(
    merges: list[tuple[str, str]], more: tuple[str, ...] = ()
) -> ByteBPETokenizer:
    made = list(dict.fromkeys(left + right for left, right in merges))
    return ByteBPETokenizer([*byte_symbols(), *made, *more], merges)


def test_vocabularies_that_the_construction_cannot_hold() -> None:
    assert small([("a", "b"), ("ab", "c")]).vocab_size == 258
    apart = [("a", "b"), ("ab", "c"), ("b", "c"), ("a", "bc")]
    with pytest.raises(ValueError, match="merges 2 and 4.*both make 'abc'"):
        small(apart)
    # "abc" is read as "a", "bc": merge 3 is never reached.
    with pytest.raises(ValueError, match=r"'abc', of merge 3.*\['a', 'bc'\]"):
        small([("b", "c"), ("a", "b"), ("ab", "c")])
    with pytest.raises(ValueError, match="merge 1.*'zz' is not"):
        small([("zz", "a")])
    with pytest.raises(ValueError, match="ASCII.*1 of them.*0x41"):
        ByteBPETokenizer([s for s in byte_symbols() if s != "A"], [])


def test_several_merges_of_one_token() -> None:
    """As LLaMA 3 has them: all splits of a token into two."""
    merges = [("b", "c"), ("c", "d"), ("a", "bc"), ("b", "cd"), ("bc", "d")]
    merges += [("a", "bcd"), ("abc", "d")]
    ours = small(merges, ("aaaa", "ba"))
    vocab = {token: i for i, token in enumerate(ours.vocab)}
    for ignores in (False, True):
        ours = ByteBPETokenizer(ours.vocab, merges, ignore_merges=ignores)
        theirs = tokenizers.Tokenizer(
            tokenizers.models.BPE(vocab, merges, ignore_merges=ignores)
        )
        theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(
            add_prefix_space=False
        )
        theirs.decoder = tokenizers.decoders.ByteLevel()
        texts = ["".join(t) for t in itertools.product("abcd", repeat=5)]
        assert_equal(ours, theirs, [*texts, "aaaa", "ba", "ba aaaa", "aaaaa"])
    assert ours.tokenize(["aaaa"]).to_list() == [[vocab["aaaa"]]]


def split(regex: str = "", behavior: str = "Isolated", **more: Any) -> Any:
    """A pre-tokenizer like LLaMA 3's."""
    pattern = {"Regex": regex or PATTERNS["llama3"].published}
    byte_level = {"type": "ByteLevel", "use_regex": False}
    first = {"type": "Split", "pattern": pattern, "behavior": behavior}
    return {
        "type": "Sequence",
        "pretokenizers": [
            {**first, **more},
            {**byte_level, "add_prefix_space": False},
        ],
    }


SPLIT = split()


def digits(
    individual_digits: bool = True, add_prefix_space: bool = False
) -> Any:
    """A pre-tokenizer like SmolLM's."""
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Digits", "individual_digits": individual_digits},
            {"type": "ByteLevel", "add_prefix_space": add_prefix_space},
        ],
    }


def changed(folder: pathlib.Path, target: pathlib.Path, **values: Any) -> str:
    content = json.loads((folder / "tokenizer.json").read_text())
    for name, value in values.items():
        *path, last = name.split("__")
        part = content
        for key in path:
            part = part[key]
        part[last] = value
    file = target / "tokenizer.json"
    file.write_text(json.dumps(content))
    return str(file)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model__type": "Unigram"}, "type 'BPE'. Received: 'Unigram'"),
        ({"model__byte_fallback": True}, "model.byte_fallback.*True"),
        ({"model__ignore_merges": 1}, "model.ignore_merges.*1"),
        ({"model__dropout": 0.1}, "model.dropout.*0.1"),
        ({"normalizer": {"type": "NFKC"}}, "normalizer.*NFKC"),
        (
            {
                "normalizer": {
                    "type": "Sequence",
                    "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}],
                }
            },
            "normalizer.*NFC.*Lowercase",
        ),
        ({"pre_tokenizer": {"type": "Split"}}, "pre_tokenizer.type.*Split"),
        ({"pre_tokenizer": {**SPLIT, "pretokenizers": []}}, "pre_tokenizer"),
        ({"pre_tokenizer": split(r"\w+")}, r"pattern.*llama3 or qwen2.*\\w"),
        ({"pre_tokenizer": digits(False)}, "individual_digits.*False"),
        ({"pre_tokenizer": digits(True, True)}, "add_prefix_space.*True"),
        ({"pre_tokenizer": split(behavior="Removed")}, "behavior.*Removed"),
        ({"pre_tokenizer": split(invert=True)}, "invert.*True"),
        ({"model__merges": [["a"]]}, r"model.merges.*\['a'\], merge 1"),
        ({"model__vocab": {"a": "b"}}, "'a' -> 'b'"),
        ({"model__vocab": {"a": 5}}, "without gaps"),
        ({"pre_tokenizer__use_regex": False}, "pre_tokenizer.use_regex.*False"),
        ({"pre_tokenizer__add_prefix_space": 1}, "add_prefix_space.*1"),
        ({"post_processor": {"type": "Template"}}, "post_processor.*Template"),
        ({"decoder": {"type": "BPEDecoder"}}, "decoder.type.*BPEDecoder"),
        ({"model__end_of_word_suffix": "</w>"}, "end_of_word_suffix.*</w>"),
    ],
)
def test_what_a_tokenizer_file_may_not_ask_for(
    folder: pathlib.Path,
    tmp_path: pathlib.Path,
    values: dict[str, Any],
    message: str,
) -> None:
    path = changed(folder, tmp_path, **values)
    with pytest.raises(ValueError, match=message) as error:
        ByteBPETokenizer.from_file(path)
    assert "tokenizer.json" in str(error.value)


def test_damaged_merges(folder: pathlib.Path, tmp_path: pathlib.Path) -> None:
    shutil.copy(folder / "vocab.json", tmp_path)
    with pytest.raises(ValueError, match="merges.txt.*no such file"):
        load_tokenizer(str(tmp_path))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\na b c\n")
    with pytest.raises(ValueError, match="'a b c' on line 3"):
        load_tokenizer(str(tmp_path))


def test_training_is_deterministic(folder: pathlib.Path, tmp_path: Any) -> None:
    train(
        str(folder.parent / "text.txt"),
        str(tmp_path / "again"),
        ByteBPETrainingConfig(vocab_size=2000),
    )
    for name in ("vocab.json", "merges.txt", "tokenizer.json"):
        again = (tmp_path / "again" / name).read_bytes()
        assert again == (folder / name).read_bytes()
    merges = (folder / "merges.txt").read_text().splitlines()[1:]
    assert (
        collections.Counter(m.replace(" ", "") for m in merges).most_common(1)[
            0
        ][1]
        == 1
    )


def test_too_small_a_vocabulary() -> None:
    with pytest.raises(ValueError, match="at least 257.*Received: 256"):
        ByteBPETrainingConfig(vocab_size=256)
