"""Rows of every model, as templates, in files and in the graph."""

import dataclasses
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfllm.data.labelled.rows.row_layout import Spans, lay_out
from tfllm.data.labelled.rows.token_table import TokenTable
from tfllm.serving.graph.rows import RowMaker
from tfllm.tokenizers import (
    RowTemplate,
    Segments,
    SpecialTokens,
    post_processor,
)
from tfllm.tokenizers.row_options import warn_of_ends, with_ends, with_sides
from tfllm.tokenizers.row_template import bind, spelled
from tfllm.tokenizers.rows import padded, rows_of

TOKENS = SpecialTokens(
    pad="<p>", cls="<c>", sep="<s>", mask="<m>", bos="<b>", eos="<e>"
)
IDS = {token: i for i, token in enumerate(TOKENS.all())}
PAD, CLS, SEP, _, BOS, EOS = range(6)
TEMPLATES: dict[str, RowTemplate[str]] = {
    "bert": RowTemplate(
        pad="pad",
        opens=("cls",),
        between=("sep",),
        closes=("sep",),
        segments=Segments(),
    ),
    "roberta": RowTemplate(
        pad="pad", opens=("cls",), between=("sep", "sep"), closes=("sep",)
    ),
    "gpt2": RowTemplate(pad="eos", between=("eos",)),
    "llama": RowTemplate(
        pad="eos", opens=("bos",), between=("bos",), padding_side="left"
    ),
    "t5": RowTemplate(pad="pad", between=("eos",), closes=("eos",)),
    "xlnet": RowTemplate(
        pad="pad",
        between=("sep",),
        closes=("sep", "cls"),
        segments=Segments(last=2, pad=3),
        padding_side="left",
    ),
}
# Rows of a = [10, 11] and b = [12], seven columns wide.
SINGLE = {
    "bert": [CLS, 10, 11, SEP, PAD, PAD, PAD],
    "roberta": [CLS, 10, 11, SEP, PAD, PAD, PAD],
    "gpt2": [10, 11, PAD, PAD, PAD, PAD, PAD],
    "llama": [PAD, PAD, PAD, PAD, BOS, 10, 11],
    "t5": [10, 11, EOS, PAD, PAD, PAD, PAD],
    "xlnet": [PAD, PAD, PAD, 10, 11, SEP, CLS],
}
PAIR = {
    "bert": [CLS, 10, 11, SEP, 12, SEP, PAD],
    "roberta": [CLS, 10, 11, SEP, SEP, 12, SEP],
    "gpt2": [10, 11, EOS, 12, PAD, PAD, PAD],
    "llama": [PAD, PAD, BOS, 10, 11, BOS, 12],
    "t5": [10, 11, EOS, 12, EOS, PAD, PAD],
    "xlnet": [PAD, 10, 11, SEP, 12, SEP, CLS],
}
SEGMENTS = {
    "bert": ([0] * 7, [0, 0, 0, 0, 1, 1, 0]),
    "xlnet": ([3, 3, 3, 0, 0, 0, 2], [3, 0, 0, 0, 1, 1, 2]),
}


def bound(name: str) -> RowTemplate[int]:
    return bind(TEMPLATES[name], TOKENS, IDS)


def expected(name: str, num_texts: int) -> dict[str, list[int]]:
    row = (SINGLE, PAIR)[num_texts - 1][name]
    template = bound(name)
    count = [0, 2, 3][num_texts] + template.num_special(num_texts)
    mask = [1] * count + [0] * (7 - count)
    if template.padding_side == "left":
        mask.reverse()
    found = {"token_ids": row, "padding_mask": mask}
    if name in SEGMENTS:
        found["segment_ids"] = SEGMENTS[name][num_texts - 1]
    return found


@pytest.mark.parametrize("num_texts", [1, 2])
@pytest.mark.parametrize("name", TEMPLATES)
def test_rows_are_the_same_everywhere(name: str, num_texts: int) -> None:
    template = bound(name)
    texts = [[10, 11], [12]][:num_texts]
    ragged = [tf.ragged.constant([text], tf.int32) for text in texts]
    in_graph = padded(rows_of(ragged, template), template, 7)
    maker = RowMaker(template, 7, 0)
    served = maker.single(*ragged) if num_texts == 1 else maker.pair(*ragged)
    table = TokenTable(np.array([10, 11, 12]), np.array([0, 2, 3]))
    starts, lengths = np.array([[0, 2]]), np.array([[2, 1]])
    spans = Spans(starts[:, :num_texts], lengths[:, :num_texts])
    placed = lay_out(template, table, spans, np.array([0]), 7)
    wanted = expected(name, num_texts)
    for key, row in wanted.items():
        assert in_graph[key].numpy().tolist() == [row], key
        assert served.inputs[key].numpy().tolist() == [row], key
    assert placed.token_ids.tolist() == [wanted["token_ids"]]
    if template.has_segments:
        assert placed.segment_ids.tolist() == [SEGMENTS[name][num_texts - 1]]
    # Where the text begins over which windows slide.
    place = int(served.columns[0])
    assert in_graph["token_ids"].numpy()[0, place] == 10
    assert placed.texts[0, place] == 0


