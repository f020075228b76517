"""Masked pretraining on the rows of RoBERTa: byte-level BPE, one segment."""

import pathlib

import keras
import numpy as np
import pytest

from tfllm.data.masked.batches import open_masked_data
from tfllm.data.masked.config import MaskedDataConfig, MaskingConfig
from tfllm.data.vocabularies.train import train
from tfllm.models import FAMILIES
from tfllm.tasks import MaskedLM
from tfllm.tasks.fill_mask import FillMask
from tfllm.tokenizers import (
    AddedToken,
    RowTemplate,
    SpecialTokens,
    Tokenizer,
    TokenizerSpec,
    load_tokenizer,
)

SPEC = TokenizerSpec(
    kinds=("byte_bpe",),
    template=RowTemplate(
        pad="pad", opens=("cls",), between=("sep", "sep"), closes=("sep",)
    ),
    special_tokens=SpecialTokens(
        pad="<pad>",
        unk="<unk>",
        cls="<s>",
        sep="</s>",
        mask="<mask>",
        bos="<s>",
        eos="</s>",
    ),
    added_tokens=(AddedToken("<mask>", lstrip=True, special=True),),
    classes=("RobertaTokenizer",),
)


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory, text_file: str) -> str:
    folder = tmp_path_factory.mktemp("roberta")
    train(text_file, str(folder), SPEC, vocab_size=300)
    return str(folder)


@pytest.fixture(name="roberta", scope="module")
def _roberta(folder: str) -> Tokenizer:
    return load_tokenizer(folder, spec=SPEC)


def test_rows_have_one_segment_and_words_are_masked_whole(
    roberta: Tokenizer, text_file: str
) -> None:
    data = open_masked_data(
        text_file,
        roberta,
        MaskedDataConfig(
            seq_length=32,
            batch_size=16,
            pair_objective="none",
            short_seq_prob=0.0,
            masking=MaskingConfig(unit="whole_word"),
        ),
    )
    x, y, weights = next(iter(data.dataset()))
    assert set(x) == {"token_ids", "padding_mask", "masked_positions"}
    assert set(y) == set(weights) == {"mlm"}
    ids, mask = x["token_ids"].numpy(), x["padding_mask"].numpy()
    special = roberta.special
    assert (ids[:, 0] == special.cls).all()
    ends = mask.sum(axis=1) - 1
    assert (ids[np.arange(len(ids)), ends] == special.sep).all()
    assert (ids[mask == 0] == special.pad).all()
    assert (ids == special.mask).any()
    # The pieces of a word are masked together.
    places = x["masked_positions"].numpy()
    used = weights["mlm"].numpy() > 0
    hidden = np.zeros(ids.shape, bool)
    for row, columns in enumerate(places):
        hidden[row, columns[used[row]]] = True
    true_ids = ids.copy()
    for row, columns in enumerate(places):
        true_ids[row, columns[used[row]]] = y["mlm"].numpy()[row][used[row]]
    continues = roberta.is_continuation[true_ids]
    assert (hidden[:, 2:] == hidden[:, 1:-1])[
        continues[:, 2:] & (mask[:, 2:] > 0)
    ].all()


def test_other_dynamic_masks_in_the_next_epoch(
    roberta: Tokenizer, text_file: str
) -> None:
    config = MaskedDataConfig(
        seq_length=32, batch_size=16, pair_objective="none"
    )
    data = open_masked_data(text_file, roberta, config)
    rows = [b[0]["token_ids"].numpy() for b in data.dataset().take(2)]
    assert (rows[0] != rows[1]).any()


def test_the_mask_takes_the_space_before_it(folder: str) -> None:
    tokenizer = load_tokenizer(folder, spec=SPEC, mask_in_text=True)
    plain = load_tokenizer(folder, spec=SPEC)
    mask, text = tokenizer.special.mask, "bade <mask>."
    (ids,) = tokenizer.tokenize([text]).to_list()
    (before,), (after,) = (
        plain.tokenize([part]).to_list() for part in ("bade", ".")
    )
    assert ids == [*before, mask, *after]
    assert mask not in plain.tokenize([text]).to_list()[0]
    word = next(i for i, b in enumerate(plain.token_bytes) if b[:1] == b" ")
    shown = tokenizer.token_text(word)
    assert tokenizer.put_token("bade ", word, ".") == f"bade{shown}."
    assert tokenizer.put_token("", word, ".") == f"{shown.lstrip()}."
    keras.utils.set_random_seed(0)
    config = FAMILIES["bert"].size("tiny", vocab_size=tokenizer.vocab_size)
    (slots,) = FillMask(MaskedLM(config), tokenizer, 2)([text])
    assert len(slots) == 1
    assert {"token", "token_id", "score"} == set(slots[0][0])


def test_what_files_without_a_tokenizer_json_say(
    folder: str, tmp_path: pathlib.Path
) -> None:
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).write_bytes(
            (pathlib.Path(folder) / name).read_bytes()
        )
    config = '{"tokenizer_class": "RobertaTokenizer"}'
    (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(ValueError, match="tokenizer_class.*RobertaTokenizer"):
        load_tokenizer(str(tmp_path))
    known = load_tokenizer(str(tmp_path), spec=SPEC)
    whole = load_tokenizer(folder)
    assert known.special == whole.special
    assert known.row_template == whole.row_template
    assert known.added_tokens[0] == SPEC.added_tokens[0]
    assert known("a", "b")["token_ids"].shape == (6,)
