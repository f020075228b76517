"""Exports of each family, with a vocabulary of its own kind.

BERT and GPT-2 are in test_export.py and test_labelled_exports.py.
"""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import small_models
from tfllm import tasks
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.prediction.python_answers import answers
from tfllm.prediction.results import results
from tfllm.runtime.c_loader import SavedModel
from tfllm.serving.export import export
from tfllm.serving.export_config import ExportConfig, ExportSettings
from tfllm.tasks.fill_mask import FillMask
from tfllm.tokenizers import load_tokenizer

LENGTH, NEW_TOKENS = 24, 8
OTHERS = [name for name in FAMILIES if name not in ("bert", "gpt2")]
WRITERS = [name for name in OTHERS if FAMILIES[name].config().generates]
CLASSIFIERS = [
    name
    for name in OTHERS
    if "sequence_classification" in FAMILIES[name].architectures
]
READERS = [name for name in OTHERS if name not in WRITERS]
TEXTS = ["the river", "She said: long  days,", "", "été 🙂 自然", "up " * 40]


def serve(folder: str, settings: ExportSettings) -> SavedModel:
    """Returns the export of a folder, in the C++ runtime."""
    target = str(pathlib.Path(folder).parent / "served")
    report = export(ExportConfig(folder, target, settings=settings))
    # In this process, XLA stays as other tests need it.
    return SavedModel(report.folder, disable_xla=False)


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(n, marks=[pytest.mark.wide] * (n != "llama"))
        for n in CLASSIFIERS
    ],
)
def test_classification(family: str, tmp_path: pathlib.Path) -> None:
    folder = small_models.of_family(
        tmp_path, family, "classification", labels=small_models.LABELS
    )
    task = model_folder.load(folder)
    tokenizer = task.tokenizer
    encoded = [(text.encode(),) for text in TEXTS]
    expected = results(answers(task, tokenizer, encoded, LENGTH, 8))
    with serve(folder, ExportSettings(LENGTH, 8)) as model:
        answer = model.run("serving_default", {"text": TEXTS})
    for row, result in enumerate(expected):
        assert answer["label"][row].decode() == result["label"]
        scores = [result["scores"][name] for name in small_models.LABELS]
        np.testing.assert_allclose(answer["scores"][row], scores, atol=1e-5)


# By default test_export.py has a decoder, test_seq2seq_verbs.py an
# encoder-decoder.
@pytest.mark.wide
@pytest.mark.parametrize("family", WRITERS)
def test_text_generation(family: str, tmp_path: pathlib.Path) -> None:
    both = FAMILIES[family].config().reads_both_sides
    folder = small_models.of_family(
        tmp_path, family, "seq2seq_lm" if both else "causal_lm"
    )
    task = model_folder.load(folder)
    texts = [text for text in TEXTS if text and len(text) < 80]
    settings = ExportSettings(small_models.LENGTH, max_new_tokens=NEW_TOKENS)
    with serve(folder, settings) as model:
        answer = model.run("serving_default", {"text": texts})
        drawn = model.run(
            "sample",
            {
                "text": texts[:1],
                "seed": np.array([5]),
                "temperature": np.array([2.0], np.float32),
            },
        )
    for row, text in enumerate(texts):
        ((expected,),) = task.text([text], max_new_tokens=NEW_TOKENS)
        count = answer["lengths"][row]
        ids = answer["token_ids"][row, :count].tolist()
        assert ids == expected.token_ids
        assert answer["text"][row].decode() == expected.text
    options = {"do_sample": True, "temperature": 2.0, "seed": 5}
    ((expected,),) = task.text(texts[:1], max_new_tokens=NEW_TOKENS, **options)
    count = drawn["lengths"][0]
    assert drawn["token_ids"][0, :count].tolist() == expected.token_ids


@pytest.mark.parametrize(
    "family",
    [
        n
        for n in READERS
        if "replaced_token_detection" in FAMILIES[n].architectures
    ],
)
def test_replaced_tokens(family: str, tmp_path: pathlib.Path) -> None:
    folder = small_models.of_family(
        tmp_path, family, "replaced_token_detection"
    )
    task = model_folder.load(folder)
    tokenizer = task.tokenizer
    template = tokenizer.row_template
    with serve(folder, ExportSettings(LENGTH, 8)) as model:
        answer = model.run("serving_default", {"text": TEXTS})
    for row, text in enumerate(TEXTS):
        ids = tokenizer.tokenize(tf.constant([text])).to_list()[0]
        assert answer["num_tokens"][row] == len(ids)
        room = LENGTH - len(template.opens) - len(template.closes)
        if not 0 < len(ids) <= room:
            continue
        tokens = [*template.opens, *ids, *template.closes]
        logits = task({"token_ids": np.array([tokens], "int32")})["rtd"]
        expected = tf.sigmoid(logits)[0, len(template.opens) :][: len(ids)]
        np.testing.assert_allclose(
            answer["scores"][row, : len(ids)], expected, atol=1e-5
        )
        starts, ends = answer["starts"][row], answer["ends"][row]
        words = [text[starts[i] : ends[i]].lower() for i in range(len(ids))]
        spelled = [
            tokenizer.token_text(i).removeprefix("##").lower() for i in ids
        ]
        unknown = tokenizer.token_text(tokenizer.role_id("unk")).lower()
        # Tokens of other texts have lost their accents.
        assert not text.isascii() or all(
            one in (unknown, other)
            for one, other in zip(spelled, words, strict=True)
        )


@pytest.mark.parametrize(
    "family",
    [
        # A kind of vocabulary each, and a way of masking.
        pytest.param(
            n,
            marks=[pytest.mark.wide] * (n not in ("albert", "xlnet")),
        )
        for n in READERS
    ],
)
def test_mask_filling(family: str, tmp_path: pathlib.Path) -> None:
    kinds = ("masked_lm", "permutation_lm")
    config = FAMILIES[family].config()
    kind = next(name for name in kinds if tasks.TASKS[name].fits(config))
    folder = small_models.of_family(tmp_path, family, kind)
    spec = FAMILIES[family].tokenizer
    tokenizer = load_tokenizer(folder, spec=spec, mask_in_text=True)
    mask = tokenizer.id_to_token(tokenizer.role_id("mask"))
    texts = [f"the {mask} of", f"{mask}  long {mask} days", f"été {mask}."]
    expected = FillMask(model_folder.load(folder), tokenizer, 5)(texts)
    with serve(folder, ExportSettings(LENGTH)) as model:
        answer = model.run("serving_default", {"text": [*texts, "no mask"]})
    assert answer["num_masks"].tolist() == [1, 2, 1, 0]
    for row, slots in enumerate(expected):
        for slot, candidates in enumerate(slots):
            found = answer["token_ids"][row, slot].tolist()
            assert found == [c["token_id"] for c in candidates]
            np.testing.assert_allclose(
                answer["scores"][row, slot],
                [c["score"] for c in candidates],
                atol=1e-5,
            )
