"""Names, options and models of pipelines; what each kind does with them."""

import pathlib
from typing import Any

import numpy as np
import pytest

import tfllm
from tests.prediction.pipelines.small_folders import LABELS, TEXTS, equal
from tfllm import tasks
from tfllm.interop import hub
from tfllm.prediction.pipelines import PIPELINES
from tfllm.tokenizers import load_tokenizer


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("classification", "text-classification"),
        ("multi_label", "text-classification"),
        ("regression", "text-classification"),
        ("tagging", "token-classification"),
        ("question_answering", "question-answering"),
        ("masked_lm", "fill-mask"),
        ("causal_lm", "text-generation"),
        ("embedding", "sentence-embedding"),
    ],
)
def test_the_folder_says_which(
    folders: pathlib.Path, folder: str, name: str
) -> None:
    assert tfllm.pipeline(model=folders / folder).name == name


@pytest.mark.parametrize(
    ("task", "near"),
    [
        ("sentiment-analisys", "sentiment-analysis"),
        ("text-clasification", "text-classification"),
        # Our own names of tasks.
        ("tagging", "token-classification"),
        ("causal_lm", "text-generation"),
    ],
)
def test_unknown_names(task: str, near: str) -> None:
    with pytest.raises(ValueError, match="Did you mean") as error:
        tfllm.pipeline(task, model="nowhere")
    assert f"Received: {task!r}. Did you mean {near!r}?" in str(error.value)
    assert all(repr(name) in str(error.value) for name in PIPELINES)


def test_what_is_missing(folders: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="`model` must be .*no default"):
        tfllm.pipeline("ner")
    folder = str(folders / "tagging")
    with pytest.raises(ValueError, match=r"as `model`: pipeline\(model="):
        tfllm.pipeline(folder)
    with pytest.raises(ValueError, match="must be named for a model of"):
        tfllm.pipeline(model=folders / "multiple_choice")


def test_tasks_as_models(folders: pathlib.Path) -> None:
    folder = folders / "classification"
    expected = tfllm.pipeline("text-classification", model=folder)(TEXTS)
    task = tfllm.load(folder)
    equal(tfllm.pipeline(model=task)(TEXTS), expected)
    bare = tasks.create("classification", task.config, labels=LABELS)
    with pytest.raises(ValueError, match="`tokenizer` is needed"):
        tfllm.pipeline(model=bare)
    bare.set_weights(task.get_weights())
    for tokenizer in (load_tokenizer(str(folder)), folder):
        given = tfllm.pipeline(model=bare, tokenizer=tokenizer)
        equal(given(TEXTS), expected)
    fill = tfllm.pipeline(model=tfllm.load(folders / "masked_lm"))
    theirs = tfllm.pipeline(model=folders / "masked_lm")
    equal(fill("[MASK] kiki"), theirs("[MASK] kiki"))
    with pytest.raises(ValueError, match="'x' with a task"):
        tfllm.pipeline(model=task, revision="x")


def test_a_tokenizer_of_another_family(folders: pathlib.Path) -> None:
    with pytest.raises(
        ValueError, match="'wordpiece' or 'sentence_piece'. .*: 'byte_bpe'"
    ):
        tfllm.pipeline(
            model=folders / "classification", tokenizer=folders / "causal_lm"
        )


def test_dtype(folders: pathlib.Path) -> None:
    folder = folders / "classification"
    half = tfllm.pipeline(model=folder, dtype="mixed_bfloat16")
    assert half.task.compute_dtype == "bfloat16"
    assert tfllm.pipeline(model=folder, dtype="auto").task.compute_dtype == (
        "float32"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": 0}, r"Received: `device` \(.*tf.device"),
        ({"return_all_scores": True}, r"`top_k=None` for all scores"),
        ({"num_workers": 2, "padding": True}, "`num_workers` .*, `padding` "),
        ({"topp_k": 1}, r"takes `top_k`, .*Received: `topp_k`$"),
        ({"batch_size": 0}, "`batch_size` must be .*Received: 0"),
        ({"batch_size": True}, "`batch_size` must be .*Received: True"),
    ],
)
def test_keywords_that_there_are_not(
    folders: pathlib.Path, options: dict[str, Any], message: str
) -> None:
    model = folders / "classification"
    with pytest.raises(ValueError, match=message):
        tfllm.pipeline("text-classification", model=model, **options)
    pipe = tfllm.pipeline("text-classification", model=model)
    with pytest.raises(ValueError, match=message):
        pipe(TEXTS, **options)


def test_none_asks_for_nothing(folders: pathlib.Path) -> None:
    model = folders / "classification"
    pipe = tfllm.pipeline(model=model, device=None, trust_remote_code=None)
    assert len(pipe(TEXTS, num_workers=None)) == 2


