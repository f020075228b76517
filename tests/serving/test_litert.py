"""LiteRT files, in the LiteRT interpreter.

The export compares file and task on the texts of the gate; here rows are made
by hand, as a program on a phone makes them.
"""

import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests import verbs
from tests.serving import small_models
from tfllm.interop import model_folder
from tfllm.outputs.probabilities import sigmoid, softmax
from tfllm.serving import litert, litert_export
from tfllm.serving.artefacts import LITERT_FILE
from tfllm.serving.export import export
from tfllm.serving.export_config import ExportConfig, ExportSettings
from tfllm.serving.litert_export import LiteRTReport, export_litert
from tfllm.serving.signatures.signatures import SERVED_KINDS
from tfllm.tokenizers import load_tokenizer

interpreters = pytest.importorskip(
    "ai_edge_litert.interpreter",
    reason="ai-edge-litert is not installed (extra `litert`)",
)

LENGTH, STRIDE = 24, 8
TEXTS = ["it was the best of times", "Dog, 自然", "x", "the worst " * 9]
KINDS = [
    ("classification", "bert"),
    ("regression", "gpt2"),
    ("tagging", "bert"),
    pytest.param("multi_label", "bert", marks=pytest.mark.wide),
    pytest.param("embedding", "bert", marks=pytest.mark.wide),
]
Make = Callable[..., LiteRTReport]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    base = tmp_path_factory.mktemp("litert")
    made: dict[str, LiteRTReport] = {}

    def run(
        kind: str, family: str = "bert", fixed: bool = False, **options: Any
    ) -> LiteRTReport:
        name = "-".join(map(str, (kind, family, fixed, *options.values())))
        if name not in made:
            folder = small_models.labelled(kind, family)
            settings = ExportSettings(LENGTH, STRIDE)
            config = ExportConfig(
                folder, str(base / name), settings=settings, **options
            )
            made[name] = export_litert(config, fixed)
        return made[name]

    return run


def runner(folder: str) -> Any:
    """The signature of a file, without a line of ours."""
    path = str(pathlib.Path(folder) / LITERT_FILE)
    return interpreters.Interpreter(path).get_signature_runner()


def rows(tokenizer: Any, family: str) -> list[dict[str, np.ndarray]]:
    """The inputs of each text, cut to a row."""
    found = []
    for ids in tokenizer.tokenize(tf.constant(TEXTS)).to_list():
        if family == "bert":
            ids = [
                tokenizer.special.cls,
                *ids[: LENGTH - 2],
                tokenizer.special.sep,
            ]
        row = {"token_ids": ids[:LENGTH]}
        row["padding_mask"] = [1] * len(row["token_ids"])
        if family == "bert":
            row["segment_ids"] = [0] * len(row["token_ids"])
        found.append({k: np.array([v], np.int32) for k, v in row.items()})
    return found


@pytest.mark.parametrize(("kind", "family"), KINDS)
def test_rows_of_any_length(make: Make, kind: str, family: str) -> None:
    report = make(kind, family)
    task = model_folder.load(small_models.labelled(kind, family))
    run, name = runner(report.folder), SERVED_KINDS[kind].litert.main
    tokenizer = load_tokenizer(report.folder)
    for row in rows(tokenizer, family):
        answer = run(**row)
        expected = task(row)[kind].numpy()
        np.testing.assert_allclose(answer[name], expected, atol=1e-5)
        if "scores" in answer:
            to_scores = sigmoid if kind == "multi_label" else softmax
            np.testing.assert_allclose(
                answer["scores"], to_scores(expected), atol=1e-5
            )
    assert report.manifest["inputs"]["token_ids"] == "int32 [1, T]"
    assert set(report.manifest["outputs"]) == set(answer)
    assert report.gate.unchanged == report.gate.rows > 12
    assert report.gate.largest_difference < 1e-5


@pytest.mark.parametrize(
    ("kind", "folder"),
    [
        ("embedding", small_models.projecting),
        pytest.param(
            "regression",
            lambda: small_models.labelled("regression", activation="sigmoid"),
            marks=pytest.mark.wide,
        ),
    ],
)
def test_what_follows_the_pooling(
    kind: str, folder: Callable[[], str], tmp_path: pathlib.Path
) -> None:
    """Dense layers and activations are in the file, the prompt beside it."""
    config = ExportConfig(
        folder(), str(tmp_path), settings=ExportSettings(LENGTH, STRIDE)
    )
    report = export_litert(config, False)
    task = model_folder.load(folder())
    run, name = runner(report.folder), SERVED_KINDS[kind].litert.main
    for row in rows(load_tokenizer(report.folder), "bert"):
        expected = task(row)[kind].numpy()
        np.testing.assert_allclose(run(**row)[name], expected, atol=1e-5)
    prompt = "dog " if kind == "embedding" else ""
    assert report.manifest["row"]["prompt"] == prompt
    assert report.gate.largest_difference < 1e-5


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("tagging", "bert"),
        pytest.param("classification", "gpt2", marks=pytest.mark.wide),
    ],
)
def test_rows_of_one_length(make: Make, kind: str, family: str) -> None:
    report = make(kind, family, fixed=True)
    task = model_folder.load(small_models.labelled(kind, family))
    run = runner(report.folder)
    for row in rows(load_tokenizer(report.folder), family):
        real = row["token_ids"].shape[1]
        padded = {
            name: np.pad(ids, [(0, 0), (0, LENGTH - real)])
            for name, ids in row.items()
        }
        answer = run(**padded)["logits"]
        expected = task(row)[kind].numpy()
        if kind == "tagging":
            answer = answer[:, :real]
        np.testing.assert_allclose(answer, expected, atol=1e-5)
    assert report.manifest["inputs"]["token_ids"] == f"int32 [1, {LENGTH}]"


