"""Tests of tfllm.data.denoising.batches."""

import dataclasses
import itertools
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.data.token_stream.test_stream import EOS, Bytes
from tfllm import data
from tfllm.data.denoising import batches as denoising_batches
from tfllm.data.denoising.batches import (
    create_noise,
    ends_sentence,
    open_denoising_data,
)
from tfllm.data.denoising.config import DenoisingDataConfig, DenoisingOptions
from tfllm.tokenizers import RowTemplate, SpecialIds

LENGTH, BATCH, PAD, BOS, START = 24, 4, 257, 258, 259
SENTINELS = list(range(279, 259, -1))
INFILLING = DenoisingOptions("text_infilling")
CONFIG = DenoisingDataConfig(
    seq_length=LENGTH, batch_size=BATCH, decoder_start_token_id=START, seed=3
)


class BytesWithSentinels(Bytes):
    """A byte is a token; rows are `text </s>`, or `<s> text </s>`."""

    vocab_size = 280
    vocab = [
        *map(str, range(260)),
        *(f"<extra_id_{number}>" for number in range(19, -1, -1)),
    ]
    special = SpecialIds(eos=EOS, mask=1)
    row_template = RowTemplate(pad=PAD, closes=(EOS,))
    token_bytes = [bytes([i]) for i in range(256)] + [b""] * 24

    def role_id(self, role: str) -> int:
        return getattr(self.special, role)


class Opened(BytesWithSentinels):
    row_template = RowTemplate(pad=PAD, opens=(BOS,), closes=(EOS,))


