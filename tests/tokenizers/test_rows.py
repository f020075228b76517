"""Layout of rows, with the `tokenizers` package as the oracle of truncation."""

import numpy as np
import pytest
import tensorflow as tf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tfllm.tokenizers.row_template import RowTemplate, Segments
from tfllm.tokenizers.rows import padded, rows_of

CLS, SEP, PAD = 1, 2, 0
TEMPLATE = RowTemplate(
    pad=PAD, opens=(CLS,), between=(SEP,), closes=(SEP,), segments=Segments()
)


def _oracle(seq_length):
    vocab = {"[PAD]": PAD, "[CLS]": CLS, "[SEP]": SEP}
    vocab.update((f"t{i}", i) for i in range(3, 99))
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="[PAD]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    tokenizer.enable_truncation(seq_length, strategy="longest_first")
    tokenizer.enable_padding(length=seq_length)
    return tokenizer


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("seq_length", [5, 8, 9, 32])
def test_equals_longest_first(count, seq_length):
    lengths = [[i] for i in range(25)]
    if count == 2:
        lengths = [[i, j] for i in range(14) for j in range(14)]
    ids = [[list(range(3, 3 + n)) for n in row] for row in lengths]
    segments = [
        tf.ragged.constant([row[k] for row in ids], tf.int32)
        for k in range(count)
    ]
    rows = rows_of(segments, TEMPLATE, seq_length)
    packed = padded(rows, TEMPLATE, seq_length)
    texts = [tuple(" ".join(f"t{i}" for i in p) for p in row) for row in ids]
    oracle = _oracle(seq_length).encode_batch(
        [text if count == 2 else text[0] for text in texts]
    )
    for name, attribute in (
        ("token_ids", "ids"),
        ("segment_ids", "type_ids"),
        ("padding_mask", "attention_mask"),
    ):
        assert packed[name].dtype == tf.int32
        expected = [getattr(encoding, attribute) for encoding in oracle]
        np.testing.assert_array_equal(packed[name], expected)


def test_pads_to_longest_and_exports(tmp_path):
    signature = [tf.RaggedTensorSpec([None, None], tf.int32)]

    @tf.function(input_signature=signature)
    def pack(ids):
        return padded(rows_of([ids], TEMPLATE, 6), TEMPLATE, None)

    module = tf.Module()
    module.pack = pack
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    for rows in ([[7], []], [[7] * 9, [8]]):
        packed = loaded.pack(tf.ragged.constant(rows, tf.int32))
        width = min(6, max(map(len, rows)) + 2)
        assert packed["token_ids"].shape == (2, width)
    names = {
        node.op
        for node in pack.get_concrete_function().graph.as_graph_def().node
    }
    assert not [
        name for name in names if "RoundRobin" in name or "PyFunc" in name
    ]


def test_refuses():
    one = tf.ragged.constant([[3]], tf.int32)
    with pytest.raises(ValueError, match="Received: 3"):
        rows_of([one] * 3, TEMPLATE, 9)
    with pytest.raises(ValueError, match="Received: 4"):
        rows_of([one] * 2, TEMPLATE, 4)
