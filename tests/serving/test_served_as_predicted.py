"""What `python -m tfllm.serve` answers over REST, `tfllm.predict` writes.

Both as users run them, on texts that break text pipelines: a few hundred by
default, and 10,000 for each tokenizer with `--long`.
"""

import base64
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import pytest

from tests import verbs
from tests.serving import small_models
from tests.serving.hard_strings import hard_strings, source_lines
from tests.serving.serve_process import ServeProcess
from tfllm import tasks
from tfllm.data.labelled.records.word_spans import word_spans
from tfllm.data.vocabularies import byte_bpe, wordpiece
from tfllm.interop import model_folder
from tfllm.serving.export import export
from tfllm.serving.export_config import ExportConfig, ExportSettings
from tfllm.tokenizers import load_tokenizer

# Windows slide over the longer texts.
LENGTH, STRIDE = 32, 12
QUESTION = "what was the best of times?"
TEXTS_PER_REQUEST = 50
VOCAB_SIZE = 2000
SETTINGS: dict[str, dict[str, Any]] = {
    "tagging": {"labels": small_models.TAGS},
    "question_answering": {},
}
COLUMNS = {
    "tagging": ["--text_column=text"],
    "question_answering": [
        "--text_column=question",
        "--text_pair_column=context",
    ],
}
# A task for each tokenizer, and with `--long` the others.
PAIRS = [("wordpiece", "tagging"), ("byte_bpe", "question_answering")]
MORE_PAIRS = [("wordpiece", "question_answering"), ("byte_bpe", "tagging")]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "served" in metafunc.fixturenames:
        is_long = metafunc.config.getoption("long")
        pairs = PAIRS + (MORE_PAIRS if is_long else [])
        metafunc.parametrize("served", pairs, indirect=True, scope="module")


@dataclasses.dataclass
class Served:
    """A task on a tokenizer: its folders, and a server."""

    kind: str
    folder: pathlib.Path
    process: ServeProcess

    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """Returns what the predict verb writes."""
        asked, written = self.folder / "asked.jsonl", self.folder / "written"
        with asked.open("w", encoding="utf-8") as file:
            for text in texts:
                row = {"text": text, "question": QUESTION, "context": text}
                file.write(json.dumps(row) + "\n")
        done = verbs.run(
            "predict",
            f"--model_dir={self.folder / 'model'}",
            f"--input_files={asked}",
            f"--output_file={written}",
            f"--seq_length={LENGTH}",
            f"--stride={STRIDE}",
            *COLUMNS[self.kind],
        )
        assert done.status == 0, done.stderr
        # Not splitlines: texts hold characters that it would cut at.
        lines = written.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines if line]

    def ask(self, texts: list[bytes]) -> list[dict[str, Any]]:
        """Returns what the server answers; bytes go as base64."""
        found = []
        for start in range(0, len(texts), TEXTS_PER_REQUEST):
            instances: list[Any] = [
                {"b64": base64.b64encode(text).decode()}
                for text in texts[start : start + TEXTS_PER_REQUEST]
            ]
            if self.kind == "question_answering":
                instances = [
                    {"question": QUESTION, "context": text}
                    for text in instances
                ]
            answer = self.process.predict("m", instances)
            assert answer.status == 200, answer.body
            found += answer.json["predictions"]
        return found


def train_tokenizer(kind: str, lines: list[str], folder: pathlib.Path) -> str:
    """Trains a vocabulary; returns the family that goes with it."""
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    if kind == "wordpiece":
        wordpiece.train(
            [str(corpus)],
            str(folder),
            wordpiece.WordPieceTrainingConfig(vocab_size=VOCAB_SIZE),
        )
        return "bert"
    byte_bpe.train(
        [str(corpus)],
        str(folder),
        byte_bpe.ByteBPETrainingConfig(vocab_size=VOCAB_SIZE),
    )
    return "gpt2"


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return source_lines()


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
) -> Iterator[Served]:
    tokenizer_kind, kind = request.param
    folder = tmp_path_factory.mktemp(f"{tokenizer_kind}_{kind}")
    family = train_tokenizer(tokenizer_kind, lines, folder)
    tokenizer = load_tokenizer(str(folder))
    keras.utils.set_random_seed(0)
    task = tasks.create(
        kind, small_models.config_of(family, tokenizer), **SETTINGS[kind]
    )
    small_models.shake(task)
    model, base = folder / "model", folder / "served"
    model_folder.save(task, model, tokenizer)
    settings = ExportSettings(LENGTH, STRIDE)
    export(ExportConfig(str(model), str(base), settings=settings))
    with ServeProcess(
        folder / "log", f"--model_base_path={base}", "--model_name=m"
    ) as process:
        process.wait_for("m", 1, "AVAILABLE")
        yield Served(kind, folder, process)


@pytest.fixture(scope="module")
def texts(request: pytest.FixtureRequest, lines: list[str]) -> list[bytes]:
    count = 10_000 if request.config.getoption("long") else 350
    found = hard_strings(2 * count, seed=5, lines=lines)
    # The predict verb refuses to tag a text without words.
    return [t for t in found if word_spans(t.decode("utf-8", "replace"))][
        :count
    ]


def shown(kind: str, row: dict[str, Any]) -> Any:
    """Returns the texts of a served answer."""
    if kind == "question_answering":
        return row["answer"], row["start"], row["end"]
    count = row["num_words"]
    tagged = list(zip(row["words"][:count], row["labels"][:count], strict=True))
    return tagged, row["entities"][: row["num_entities"]]


def written(kind: str, one: dict[str, Any]) -> Any:
    """Returns the same of a line of the predict verb."""
    if kind == "question_answering":
        return one["answer"], one["start"], one["end"]
    tagged = [(word["word"], word["label"]) for word in one["words"]]
    return tagged, [entity["word"] for entity in one["entities"]]


@pytest.mark.dist
@pytest.mark.slow
def test_served_as_predicted(served: Served, texts: list[bytes]) -> None:
    expected = served.predict([t.decode("utf-8", "replace") for t in texts])
    answers = served.ask(texts)
    pairs = [
        (written(served.kind, one), shown(served.kind, row))
        for one, row in zip(expected, answers, strict=True)
    ]
    different = [
        (text, *pair)
        for text, pair in zip(texts, pairs, strict=True)
        if pair[0] != pair[1]
    ]
    print(f"{served.kind}: {len(texts)} texts, {len(different)} differ")
    assert not different, different[:3]
    # They are no answers to nothing.
    assert len({repr(found) for _, found in pairs}) > len(texts) / 4