def test_options_of_generation(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(model=folders / "causal_lm")
    with pytest.raises(ValueError, match="mean `max_new_tokens`"):
        pipe(TEXTS, max_new_token=3)
    with pytest.raises(ValueError, match=r"`max_length` \(give `max_new_tok"):
        pipe(TEXTS, max_length=3)
    chat = [{"role": "user", "content": "baba"}]
    with pytest.raises(ValueError, match="must be texts. Received: {'role'"):
        pipe(chat)


def test_function_to_apply(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(model=folders / "classification", top_k=None)

    def scores(function: str | None) -> np.ndarray:
        found = pipe(TEXTS[0], function_to_apply=function)
        by_label = {one["label"]: one["score"] for one in found[0]}
        return np.array([by_label[label] for label in LABELS])

    logits = scores("none")
    np.testing.assert_allclose(scores("sigmoid"), 1 / (1 + np.exp(-logits)))
    powers = np.exp(logits)
    np.testing.assert_allclose(scores("SOFTMAX"), powers / powers.sum())
    np.testing.assert_allclose(scores(None), scores("softmax"))
    with pytest.raises(ValueError, match="`function_to_apply`.*'relu'"):
        scores("relu")


def test_long_texts(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(model=folders / "classification")
    # 30 tokens fit between [CLS] and [SEP].
    words = ["baba", "kiki", "lolo", "dede", "susu"] * 8
    whole, head = " ".join(words), " ".join(words[:30])
    equal(pipe(whole, truncation=True), pipe(head))
    assert pipe(whole)[0]["score"] != pytest.approx(pipe(head)[0]["score"])
    equal(pipe(whole, truncation=True, max_length=7), pipe(" ".join(words[:5])))
    features = tfllm.pipeline(
        "feature-extraction", model=folders / "classification"
    )
    with pytest.raises(ValueError, match="30 tokens .*Received: 40 in input 1"):
        features(["baba", whole])
    equal(features(whole, truncation=True), features(head))


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooled_features(folders: pathlib.Path, pooling: str) -> None:
    pipe = tfllm.pipeline("feature-extraction", model=folders / "embedding")
    tokens = [np.array(found[0]) for found in pipe(TEXTS)]  # [T, D]
    pool = {
        "mean": lambda x: x.mean(axis=0),
        "cls": lambda x: x[0],
        "last": lambda x: x[-1],
    }[pooling]
    expected = np.array([pool(one) for one in tokens])
    found = pipe(TEXTS, pooling=pooling)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    lengths = np.linalg.norm(expected, axis=1, keepdims=True)
    found = pipe(TEXTS, pooling=pooling, normalize=True)
    np.testing.assert_allclose(found, expected / lengths, atol=1e-5)
    assert np.shape(pipe(TEXTS[0], pooling=pooling)) == (16,)


def test_features_as_tensors(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(
        "feature-extraction", model=folders / "masked_lm", return_tensors=True
    )
    tensor = pipe(TEXTS[1])
    assert tensor.shape == (1, 4, 16)
    assert tensor.dtype == "float32"
    equal(tensor.numpy().tolist(), pipe(TEXTS[1], return_tensors=False))
    with pytest.raises(ValueError, match="`pooling` must be one of.*'max'"):
        pipe(TEXTS, pooling="max")
    with pytest.raises(ValueError, match="`normalize` goes with `pooling`"):
        pipe(TEXTS, normalize=True)


def test_sentence_embedding(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(model=folders / "embedding")
    features = tfllm.pipeline("feature-extraction", model=folders / "embedding")
    # As the folder says: the mean, of length one.
    expected = features(TEXTS, pooling="mean", normalize=True)
    np.testing.assert_allclose(pipe(TEXTS), expected, atol=1e-5)
    assert np.shape(pipe(TEXTS[0])) == (16,)


def test_targets(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(model=folders / "masked_lm")
    every = pipe("[MASK] kiki.", top_k=230)
    expected = [one for one in every if one["token_str"] in ("baba", "lolo")]
    equal(pipe("[MASK] kiki.", targets=["lolo", "baba"]), expected)
    equal(
        pipe("[MASK] kiki.", targets="baba", top_k=9),
        [one for one in expected if one["token_str"] == "baba"],
    )
    with pytest.raises(ValueError, match=r"Received: \['xyz'\]"):
        pipe("[MASK] kiki.", targets=["baba", "xyz"])


def test_questions_by_name(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline(model=folders / "question_answering")
    with pytest.raises(ValueError, match="Received: neither"):
        pipe()
    with pytest.raises(ValueError, match="Received: both"):
        pipe({"question": "a", "context": "b"}, question="a")
    with pytest.raises(ValueError, match="`context` must be texts.*None"):
        pipe(question="a")
    with pytest.raises(ValueError, match="Received: 2 for 1 questions"):
        pipe(question=["a"], context=["b", "c"])


def test_words_that_are_split(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline("ner", model=folders / "tagging", ignore_labels=[])
    words = [text.replace(",", "").split() for text in TEXTS]
    found = pipe(words, is_split_into_words=True)
    equal(found, pipe([" ".join(one) for one in words]))
    # One text gives a list of its results, as in Transformers.
    equal(pipe(words[1], is_split_into_words=True), found[1:])
    with pytest.raises(ValueError, match="must be lists of words"):
        pipe(TEXTS[0], is_split_into_words=True)


def test_pieces_of_a_long_text(folders: pathlib.Path) -> None:
    pipe = tfllm.pipeline("ner", model=folders / "tagging", ignore_labels=[])
    text = "baba kikilolo, dede. " * 12
    found = pipe(text)
    assert [one["word"] for one in found] == [
        *["baba", "kiki", "##lolo", ",", "dede", "."] * 12
    ]
    assert [one["index"] for one in found] == [*range(1, 73)]
    spelled = [one["word"].removeprefix("##") for one in found]
    assert [text[one["start"] : one["end"]] for one in found] == spelled


def test_folders_are_read_once(
    folders: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def fetch(hub_id: str, revision: str | None = None) -> pathlib.Path:
        opened.append((hub_id, revision))
        return folders / "tagging"

    monkeypatch.setattr(hub, "fetch", fetch)
    pipe = tfllm.pipeline("ner", model="someone/tagger", revision="v1")
    assert opened == [("someone/tagger", "v1")]
    assert pipe(TEXTS, ignore_labels=[])
