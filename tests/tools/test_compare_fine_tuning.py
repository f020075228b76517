"""The comparison's arithmetic, its resumption, and the other side of it."""

import json
import pathlib
import random
import sys
from typing import Any

import keras
import pytest

from tests import labelled_files, verbs
from tfllm import tasks
from tfllm.data.labelled.batches import open_labelled_data
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.runs.run_config import RunConfig
from tfllm.tokenizers import WordPieceTokenizer, load_tokenizer
from tools import compare_fine_tuning
from tools.compare_fine_tuning import CompareConfig
from tools.peers import recipes

# Recipe -> its files and settings.
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "classification": (
        "trec",
        {"line_pattern": r"(?P<label>\w+):(?P<text>.+)"},
    ),
    "regression": (
        "stsb",
        {
            "delimiter": "tab",
            "text_column": "5",
            "text_pair_column": "6",
            "label_column": "4",
        },
    ),
    "embedding": (
        "stsb",
        {
            "delimiter": "tab",
            "text_column": "5",
            "text_pair_column": "6",
            "label_column": "4",
            "label_scale": 5.0,
        },
    ),
    "tagging": ("wnut17", {"format": "conll"}),
    "question_answering": (
        "squad",
        {"stride": 6, "question_length": 5},
    ),
}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A folder of a tiny encoder."""
    folder = tmp_path_factory.mktemp("compare")
    vocabulary = [*verbs.vocabulary(), *labelled_files.WORDS, "?", "abbr"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    tokenizer = WordPieceTokenizer.from_file(str(folder / "vocab.txt"))
    config = FAMILIES["bert"].config(
        num_layers=1,
        hidden_size=16,
        num_heads=2,
        vocab_size=tokenizer.vocab_size,
        max_position_embeddings=32,
    )
    keras.utils.set_random_seed(1)
    task = tasks.create("masked_lm", config, pair_objective="none")
    model_folder.save(task, folder / "model", tokenizer)
    return folder


def run_config(task: str, start: pathlib.Path, **changes: Any) -> RunConfig:
    name, flags = RECIPES[task]
    files = labelled_files.write(name, start)
    return RunConfig.of(
        **{
            "task": task,
            "init_from": str(start / "model"),
            **{flag: str(path) for flag, path in files.items()},
            "model_dir": str(start / task),
            "seq_length": 20,
            "batch_size": 8,
            "epochs": 2.0,
            "optimizer": "adamw",
            "warmup": 0.5,
            **flags,
            **changes,
        }
    )


@pytest.mark.parametrize("task", RECIPES)
def test_a_recipe_says_all(start: pathlib.Path, task: str) -> None:
    config = run_config(task, start)
    config.check()
    recipe = json.loads(json.dumps(recipes.from_run(config)))
    assert len(recipe["train"]) == len(recipe["eval"]) == 24
    rows = len(recipe["train"])
    if task != "question_answering":
        assert recipe["steps"] == rows // 8 * 2
        assert recipe["warmup_steps"] == rows // 8
    # Those who say what is right have all figures at 1.
    predictions = [perfect(recipe, record) for record in recipe["eval"]]
    found = recipes.figures(recipe, predictions)
    assert found == pytest.approx(dict.fromkeys(recipes.FIGURES[task], 1.0))
    random.Random(0).shuffle(predictions)
    if task == "tagging":  # which all sentences share
        predictions = [tags[::-1] for tags in predictions]
    worse = recipes.figures(recipe, predictions)
    assert all(worse[name] < 0.99 for name in worse)


def perfect(recipe: dict[str, Any], record: dict[str, Any]) -> Any:
    gold = record["gold"]
    if recipe["task"] == "classification":
        return [float(name == gold) for name in recipe["labels"]]
    if recipe["task"] == "question_answering":
        answer = gold[0][0] if gold else "the"
        return {"answer": answer, "null_difference": -1.0 if gold else 1.0}
    return gold


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"r_drop": 1.0}, "`r_drop` must be 0.0 .*Received: 1.0"),
        ({"schedule": "cosine"}, "`schedule` must be 'linear'.*'cosine'"),
        ({"task": "multi_label"}, "`task` must be one of .*multi_label"),
        ({"eval_files": ""}, "`eval_files` is needed"),
    ],
)
def test_what_has_no_counterpart(
    start: pathlib.Path, changes: dict[str, Any], message: str
) -> None:
    config = run_config("classification", start).replace(**changes)
    with pytest.raises(ValueError, match=message):
        recipes.from_run(config)


def windows_of(config: RunConfig) -> list[list[int]]:
    """The token ids of the rows that the train verb reads, sorted."""
    tokenizer = load_tokenizer(config.model.init_from)
    data = open_labelled_data(
        config.data.eval_files, tokenizer, config.data_config()
    )
    return sorted(
        ids[mask > 0].tolist()
        for x, *_ in data.evaluation_rows()
        for ids, mask in zip(x["token_ids"], x["padding_mask"], strict=True)
        if mask.any()
    )


@pytest.mark.live_parity
@pytest.mark.parametrize("stride", [4, None])
def test_both_sides_lay_the_same_windows(
    start: pathlib.Path, stride: int | None
) -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from tools.peers import transformers_recipe

    config = run_config(
        "question_answering", start, stride=stride, seq_length=14
    )
    recipe = recipes.from_run(config)
    assert recipe["stride"] == (stride or 128)
    theirs = transformers_recipe.Answers(
        recipe,
        transformers.AutoTokenizer.from_pretrained(config.model.init_from),
    )
    rows = [row["input_ids"] for row in theirs.rows(recipe["eval"])]
    assert len(rows) > len(recipe["eval"])
    assert sorted(rows) == windows_of(config)


def test_a_result_that_is_there_is_kept(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def run(config: RunConfig, _: CompareConfig) -> dict[str, float]:
        calls.append((config.seed, pathlib.Path(config.model_dir).name))
        return {"accuracy": config.seed / 10}

    monkeypatch.setitem(compare_fine_tuning.RUN, "tfllm", run)
    config = CompareConfig(("tfllm",), {}, tmp_path / "out", (), 1)
    recipe = RunConfig.of(model_dir="runs/trec")
    for seeds in ("1,2", "2,1"):
        compare_fine_tuning.run_missing(recipe.replace(seeds=seeds), config)
    assert calls == [(1, "trec.tfllm.1"), (2, "trec.tfllm.2")]
    # Also where it is a seed's that this command does not ask for.
    other = recipe.replace(seeds="3", learning_rate=5e-5)
    with pytest.raises(
        ValueError,
        match=r"out/trec.tfllm.1.json .*: learning_rate was 0.0001, is 5e-05$",
    ):
        compare_fine_tuning.run_missing(other, config)
    # Another recipe has settings of its own.
    compare_fine_tuning.check_results("sick", other, config.output_dir)
    assert len(calls) == 2
    results = compare_fine_tuning.read_results(config.output_dir)
    assert [result["seed"] for result in results] == [1, 2]
    lines = compare_fine_tuning.table(results).splitlines()
    assert lines[2:] == [
        "| trec | accuracy | 0.1500 ± 0.0707 (0.1000, 0.2000) | - |"
    ]


def test_one_seed_has_no_deviation() -> None:
    result = {"recipe": "a", "side": "transformers", "figures": {"f1": 0.5}}
    assert "| a | f1 | - | 0.5000 |" in compare_fine_tuning.table([result])


@pytest.mark.slow
@pytest.mark.live_parity
@pytest.mark.parametrize("task", RECIPES)
def test_both_sides(
    start: pathlib.Path, tmp_path: pathlib.Path, task: str
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pythons = dict.fromkeys(compare_fine_tuning.COMPARED, sys.executable)
    config = CompareConfig(tuple(pythons), pythons, tmp_path, (), 1)
    for side in config.sides:
        compare_fine_tuning.run_cell(
            task, side, 1, run_config(task, start), config
        )
    for result in compare_fine_tuning.read_results(tmp_path):
        assert tuple(result["figures"]) == recipes.FIGURES[task]
        assert all(-1.0 <= v <= 1.0 for v in result["figures"].values())
