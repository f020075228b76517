"""Tokenizers beside Transformers and `sentencepiece`, on difficult lines."""

import dataclasses
import inspect
import io
import json
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import tfllm
from tfllm.data.vocabularies.train import train
from tfllm.models import FAMILIES
from tfllm.tokenizers import Tokenizer, load_tokenizer
from tools.difficult_lines import difficult_lines
from tools.family_arguments import off_default, pretraining_task

NUM_LINES = 2000
SIZE = {
    "num_layers": 1,
    "hidden_size": 24,
    "num_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
}
_SENTINEL = re.compile(r"(<extra_id_(?:\d|[1-9]\d)>)")


@dataclasses.dataclass(frozen=True)
class PieceFile:
    """How a family publishes a SentencePiece model.

    Attributes:
        name: Name of the file.
        tokenizer_class: Class in tokenizer_config.json.
        training: Options of `sentencepiece`.
        settings: More keys of tokenizer_config.json.
        spelled: Tokens that lines spell.
        expected_ids: From the processor of the package and a text, its ids;
            None where the class cleans texts before.
    """

    name: str
    tokenizer_class: str
    training: dict[str, Any]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    spelled: tuple[str, ...] = ()
    expected_ids: Callable[[Any, str], list[int]] | None = None


def _with_sentinels(processor: Any, text: str) -> list[int]:
    """Returns the ids of T5: the ids of its sentinels fall."""
    ids = []
    for part in _SENTINEL.split(text):
        if _SENTINEL.fullmatch(part):
            number = int(part.removeprefix("<extra_id_").rstrip(">"))
            ids.append(processor.vocab_size() + 99 - number)
        else:
            ids += processor.encode(part)
    return ids


def _one_higher(processor: Any, text: str) -> list[int]:
    """Returns the ids of fairseq, which has a token of padding before them."""
    return [i + 1 if i else 3 for i in processor.encode(text)]


def _as_they_are(processor: Any, text: str) -> list[int]:
    """Returns the ids of the package."""
    return processor.encode(text)


_UNIGRAM = {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc"}
PIECE_FILES = {
    "albert": PieceFile(
        "spiece.model",
        "AlbertTokenizer",
        {
            **_UNIGRAM,
            "pad_id": 0,
            "unk_id": 1,
            "bos_id": -1,
            "eos_id": -1,
            "control_symbols": ["[CLS]", "[SEP]", "[MASK]"],
        },
    ),
    "xlnet": PieceFile(
        "spiece.model",
        "XLNetTokenizer",
        {
            **_UNIGRAM,
            "control_symbols": ["<cls>", "<sep>", "<pad>", "<mask>", "<eod>"],
        },
    ),
    "t5": PieceFile(
        "spiece.model",
        "T5Tokenizer",
        {**_UNIGRAM, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
        {"extra_ids": 100},
        ("<extra_id_0>", "<extra_id_12>", "<extra_id_99>", "<extra_id_100>"),
        _with_sentinels,
    ),
    "xlm-roberta": PieceFile(
        "sentencepiece.bpe.model",
        "XLMRobertaTokenizer",
        _UNIGRAM,
        expected_ids=_one_higher,
    ),
    "llama": PieceFile(
        "tokenizer.model",
        "LlamaTokenizer",
        {
            "model_type": "bpe",
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            "remove_extra_whitespaces": False,
        },
        expected_ids=_as_they_are,
    ),
}


def training_lines() -> list[str]:
    """Returns source text of the standard library, and difficult lines."""
    lines = []
    for module in ("argparse", "decimal", "inspect", "typing"):
        lines += inspect.getsource(__import__(module)).split("\n")
    for line in difficult_lines(600):
        lines.append(line.replace("\0", "").replace("\n", " "))
    return [line for line in lines if line]


def save(name: str, tokenizer: Tokenizer, folder: pathlib.Path) -> Any:
    """Writes a model folder; returns the tokenizer of Transformers.

    Args:
        name: Name in `FAMILIES`.
        tokenizer: Its tokenizer.
        folder: The folder.
    """
    import transformers

    family = FAMILIES[name]
    known = off_default(family)
    sizes = {k: v for k, v in SIZE.items() if k in known}
    ids = {k: v for k, v in tokenizer.model_ids.items() if k in known}
    config = family.config(**sizes, **ids, vocab_size=tokenizer.vocab_size)
    tfllm.save(pretraining_task(config), folder, tokenizer)
    return transformers.AutoTokenizer.from_pretrained(folder)


def new_vocabulary(name: str, folder: pathlib.Path) -> tuple[Tokenizer, Any]:
    """Trains the vocabulary of a family.

    Args:
        name: Name in `FAMILIES`.
        folder: Folder for its files.

    Returns:
        Our tokenizer, and Transformers' of a model folder of ours.
    """
    spec = FAMILIES[name].tokenizer
    text = folder / "text.txt"
    text.write_text("\n".join(training_lines()))
    train(str(text), str(folder / "vocabulary"), spec, 2300)
    ours = load_tokenizer(str(folder / "vocabulary"), spec=spec)
    return ours, save(name, ours, folder / "model")


def published_pieces(
    name: str, folder: pathlib.Path, **settings: Any
) -> tuple[Tokenizer, Any]:
    """Writes a SentencePiece model as a family publishes it.

    Args:
        name: Key of `PIECE_FILES`.
        folder: New folder.
        **settings: More keys of tokenizer_config.json.

    Returns:
        Our tokenizer, and the processor of `sentencepiece`.
    """
    import sentencepiece

    file, content = PIECE_FILES[name], io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training_lines()),
        model_writer=content,
        minloglevel=2,
        **{"vocab_size": 1200, "character_coverage": 0.995, **file.training},
    )
    folder.mkdir()
    (folder / file.name).write_bytes(content.getvalue())
    values = {"tokenizer_class": file.tokenizer_class}
    values |= {**file.settings, **settings}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    (folder / "config.json").write_text(json.dumps({"model_type": name}))
    ours = load_tokenizer(str(folder), spec=FAMILIES[name].tokenizer)
    return ours, sentencepiece.SentencePieceProcessor(
        model_proto=content.getvalue()
    )


def different(
    ours: Tokenizer,
    expected_ids: Callable[[str], list[int]],
    lines: Iterable[str],
    whole: bool = True,
) -> list[str]:
    """Returns the lines that have other ids.

    Args:
        ours: The tokenizer.
        expected_ids: From a line, the ids of the reference.
        lines: The lines.
        whole: Whether the tokens around a text belong to its ids.
    """
    lines = list(lines)
    rows = (
        ours(lines, padding=False)["token_ids"].to_list()
        if whole
        else ours.tokenize(lines).to_list()
    )
    # An empty row is its padding here.
    empty = [ours.pad_id] if whole else []
    return [
        line
        for line, row in zip(lines, rows, strict=True)
        if row != (expected_ids(line) or empty)
    ]