def test_smaller_files(make: Make) -> None:
    whole = make("classification")
    half = make("classification", precision="float16")
    bytes_ = make("classification", quantize="int8")
    weights = whole.weight_bytes
    # What is not weights is as large in all three.
    assert whole.file_bytes - half.file_bytes > 0.45 * weights
    assert whole.file_bytes - bytes_.file_bytes > 0.6 * weights
    assert 1e-5 < half.gate.largest_difference < 1e-2
    assert half.gate.largest_difference < bytes_.gate.largest_difference < 0.1


def test_a_phone_can_try_its_tokenizer(make: Make) -> None:
    report = make("classification")
    folder = pathlib.Path(report.folder)
    labels = (folder / "labels.txt").read_text().splitlines()
    assert labels == list(small_models.LABELS)
    tokenizer, run = load_tokenizer(str(folder)), runner(report.folder)
    layout = report.manifest["row"]
    assert (layout["seq_length"], layout["stride"]) == (LENGTH, STRIDE)
    lines = (folder / litert_export.EXAMPLES_FILE).read_text().splitlines()
    for line in map(json.loads, lines):
        (text,) = line["texts"]
        (ids,) = tokenizer.tokenize(tf.constant([text])).to_list()
        row = [*layout["opens"], *ids, *layout["closes"]]
        assert line["inputs"]["token_ids"] == row
        answer = run(
            **{k: np.array([v], np.int32) for k, v in line["inputs"].items()}
        )
        best = int(answer["scores"][0].argmax())
        assert labels[best] == line["result"]["label"]
        assert answer["scores"][0, best] == pytest.approx(
            line["result"]["score"], abs=1e-5
        )
    assert len(lines) > 6


def test_pairs_have_segments(tmp_path: pathlib.Path) -> None:
    folder = small_models.labelled("classification")
    settings = ExportSettings(LENGTH, STRIDE, pairs=True)
    report = export_litert(
        ExportConfig(folder, str(tmp_path / "base"), settings=settings)
    )
    path = pathlib.Path(report.folder) / litert_export.EXAMPLES_FILE
    one = json.loads(path.read_text().splitlines()[2])
    assert one["texts"] == ["the worst of", one["result"]["text_pair"]]
    # [CLS] and [SEP] around three words, then the other text.
    assert one["inputs"]["segment_ids"][:6] == [0, 0, 0, 0, 0, 1]
    assert report.manifest["row"]["pairs"] is True


@pytest.mark.parametrize("value", [0.01, np.nan])
def test_other_outputs_are_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    right = litert.LiteRTModel.rows
    monkeypatch.setattr(
        litert.LiteRTModel, "rows", lambda *args: right(*args) + value
    )
    base = tmp_path / "base"
    folder = small_models.labelled("classification")
    with pytest.raises(ValueError, match="within 0.0001 .* Received: text 0"):
        export_litert(ExportConfig(folder, str(base)))
    assert not list(base.iterdir())


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("question_answering", {}, "Received: 'question_answering'"),
        ("regression", {"precision": "bfloat16"}, "Received: 'bfloat16'"),
        (
            "regression",
            {"precision": "float16", "quantize": "int8"},
            "Received: 'int8' and 'float16'",
        ),
    ],
)
def test_what_cannot_be_exported(
    tmp_path: pathlib.Path, kind: str, options: Any, message: str
) -> None:
    folder = small_models.labelled(kind)
    with pytest.raises(ValueError, match=message):
        export_litert(ExportConfig(folder, str(tmp_path / "base"), **options))
    assert not list(tmp_path.glob("base/*"))


def test_no_interpreter(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    folder = small_models.labelled("regression")
    with pytest.raises(ValueError, match="pip install ai-edge-litert"):
        export_litert(ExportConfig(folder, str(tmp_path / "base")))
    assert not list(tmp_path.glob("base/*"))


def test_formats_do_not_mix(make: Make, tmp_path: pathlib.Path) -> None:
    base = str(pathlib.Path(make("regression", "gpt2").folder).parent)
    folder = small_models.labelled("regression", "gpt2")
    with pytest.raises(ValueError, match="where 1 have model.tflite"):
        export(ExportConfig(folder, base))
    version = tmp_path / "3"
    version.mkdir()
    (version / "saved_model.pb").touch()
    with pytest.raises(ValueError, match="where 3 have saved_model.pb"):
        export_litert(ExportConfig(folder, str(tmp_path)))


@pytest.mark.slow
def test_the_verb(tmp_path: pathlib.Path) -> None:
    flags = [
        f"--model_dir={small_models.labelled('classification')}",
        f"--export_dir={tmp_path / 'base'}",
        "--litert",
        "--quantize=int8",
        "--fixed_length",
        "--seq_length=20",
    ]
    done = verbs.run("export", *flags)
    assert done.status == 0, done.stderr
    folder, shapes, size, gate = done.stdout.splitlines()[-4:]
    assert folder == (f"exported {tmp_path}/base/1: classification, for LiteRT")
    assert "token_ids int32 [1, 20]" in shapes
    assert shapes.endswith("gives logits, scores")
    assert "of the float32 weights" in size
    assert "texts labelled as in Python" in gate
    idle = verbs.run("export", *flags, "--min_server=2.13.0")
    assert idle.status == 1
    assert "`min_server` goes with --nolitert" in idle.errors[-1]
