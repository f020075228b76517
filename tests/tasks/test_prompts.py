"""How models read texts: prompts of decoders, sources of encoders."""

import numpy as np
import pytest
import tensorflow as tf

from tests.models import test_encoder_decoder as tiny
from tests.serving import small_models
from tfllm.models import FAMILIES
from tfllm.tasks.prompts import DecoderPrompts, SourcePrompts, prompts_of
from tfllm.tokenizers import ByteBPETokenizer, RowTemplate, SpecialTokens
from tfllm.tokenizers.byte_pair import END_OF_TEXT
from tfllm.tokenizers.byte_pair_model import byte_symbols

ROWS = [list(range(5)), [], [7], list(range(20, 29))]


@pytest.fixture(name="tokenizer", scope="module")
def _tokenizer() -> ByteBPETokenizer:
    """Bytes in rows `text </s>`."""
    return ByteBPETokenizer(
        [*byte_symbols(), END_OF_TEXT],
        [],
        special_tokens=SpecialTokens(eos=END_OF_TEXT),
        template=RowTemplate(pad="eos", closes=("eos",)),
    )


def test_a_model_with_an_encoder_reads_sources(
    tokenizer: ByteBPETokenizer,
) -> None:
    assert isinstance(prompts_of(tiny.config(), tokenizer), SourcePrompts)
    decoder = FAMILIES["gpt2"].size("tiny")
    assert isinstance(prompts_of(decoder, tokenizer), DecoderPrompts)


def test_a_source_is_a_whole_row(tokenizer: ByteBPETokenizer) -> None:
    prompts = SourcePrompts(tokenizer)
    (row,) = prompts.read(tf.constant(["ab"])).to_list()
    plain = tokenizer.tokenize(tf.constant(["ab"])).to_list()[0]
    assert row == [*plain, tokenizer.special.eos]
    assert prompts.read(tf.constant([""])).to_list() == [row[-1:]]
    assert not prompts.goes_on
    assert prompts.room(64, 20) == 64


def test_a_prompt_is_open(tokenizer: ByteBPETokenizer) -> None:
    prompts = DecoderPrompts(tokenizer)
    (row,) = prompts.read(tf.constant(["ab"])).to_list()
    assert row == tokenizer.tokenize(tf.constant(["ab"])).to_list()[0]
    assert prompts.goes_on
    assert prompts.room(64, 20) == 44


@pytest.mark.parametrize("room", [1, 2, 4, 5, 30])
def test_cutting(tokenizer: ByteBPETokenizer, room: int) -> None:
    """In the graph as row by row: a source keeps what closes it."""
    ids = tf.ragged.constant(ROWS, tf.int32)
    for prompts in (DecoderPrompts(tokenizer), SourcePrompts(tokenizer)):
        cut = tf.function(lambda rows, p=prompts: p.cut(rows, room))(ids)
        assert cut.to_list() == [prompts.cut_row(row, room) for row in ROWS]
        assert max(map(len, cut.to_list())) <= room
    source, prompt = SourcePrompts(tokenizer), DecoderPrompts(tokenizer)
    assert prompt.cut_row(ROWS[3], 4) == [25, 26, 27, 28]
    assert source.cut_row(ROWS[3], 4) == [20, 21, 22, 28]
    assert source.cut_row([], 4) == [tokenizer.special.eos]


def test_spelling(tokenizer: ByteBPETokenizer) -> None:
    ids = tokenizer.tokenize(tf.constant([" a b", "é"]))
    ends = tf.fill([2, 1], tokenizer.special.eos)
    written = tf.concat([ids, ends], axis=1)
    for prompts in (DecoderPrompts(tokenizer), SourcePrompts(tokenizer)):
        texts = prompts.spell(written).numpy().tolist()
        assert texts == [b" a b", "é".encode()]
    half = ids[1:, :1]
    shown = SourcePrompts(tokenizer).spell(half, replace_invalid=True)
    np.testing.assert_array_equal(shown.numpy(), ["\ufffd".encode()])


def test_small_models_read_prompts() -> None:
    assert prompts_of(
        small_models.config_of("gpt2", small_models.byte_bpe()),
        small_models.byte_bpe(),
    ).goes_on
