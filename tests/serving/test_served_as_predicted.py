"""What `python -m tfllm.serve` answers over REST, `tfllm.predict` writes.

Both as users run them, on texts that break text pipelines: a few hundred by
default, and 10,000 for each tokenizer with `--long`.
"""

import base64
import dataclasses
import json
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import keras
import pytest

from tests import verbs
from tests.serving import small_models
from tests.serving.hard_strings import hard_strings, source_lines
from tests.serving.serve_process import ServeProcess
from tfllm import tasks
from tfllm.data.vocabularies import byte_bpe, wordpiece
from tfllm.interop import model_folder
from tfllm.serving.export import ExportConfig, export
from tfllm.serving.served_task import ExportSettings
from tfllm.tokenizers import load_tokenizer

# Windows slide over the longer texts.
LENGTH, STRIDE = 32, 12
QUESTION = "what was the best of times?"
TEXTS_PER_REQUEST = 50
VOCAB_SIZE = 2000
KINDS = ("tagging", "question_answering")
SETTINGS: dict[str, dict[str, Any]] = {
    "tagging": {"labels": small_models.TAGS},
    "question_answering": {},
}


@dataclasses.dataclass
class Served:
    """A task of each kind on one tokenizer: folders, and a server."""

    folder: pathlib.Path
    process: ServeProcess

    def predict(self, kind: str, texts: list[str]) -> list[dict[str, Any]]:
        """Returns what the predict verb writes."""
        asked, written = self.folder / "asked.jsonl", self.folder / kind
        with asked.open("w", encoding="utf-8") as file:
            for text in texts:
                row = {"text": text, "question": QUESTION, "context": text}
                file.write(json.dumps(row) + "\n")
        columns = {
            "tagging": ["--text_column=text"],
            "question_answering": [
                "--text_column=question",
                "--text_pair_column=context",
            ],
        }
        done = verbs.run(
            "predict",
            f"--model_dir={self.folder / f'model_{kind}'}",
            f"--input_files={asked}",
            f"--output_file={written}.jsonl",
            f"--seq_length={LENGTH}",
            f"--stride={STRIDE}",
            *columns[kind],
        )
        assert done.status == 0, done.stderr
        lines = pathlib.Path(f"{written}.jsonl").read_text().split("\n")
        return [json.loads(line) for line in lines if line]

    def ask(self, kind: str, texts: list[bytes]) -> list[dict[str, Any]]:
        """Returns what the server answers; bytes go as base64."""
        found = []
        for start in range(0, len(texts), TEXTS_PER_REQUEST):
            part = texts[start : start + TEXTS_PER_REQUEST]
            sent = [{"b64": base64.b64encode(text).decode()} for text in part]
            instances: list[Any] = sent
            if kind == "question_answering":
                instances = [
                    {"question": QUESTION, "context": text} for text in sent
                ]
            answer = self.process.predict(kind, instances)
            assert answer.status == 200, answer.body
            found += answer.json["predictions"]
        return found


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return source_lines()


@pytest.fixture(scope="module", params=["wordpiece", "byte_bpe"])
def served(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp(request.param)
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(lines), encoding="utf-8")
    train, config, family = {
        "wordpiece": (
            wordpiece.train,
            wordpiece.WordPieceTrainingConfig(vocab_size=VOCAB_SIZE),
            "bert",
        ),
        "byte_bpe": (
            byte_bpe.train,
            byte_bpe.ByteBPETrainingConfig(vocab_size=VOCAB_SIZE),
            "gpt2",
        ),
    }[request.param]
    train([str(corpus)], str(folder), config)
    tokenizer = load_tokenizer(str(folder))
    models = []
    for kind in KINDS:
        keras.utils.set_random_seed(0)
        task = tasks.create(
            kind, small_models.config_of(family, tokenizer), **SETTINGS[kind]
        )
        small_models.shake(task)
        model = folder / f"model_{kind}"
        model_folder.save(task, model, tokenizer)
        base = folder / f"served_{kind}"
        settings = ExportSettings(LENGTH, STRIDE)
        export(ExportConfig(str(model), str(base), settings=settings))
        models.append(f'config {{ name: "{kind}" base_path: "{base}" }}')
    configs = folder / "models.config"
    configs.write_text(f"model_config_list {{ {' '.join(models)} }}")
    with ServeProcess(
        folder / "log", f"--model_config_file={configs}"
    ) as process:
        for kind in KINDS:
            process.wait_for(kind, 1, "AVAILABLE")
        yield Served(folder, process)


@pytest.fixture(scope="module")
def texts(request: pytest.FixtureRequest, lines: list[str]) -> list[bytes]:
    count = 10_000 if request.config.getoption("long") else 350
    found = hard_strings(count, seed=5, lines=lines)
    # What the predict verb refuses to read: a text of nothing.
    return [t for t in found if re.search(r"\S", t.decode("utf-8", "replace"))]


@pytest.mark.dist
@pytest.mark.slow
def test_tags(served: Served, texts: list[bytes]) -> None:
    decoded = [text.decode("utf-8", "replace") for text in texts]
    expected = served.predict("tagging", decoded)
    answers = served.ask("tagging", texts)
    different, words = [], 0
    for text, one, row in zip(texts, expected, answers, strict=True):
        count = row["num_words"]
        found = list(
            zip(row["words"][:count], row["labels"][:count], strict=True)
        )
        written = [(word["word"], word["label"]) for word in one["words"]]
        entities = [entity["word"] for entity in one["entities"]]
        words += count
        if found != written or (
            row["entities"][: row["num_entities"]] != entities
        ):
            different.append((text, written, found))
    print(f"{len(texts)} texts, {words} words, {len(different)} differ")
    assert not different, different[:3]


@pytest.mark.dist
@pytest.mark.slow
def test_answers(served: Served, texts: list[bytes]) -> None:
    decoded = [text.decode("utf-8", "replace") for text in texts]
    expected = served.predict("question_answering", decoded)
    answers = served.ask("question_answering", texts)
    different = [
        (text, one["answer"], row["answer"])
        for text, one, row in zip(texts, expected, answers, strict=True)
        if (one["answer"], one["start"], one["end"])
        != (row["answer"], row["start"], row["end"])
    ]
    lengths = {len(row["answer"]) for row in answers}
    print(f"{len(texts)} texts, {len(different)} differ")
    assert not different, different[:3]
    assert len(lengths) > 10