@pytest.mark.parametrize("name", [n for n in TEMPLATES if n != "gpt2"])
def test_a_file_gives_the_template_back(name: str) -> None:
    template = TEMPLATES[name]
    by_name = spelled(template, TOKENS)
    content = post_processor.to_json(by_name, IDS)
    stated = post_processor.read(content, "file")
    assert stated is not None
    bare = dataclasses.replace(template, opens=(), between=(), closes=())
    assert bind(stated.apply(bare), TOKENS, IDS) == bound(name)
    byte_level = {"type": "ByteLevel"}
    several = {"type": "Sequence", "processors": [byte_level, content]}
    assert post_processor.read(several, "file") == stated


@pytest.mark.parametrize("kind", ["Bert", "Roberta"])
def test_processors_of_models(kind: str) -> None:
    content = {
        "type": f"{kind}Processing",
        "sep": ["<s>", 2],
        "cls": ["<c>", 1],
    }
    stated = post_processor.read(content, "file")
    assert stated is not None
    template = TEMPLATES[kind.lower()]
    assert bind(stated.apply(template), TOKENS, IDS) == bound(kind.lower())


def item(name: str, segment: int = 0) -> dict[str, Any]:
    kind = "Sequence" if len(name) == 1 else "SpecialToken"
    return {kind: {"id": name, "type_id": segment}}


@pytest.mark.parametrize(
    ("single", "pair", "message"),
    [
        (["A", "B"], ["A", "B"], "single.*one text"),
        (["A"], ["A"], "pair.*two texts"),
        (["A"], ["B", "A"], "pair.*as in `single`"),
        (["<b>", "A"], ["A", "B"], "pair.*as in `single`"),
        (["A", "<e>"], ["A", "B"], "pair.*as in `single`"),
        (["<c>", "A", "<s>"], ["<c>", "A", "<s>", "B", "<s>"], r"B:1 <s>:1"),
    ],
)
def test_rows_that_no_template_has(
    single: list[str], pair: list[str], message: str
) -> None:
    content = {
        "type": "TemplateProcessing",
        "single": [item(name) for name in single],
        "pair": [item(name) for name in pair],
    }
    stated = post_processor.read(content, "some.json")
    assert stated is not None
    with pytest.raises(ValueError, match=message) as error:
        stated.apply(TEMPLATES["bert"])
    assert "some.json" in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type": "Strange"}, "Received: 'Strange'"),
        ({"type": "BertProcessing"}, "damaged BertProcessing"),
        (
            {
                "type": "Sequence",
                "processors": 2
                * [{"type": "BertProcessing", "sep": ["a"], "cls": ["b"]}],
            },
            "several that add tokens",
        ),
    ],
)
def test_processors_that_are_not_built(
    content: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        post_processor.read(content, "file")


def test_what_the_config_says_of_rows(
    caplog: pytest.LogCaptureFixture, tmp_path: pathlib.Path
) -> None:
    gpt2, llama, bert = (TEMPLATES[n] for n in ("gpt2", "llama", "bert"))
    assert (
        with_sides(gpt2, {"padding_side": "left"}, "f").padding_side == "left"
    )
    assert with_sides(llama, {}, "f") == llama
    with pytest.raises(ValueError, match="padding_side.*'left'"):
        with_sides(bert, {"padding_side": "left"}, "f")
    with pytest.raises(ValueError, match="truncation_side.*'left'"):
        with_sides(gpt2, {"truncation_side": "left"}, "f")
    assert with_ends(gpt2, {"add_bos_token": True}, "f").opens == ("bos",)
    assert with_ends(llama, {"add_bos_token": False}, "f").opens == ()
    assert with_ends(llama, {"add_eos_token": True}, "f").closes == ("eos",)
    assert with_ends(llama, {}, "f") == llama
    with pytest.raises(ValueError, match="add_bos_token.*'yes'"):
        with_ends(gpt2, {"add_bos_token": "yes"}, "f")
    file = str(tmp_path / "tokenizer.json")
    warn_of_ends(llama, {"add_bos_token": True}, TOKENS.as_dict(), file)
    assert not caplog.records
    warn_of_ends(llama, {"add_bos_token": False}, TOKENS.as_dict(), file)
    assert "add_bos_token = True" in caplog.text


def test_special_tokens_that_cannot_be() -> None:
    for roles in ({"cls": "a", "sep": "a"}, {"mask": "a", "eos": "a"}):
        with pytest.raises(ValueError, match="'a' for both"):
            SpecialTokens(**roles)
    with pytest.raises(ValueError, match="blank"):
        SpecialTokens(pad=" ")
    assert SpecialTokens(bos="a", cls="a", eos="b", sep="b").all() == ("a", "b")
    with pytest.raises(ValueError, match="must have a unk token"):
        TOKENS.spell(["unk"])


def test_the_end_of_text_fills_rows_without_a_padding_token() -> None:
    tokens = SpecialTokens(eos="<e>")
    assert bind(RowTemplate(pad="pad"), tokens, {"a": 0, "<e>": 1}).pad == 1