@pytest.fixture(name="file", scope="module")
def _file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Documents of 1 to 90 letters."""
    rng = np.random.default_rng(1)
    documents = [
        "".join(rng.choice(list("abcdef."), rng.integers(1, 90)))
        for _ in range(40)
    ]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n\n".join(documents))
    return str(path)


def ids_of(file: str, *opens: int) -> list[int]:
    """The stream: documents between an end and what opens a text."""
    documents = pathlib.Path(file).read_bytes().split(b"\n\n")
    ids: list[int] = []
    for document in documents:
        ids += [*([EOS] if ids else []), *opens, *document]
    return ids


def take(dataset: tf.data.Dataset, count: int) -> list[Any]:
    return list(itertools.islice(dataset.as_numpy_iterator(), count))


def texts_of(source: list[int], target: list[int]) -> list[int]:
    """Puts the spans of a target into the source."""
    spans: dict[int, list[int]] = {}
    for token in target:
        if token in SENTINELS:
            spans[token] = span = []
        else:
            span.append(token)
    return [token for i in source for token in spans.get(i, [i])]


def test_rows_hold_the_whole_text(file: str) -> None:
    whole = ids_of(file)
    held_out = open_denoising_data(file, BytesWithSentinels(), CONFIG)
    rows: list[list[int]] = []
    for x, y, weights in take(held_out.evaluation_dataset(), 999):
        for i in np.flatnonzero(weights["seq2seq"].sum(axis=1)):
            labels = y["seq2seq"][i].tolist()
            assert labels[-1] == EOS
            assert x["token_ids"][i].tolist() == [START, *labels[:-1]]
            assert x["padding_mask"][i].all()
            source = x["source_ids"][i].tolist()
            assert x["source_mask"][i].all()
            assert len(source) == LENGTH
            assert source[-1] == EOS
            rows.append(texts_of(source[:-1], labels[:-1]))
    assert len(rows) == held_out.num_examples
    *first, last = rows
    joined = [token for row in first for token in row]
    assert joined == whole[: len(joined)]
    assert last == whole[-len(last) :]
    assert len(joined) + len(last) >= len(whole)


def test_text_infilling_in_special_tokens(file: str) -> None:
    config = dataclasses.replace(CONFIG, noise=INFILLING)
    held_out = open_denoising_data(file, Opened(), config)
    whole = ids_of(file, BOS)
    row = 0
    for x, y, weights in take(held_out.evaluation_dataset(), 999):
        for i in np.flatnonzero(weights["seq2seq"].sum(axis=1)):
            labels = y["seq2seq"][i].tolist()
            assert len(labels) == LENGTH
            assert (labels[0], labels[-1]) == (BOS, EOS)
            start = min(row * (LENGTH - 2), len(whole) - LENGTH + 2)
            assert labels[1:-1] == whole[start : start + LENGTH - 2]
            length = x["source_mask"][i].sum()
            source = x["source_ids"][i].tolist()
            assert (source[0], source[length - 1]) == (BOS, EOS)
            assert set(source[length:]) <= {PAD}
            assert 1 in source
            assert x["source_mask"][i, :length].all()
            row += 1
    assert row == held_out.num_examples


@pytest.mark.parametrize("noise", [DenoisingOptions(), INFILLING])
@pytest.mark.parametrize("start", [1, 5, 40])
def test_training_is_seekable(
    file: str,
    start: int,
    noise: DenoisingOptions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also in a later epoch, whose noise is another."""
    monkeypatch.setattr(denoising_batches, "_ROWS_PER_UNIT", 4)
    config = dataclasses.replace(CONFIG, noise=noise, units_per_group=2)
    opened = open_denoising_data(file, Opened(), config)
    assert 5 < opened.steps_per_epoch < 40
    whole = take(opened.dataset(), start + 3)[start:]
    again = open_denoising_data(file, Opened(), config)
    for one, other in zip(whole, take(again.dataset(start), 3), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_batches_do_not_depend_on_their_size(file: str) -> None:
    def sources(size: int, count: int) -> np.ndarray:
        config = dataclasses.replace(CONFIG, batch_size=size)
        opened = open_denoising_data(file, Opened(), config)
        batches = take(opened.dataset(), count)
        return np.concatenate([x["source_ids"] for x, _, _ in batches])

    np.testing.assert_array_equal(sources(4, 4), sources(2, 8))


def test_an_epoch_holds_every_row_once_with_its_own_noise(file: str) -> None:
    config = dataclasses.replace(CONFIG, batch_size=1, noise=INFILLING)
    opened = open_denoising_data(file, Opened(), config)
    count = opened.num_examples

    def rows(batches: list[Any]) -> dict[bytes, bytes]:
        return {
            y["seq2seq"].tobytes(): x["source_ids"].tobytes()
            for x, y, _ in batches
        }

    epochs = take(opened.dataset(), 2 * count)
    first, second = rows(epochs[:count]), rows(epochs[count:])
    held_out = rows(take(opened.evaluation_dataset(), count))
    assert len(first) == count
    assert set(first) == set(second) == set(held_out)
    same = sum(first[target] == second[target] for target in first)
    assert same < count * 0.1
    again = rows(take(opened.evaluation_dataset(), count))
    assert again == held_out


def test_shapes_are_static(file: str) -> None:
    opened = open_denoising_data(file, Opened(), CONFIG)
    for dataset in (opened.dataset(), opened.evaluation_dataset()):
        x, y, weights = dataset.element_spec
        assert x["source_ids"].shape == (BATCH, LENGTH)
        for spec in (x["token_ids"], y["seq2seq"], weights["seq2seq"]):
            assert spec.shape == x["padding_mask"].shape
            assert spec.shape.is_fully_defined()


def test_sentences_end_at_full_stops_and_documents() -> None:
    ends = ends_sentence(Opened())
    assert [chr(i) for i in np.flatnonzero(ends) if i < 256] == ["!", ".", "?"]
    assert ends[EOS]


def test_noise_without_a_mask() -> None:
    """A vocabulary without a mask has the noises that need none."""
    tokenizer = BytesWithSentinels()
    tokenizer.special = SpecialIds(eos=EOS)
    config = dataclasses.replace(CONFIG, noise=INFILLING)
    with pytest.raises(ValueError, match="needs a mask token"):
        create_noise(tokenizer, config)
    options = DenoisingOptions(
        "text_infilling", noise_density=0, token_deletion=0.5
    )
    noise = create_noise(tokenizer, dataclasses.replace(config, noise=options))
    tokens = np.arange(100, 100 + LENGTH - 1)[np.newaxis]  # [1, L]
    source = noise(tokens, np.array([7], np.uint64)).sources[0]
    kept = source[source >= 0].tolist()
    assert 0 < len(kept) < LENGTH - 1
    assert kept == sorted(set(kept))
    assert set(kept) <= set(tokens[0].tolist())


def test_the_public_name() -> None:
    assert data.DenoisingDataConfig is DenoisingDataConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seq_length": 4}, "seq_length.*at least 8.*4"),
        ({"document_per": "page"}, "document_per.*'page'"),
        ({"batch_size": 0}, "batch_size.*0"),
    ],
)
def test_wrong_settings(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(CONFIG, **changes)


def test_what_does_not_fit(file: str, tmp_path: pathlib.Path) -> None:
    config = dataclasses.replace(CONFIG, decoder_start_token_id=None)
    with pytest.raises(ValueError, match="decoder_start_token_id.*None"):
        open_denoising_data(file, Opened(), config)
    short = tmp_path / "short.txt"
    short.write_text("a few")
    with pytest.raises(ValueError, match="at least the 25 tokens.*: 6 in"):
        open_denoising_data(str(short), Opened(), CONFIG)
    bare = Opened()
    bare.vocab = ["a"]
    with pytest.raises(ValueError, match="sentinels.*with 0"):
        open_denoising_data(file, bare, CONFIG)
