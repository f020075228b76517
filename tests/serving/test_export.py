"""Exports of small models, in the C++ runtime."""

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import verbs
from tests.serving import small_models
from tfllm import export as verb
from tfllm.generation import GenerationConfig
from tfllm.interop import model_folder
from tfllm.runtime import saved_model_file
from tfllm.runtime.c_loader import SavedModel
from tfllm.serving import artefacts, warm_up
from tfllm.serving import export as exports
from tfllm.serving.export import ExportReport, export
from tfllm.serving.export_config import ExportConfig, ExportSettings
from tfllm.serving.signatures.text_streaming import (
    STREAM,
    TOKENS_PER_CALL,
    can_stream,
    so_far,
)
from tfllm.tasks.fill_mask import FillMask
from tfllm.tokenizers import WordPieceTokenizer

Make = Callable[..., ExportReport]
Load = Callable[[ExportReport], SavedModel]
NEW_TOKENS = 10


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Exports a folder under a name; once for each name."""
    base = tmp_path_factory.mktemp("exports")
    made: dict[str, ExportReport] = {}

    def run(name: str, folder: str, **options: Any) -> ExportReport:
        if name not in made:
            made[name] = export(
                ExportConfig(folder, str(base / name), **options)
            )
        return made[name]

    return run


@pytest.fixture(scope="module")
def fill_mask(make: Make) -> ExportReport:
    return make("fill", small_models.masked_lm())


@pytest.fixture(scope="module")
def generator(make: Make) -> ExportReport:
    return make(
        "write",
        small_models.causal_lm(),
        settings=ExportSettings(max_new_tokens=NEW_TOKENS),
    )


@pytest.fixture(scope="module")
def load() -> Iterator[Load]:
    """Loads an export, in the C++ runtime; once for each."""
    with contextlib.ExitStack() as stack:
        loaded: dict[str, SavedModel] = {}

        def run(report: ExportReport) -> SavedModel:
            if report.folder not in loaded:
                # In this process, XLA stays as other tests need it.
                model = SavedModel(report.folder, disable_xla=False)
                loaded[report.folder] = stack.enter_context(model)
            return loaded[report.folder]

        yield run


@pytest.fixture(scope="module")
def writer() -> Any:
    """The task of `generator`, in Python."""
    return model_folder.load(small_models.causal_lm())


def signature_of(report: ExportReport, name: str) -> dict[str, Any]:
    """Names, dtypes and shapes of a signature."""
    found = saved_model_file.read(report.folder).signatures[name]
    return {
        key: (info.dtype, info.shape)
        for part in (found.inputs, found.outputs)
        for key, info in part.items()
    }


def test_fill_mask_answers_as_predict(
    load: Load, fill_mask: ExportReport
) -> None:
    folder = small_models.masked_lm()
    tokenizer = WordPieceTokenizer.from_file(
        folder, special_tokens_in_text=("[MASK]",)
    )
    predict = FillMask(model_folder.load(folder), tokenizer, 5)
    texts = ["it was [MASK] of times", "[MASK] the [MASK] 自然", "Dog [MASK]."]
    expected = predict(texts)
    model = load(fill_mask)
    answer = model.run("serving_default", {"text": [*texts, "no mask"]})
    ids = answer["token_ids"]
    assert answer["num_masks"].tolist() == [1, 2, 1, 0]
    assert ids.shape == (4, 2, 5)
    for row, slots in enumerate(expected):
        for slot, candidates in enumerate(slots):
            assert ids[row, slot].tolist() == [
                c["token_id"] for c in candidates
            ]
            assert answer["tokens"][row, slot].tolist() == [
                c["token"].encode() for c in candidates
            ]
            np.testing.assert_allclose(
                answer["scores"][row, slot],
                [c["score"] for c in candidates],
                atol=1e-5,
            )
    # Where a text has fewer masks there is nothing.
    assert answer["tokens"][0, 1].tolist() == [b""] * 5
    assert not answer["scores"][0, 1].any()


def test_long_texts_are_filled_in_windows(
    load: Load, fill_mask: ExportReport
) -> None:
    words = ["it"] * 200
    words[3] = words[100] = words[197] = "[MASK]"
    text = " ".join(words)
    room = small_models.LENGTH - 2
    model = load(fill_mask)
    answer = model.run("serving_default", {"text": [text]})
    assert answer["num_masks"].tolist() == [3]
    # Each as in the part that the documented window shows.
    margin = (room - room // 2) // 2
    for slot, place in enumerate((3, 100, 197)):
        number = max((place - margin) // (room // 2), 0)
        number = min(number, -(-(200 - room) // (room // 2)))
        start = number * (room // 2)
        part = words[start : start + room]
        (alone,) = model.run("serving_default", {"text": [" ".join(part)]})[
            "scores"
        ]
        count = part[: place - start].count("[MASK]")
        np.testing.assert_allclose(
            answer["scores"][0, slot], alone[count], atol=1e-5
        )


@pytest.mark.parametrize("size", [1, 3, 16])
def test_generation_is_that_of_python(
    writer: Any, load: Load, generator: ExportReport, size: int
) -> None:
    texts = [("the was " * (i % 5 + 1))[: 3 * i] for i in range(size)]
    expected = [
        writer.text([text], max_new_tokens=NEW_TOKENS)[0][0] for text in texts
    ]
    model = load(generator)
    answer = model.run("serving_default", {"text": texts})
    for row, one in enumerate(expected):
        count = answer["lengths"][row]
        assert answer["token_ids"][row, :count].tolist() == one.token_ids
        assert answer["text"][row].decode() == one.text
        assert answer["finish_reasons"][row].decode() == one.finish_reason
        assert answer["scores"][row] == pytest.approx(one.score, abs=1e-4)


def test_generation_stops(
    load: Load, make: Make, generator: ExportReport
) -> None:
    model = load(generator)
    texts = ["the", "was", "dog"]
    before = model.run("serving_default", {"text": texts})
    # The third token of the first text shall end a text.
    end = int(before["token_ids"][0, 2])
    stopped = make(
        "stop",
        small_models.causal_lm(eos_token_id=(end,)),
        settings=ExportSettings(max_new_tokens=NEW_TOKENS),
    )
    model = load(stopped)
    after = model.run("serving_default", {"text": texts})
    for row in range(3):
        ids = before["token_ids"][row].tolist()
        count = ids.index(end) + 1 if end in ids else NEW_TOKENS
        assert after["lengths"][row] == count
        assert after["token_ids"][row, :count].tolist() == ids[:count]
        reason = b"eos" if end in ids else b"length"
        assert after["finish_reasons"][row] == reason
        # Padding after it.
        pad = small_models.byte_bpe().pad_id
        assert set(after["token_ids"][row, count:].tolist()) <= {pad}
    assert after["finish_reasons"][0] == b"eos"


def test_sampling_depends_on_the_row_only(
    load: Load, generator: ExportReport
) -> None:
    texts = ["the", "was the", "the"]

    def drawn(model: SavedModel, rows: list[int], temperature: float) -> Any:
        return model.run(
            "sample",
            {
                "text": [texts[i] for i in rows],
                "seed": np.array([5 + i for i in rows]),
                "temperature": np.full(len(rows), temperature, np.float32),
            },
        )["token_ids"].tolist()

    model = load(generator)
    together = drawn(model, [0, 1, 2], 2.0)
    assert drawn(model, [0, 1, 2], 2.0) == together
    assert drawn(model, [2, 1, 0], 2.0) == together[::-1]
    assert drawn(model, [1], 2.0) == [together[1]]
    # Same text, other seed.
    assert together[0] != together[2]
    greedy = model.run("serving_default", {"text": texts})["token_ids"]
    for cold in (0.0, -1.0, float("nan")):
        assert drawn(model, [0, 1, 2], cold) == greedy.tolist()
    task = model_folder.load(small_models.causal_lm())
    (one,) = task.text(
        ["the"],
        do_sample=True,
        temperature=2.0,
        seed=5,
        max_new_tokens=NEW_TOKENS,
    )[0]
    assert one.token_ids == together[0][: len(one.token_ids)]


def test_ids_that_the_tokenizer_lacks_are_not_chosen() -> None:
    """Of a table with twice as many ids as the tokenizer has."""
    size = small_models.byte_bpe().vocab_size
    task, tokenizer, run = exports.load(small_models.causal_lm(surplus=size))
    settings = ExportSettings(max_new_tokens=NEW_TOKENS)
    served = exports.signatures.serve(task, tokenizer, settings, run)
    request = {
        "text": ["the"] * 4,
        "seed": np.arange(4),
        "temperature": np.full(4, 50.0, np.float32),
    }
    for name in ("sample", "serving_default"):
        inputs = request if name == "sample" else {"text": ["the", "was"]}
        answer = served.functions[name].call(
            **{key: tf.constant(value) for key, value in inputs.items()}
        )
        assert answer["lengths"].numpy().min() > 0
        assert answer["token_ids"].numpy().max() < size


def test_long_prompts_are_read_from_the_end(
    load: Load, generator: ExportReport
) -> None:
    room = small_models.LENGTH - NEW_TOKENS
    model = load(generator)
    long, end = (
        model.run("serving_default", {"text": [text]})
        for text in ("x" * 500 + "y" * room, "y" * room)
    )
    assert long["num_prompt_tokens"].tolist() == [room]
    assert long["token_ids"].tolist() == end["token_ids"].tolist()


def test_a_stream_is_what_comes_at_once(
    load: Load, generator: ExportReport
) -> None:
    """Calls of two texts at a time, until each has ended."""
    texts = [b"the quick", b""]
    rows: list[list[int]] = [[], []]
    content, ended = [b"", b""], [False, False]
    model = load(generator)
    at_once = model.run("serving_default", {"text": texts})
    for _ in range(NEW_TOKENS):
        found = model.run(STREAM, {"text": texts, **so_far(rows)})
        for i, count in enumerate(found["lengths"]):
            if not ended[i]:
                assert 1 <= count <= TOKENS_PER_CALL
                rows[i] += found["token_ids"][i, :count].tolist()
                content[i] += b"".join(found["text_bytes"][i])
                ended[i] = bool(found["finished"][i])
        if all(ended):
            break
    assert ended == [True, True]
    for i, count in enumerate(at_once["lengths"]):
        assert rows[i] == at_once["token_ids"][i, :count].tolist()
        text = content[i].decode("utf-8", "replace").encode()
        assert text == at_once["text"][i]


def test_what_counts_from_the_prompt_is_not_streamed() -> None:
    config = GenerationConfig(max_new_tokens=5, repetition_penalty=1.5)
    assert can_stream(config)
    for changes in (
        {"min_new_tokens": 2},
        {"stop_strings": ("a",)},
        {"presence_penalty": 0.5},
    ):
        assert not can_stream(config.replace(**changes))


def test_texts_that_come_out_are_utf8(
    load: Load, generator: ExportReport
) -> None:
    # Bytes as prompts: the small model says bytes of any kind.
    texts = [bytes([i, 255 - i]) for i in range(64)]
    model = load(generator)
    answer = model.run("serving_default", {"text": texts})
    joined = b"".join(answer["text"]).decode("utf-8")
    assert "\ufffd" in joined


@pytest.mark.parametrize("name", ["fill_mask", "generator"])
def test_a_row_is_the_same_in_any_batch(
    load: Load, name: str, request: pytest.FixtureRequest
) -> None:
    texts = ["the [MASK]", "", "it was the [MASK] of [MASK] times " * 3]
    model = load(request.getfixturevalue(name))
    together = model.run("serving_default", {"text": texts})
    for row, text in enumerate(texts):
        alone = model.run("serving_default", {"text": [text]})
        # As a server fills up a batch: with copies of a row.
        merged = model.run("serving_default", {"text": [text] * 4})
        for key, array in alone.items():
            inside = tuple(slice(0, n) for n in array.shape)[1:]
            for found in (together[key][[row]], merged[key][[2]]):
                other = found[(slice(0, 1), *inside)]
                if array.dtype.kind == "f":
                    np.testing.assert_allclose(other, array, atol=2e-5)
                else:
                    assert np.all(other == array), key


def test_token_ids_give_what_text_gives(
    load: Load, fill_mask: ExportReport
) -> None:
    tokenizer = small_models.wordpiece()
    ids = tokenizer.tokenize(tf.constant(["it was"])).to_list()[0]
    row = [
        tokenizer.special.cls,
        *ids,
        tokenizer.special.mask,
        tokenizer.special.sep,
    ]
    # What lies behind the length does not count, whatever it is.
    table = np.array([[*row, 7, 7, 7]], np.int32)
    model = load(fill_mask)
    text = model.run("serving_default", {"text": ["it was [MASK]"]})
    found = model.run(
        "token_ids",
        {
            "token_ids": table,
            "segment_ids": np.zeros_like(table),
            "lengths": np.array([len(row)], np.int32),
        },
    )
    assert found["token_ids"].tolist() == text["token_ids"].tolist()
    np.testing.assert_allclose(found["scores"], text["scores"], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("token_ids", -1, "`token_ids` must be from 0 to"),
        ("token_ids", 10**6, "`token_ids` must be from 0 to"),
        ("segment_ids", 7, "`segment_ids` must be from 0 to"),
        ("lengths", 9, "`lengths` must be from 0 to"),
        ("lengths", -9, "`lengths` must be from 0 to"),
    ],
)
def test_ids_that_the_model_lacks_are_refused(
    load: Load, fill_mask: ExportReport, name: str, value: int, rule: str
) -> None:
    inputs = {
        "token_ids": np.array([[2, 5, 3]], np.int32),
        "segment_ids": np.zeros([1, 3], np.int32),
        "lengths": np.array([3], np.int32),
    }
    model = load(fill_mask)
    model.run("token_ids", inputs)
    inputs[name].flat[0] = value
    with pytest.raises(Exception, match=f"(?s){rule}"):
        model.run("token_ids", inputs)


def test_rows_longer_than_the_model_are_refused(
    load: Load, fill_mask: ExportReport
) -> None:
    row = np.full([1, 400], 5, np.int32)
    inputs = {"token_ids": row, "segment_ids": np.zeros_like(row)}
    with pytest.raises(Exception, match="(?s)`lengths` must be from 0 to"):
        load(fill_mask).run(
            "token_ids", {**inputs, "lengths": np.array([400], np.int32)}
        )


def test_signatures_are_frozen(
    fill_mask: ExportReport, generator: ExportReport
) -> None:
    filled = {
        "tokens": ("string", (-1, -1, 5)),
        "token_ids": ("int32", (-1, -1, 5)),
        "scores": ("float32", (-1, -1, 5)),
        "num_masks": ("int32", (-1,)),
    }
    text = {"text": ("string", (-1,))}
    assert signature_of(fill_mask, "serving_default") == {**text, **filled}
    continued = {
        "token_ids": ("int32", (-1, NEW_TOKENS)),
        "lengths": ("int32", (-1,)),
        "scores": ("float32", (-1,)),
        "finish_reasons": ("string", (-1,)),
        "num_prompt_tokens": ("int32", (-1,)),
    }
    # The input and the output of this name have one form.
    assert signature_of(generator, "serving_default") == {**text, **continued}
    assert signature_of(generator, "sample") == {
        **text,
        **continued,
        "seed": ("int64", (-1,)),
        "temperature": ("float32", (-1,)),
    }
    assert sorted(fill_mask.manifest["signatures"]) == [
        "serving_default",
        "token_ids",
    ]


@pytest.mark.parametrize("name", ["fill_mask", "generator"])
def test_what_lies_in_a_version(
    name: str, request: pytest.FixtureRequest
) -> None:
    report = request.getfixturevalue(name)
    folder = pathlib.Path(report.folder)
    assert sorted(os.listdir(folder.parent)) == [
        "1",
        "models.config",
        "monitoring.config",
    ]
    assert (
        f'base_path: "/models/{folder.parent.name}"'
        in (folder.parent / "models.config").read_text()
    )
    extra = folder / "assets.extra"
    manifest = json.loads((extra / "tfllm/manifest.json").read_text())
    assert manifest == json.loads(json.dumps(report.manifest))
    assert manifest["sha256"] == artefacts.hash_of(folder)
    assert manifest["min_server"] == "2.12.1"
    assert "Fast" in str(manifest["ops"]) or "Sentencepiece" in str(
        manifest["ops"]
    )
    vocabulary = "vocab.txt" if name == "fill_mask" else "vocab.json"
    assert (extra / "tfllm" / vocabulary).is_file()
    # Weights once.
    size = (folder / "variables/variables.data-00000-of-00001").stat().st_size
    assert report.weight_bytes == report.stored_bytes <= size
    assert size < report.weight_bytes + 20_000
    # No path of the machine that wrote it.
    content = (folder / "saved_model.pb").read_bytes()
    assert str(folder.parent).encode() not in content
    assert str(small_models.__file__).encode() not in content


def test_batching_parameters_end_in_the_largest_batch(
    fill_mask: ExportReport,
) -> None:
    text = (pathlib.Path(fill_mask.folder) / artefacts.BATCHING).read_text()
    lines = [line for line in text.splitlines() if line[:1] != "#"]
    sizes = [
        int(line.split(": ")[1])
        for line in lines
        if line.startswith("allowed_batch_sizes")
    ]
    assert sizes == sorted(sizes)
    assert f"max_batch_size {{ value: {sizes[-1]} }}" in lines


@pytest.mark.parametrize("name", ["fill_mask", "generator"])
def test_warm_up_requests_are_answered(
    load: Load, name: str, request: pytest.FixtureRequest
) -> None:
    prediction_log_pb2 = pytest.importorskip(
        "tensorflow_serving.apis.prediction_log_pb2"
    )
    report = request.getfixturevalue(name)
    path = pathlib.Path(report.folder) / "assets.extra" / warm_up.FILE
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    assert 0 < len(logs) <= warm_up.MAX_REQUESTS
    seen = set()
    model = load(report)
    for log in logs:
        asked = log.predict_log.request
        inputs = {
            key: tf.make_ndarray(value) for key, value in asked.inputs.items()
        }
        model.run(asked.model_spec.signature_name, inputs)
        seen.add(asked.model_spec.signature_name)
        assert asked.model_spec.name == path.parents[2].name
    assert seen == set(model.signatures)


def test_smaller_weights(
    load: Load, make: Make, fill_mask: ExportReport
) -> None:
    report = make(
        "small",
        small_models.masked_lm(),
        precision="float16",
        quantize="int8",
    )
    # A byte for each weight of a matrix, two for others, and the scales.
    assert report.stored_bytes < 0.36 * report.weight_bytes
    (path,) = pathlib.Path(report.folder).glob("variables/*.data-*")
    size = path.stat().st_size
    assert report.stored_bytes <= size < report.stored_bytes + 30_000
    assert report.change is not None
    assert 0.0 < report.change.largest_difference < 0.2
    text = verb.summary(report)
    ratio = report.stored_bytes / report.weight_bytes
    assert f"{ratio:.2f} of float32" in text
    assert f"of {report.change.rows} answers as in float32" in text
    model = load(report)
    whole = load(fill_mask)
    texts = {"text": ["the [MASK] of times"]}
    scores = model.run("serving_default", texts)["scores"]
    exact = whole.run("serving_default", texts)["scores"]
    assert 0.0 < np.abs(scores - exact).max() < 0.2


def test_a_version_is_whole_or_not_there(
    make: Make, fill_mask: ExportReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = pathlib.Path(fill_mask.folder).parent
    config = ExportConfig(small_models.masked_lm(), str(base))
    with pytest.raises(ValueError, match="Received: 1, in .* with \\[1\\]"):
        export(dataclasses.replace(config, version=1))
    seen: list[list[str]] = []

    def refuse(folder: pathlib.Path, *_: Any) -> None:
        seen.append(sorted(os.listdir(base)))
        raise ValueError("refused")

    monkeypatch.setattr("tfllm.serving.gate.check", refuse)
    with pytest.raises(ValueError, match="refused"):
        export(config)
    # Never under a name that a server would load, and gone afterwards.
    ((hidden, *rest),) = seen
    assert hidden.startswith(".tmp-2-")
    assert rest == ["1", "models.config", "monitoring.config"]
    assert sorted(os.listdir(base)) == rest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"export_dir": ""}, "`export_dir` is needed. Received: nothing"),
        ({"min_server": "2.11.0"}, "Received: '2.11.0'"),
        ({"precision": "float8"}, "Received: 'float8'"),
        ({"quantize": "int4"}, "Received: 'int4'"),
        ({"export_dir": "gs://bucket/x"}, "must be local"),
        (
            {"settings": ExportSettings(seq_length=99)},
            "at most 32, the longest sequence of the model. Received: 99",
        ),
        (
            {"settings": ExportSettings(stride=31)},
            "a room of 30 tokens and stride=31",
        ),
    ],
)
def test_what_cannot_be_exported(
    tmp_path: pathlib.Path, options: dict[str, Any], message: str
) -> None:
    arguments: dict[str, Any] = {
        "model_dir": small_models.masked_lm(),
        "export_dir": str(tmp_path / "base"),
        **options,
    }
    with pytest.raises(ValueError, match=message.replace("(", "\\(")):
        export(ExportConfig(**arguments))
    assert not list(tmp_path.glob("base/*"))


def test_a_prompt_needs_room(tmp_path: pathlib.Path) -> None:
    settings = ExportSettings(max_new_tokens=32)
    with pytest.raises(ValueError, match="leave room .* Received: 32"):
        export(
            ExportConfig(
                small_models.causal_lm(),
                str(tmp_path / "base"),
                settings=settings,
            )
        )


@pytest.mark.slow
def test_the_verb(tmp_path: pathlib.Path) -> None:
    (tmp_path / "lines.txt").write_text("it was\nthe dog\n")
    flags = [
        f"--evaluation_files={tmp_path}/lines.txt",
        f"--model_dir={small_models.causal_lm()}",
        f"--export_dir={tmp_path / 'base'}",
        "--version=7",
        "--max_new_tokens=4",
        "--precision=bfloat16",
    ]
    done = verbs.run("export", *flags)
    assert done.status == 0, done.stderr
    folder, signatures, weights, accuracy, *table, gate = (
        done.stdout.splitlines()[-8:]
    )
    assert folder == (
        f"exported {tmp_path}/base/7: causal_lm, for TensorFlow Serving "
        "2.12.1 and later"
    )
    assert signatures == (
        "signatures: sample, serving_default, stream, token_ids"
    )
    assert weights.endswith("MB, 0.50 of float32")
    assert "answers as in float32" in accuracy
    assert table[0] == f"figures of 2 records of {tmp_path}/lines.txt:"
    assert table[2].split()[:2] == ["unchanged", "1.0000"]
    assert "rows as in Python" in gate
    again = verbs.run("export", *flags)
    assert again.status == 1
    message = "error: `version` must be a positive number without a folder"
    assert again.errors[-1].startswith(message)
