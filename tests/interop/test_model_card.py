"""The model card as the hub reads it, and as its user leaves it."""

import json
import logging
import pathlib

import pytest
from huggingface_hub import ModelCard

from tfllm.interop import licenses, model_card, model_folder
from tfllm.models import FAMILIES
from tfllm.tasks import TASKS, MaskedLM


def write_json(folder: pathlib.Path, name: str, **values: object) -> None:
    (folder / name).write_text(json.dumps(values))


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with what a run leaves, but for the weights."""
    folder = tmp_path / "sms"
    folder.mkdir()
    (tmp_path / "train.csv").write_text("x" * 1234)
    write_json(
        folder,
        "config.json",
        model_type="bert",
        num_hidden_layers=2,
        hidden_size=128,
        tfllm={"task": "classification", "version": "0.1.0"},
    )
    write_json(
        folder,
        "run.json",
        init_from="google/bert_uncased_L-2_H-128_A-2",
        train_files=str(tmp_path / "train.csv"),
        eval_files="gone.csv",
        learning_rate=5e-5,
        beta_2=None,
        optimizer="adamw",
        inputs={"train_files": {str(tmp_path / "train.csv"): "1"}},
    )
    write_json(
        folder, "train_results.json", steps=40, versions={"keras": "3.15.1"}
    )
    write_json(
        folder,
        "eval_results.json",
        accuracy=0.91,
        loss=0.25,
        steps=40,
        seed=1,
        eval_files="gone.csv",
        skipped_records={"gone.csv": 2},
    )
    return folder


def test_the_hub_reads_it(folder: pathlib.Path) -> None:
    assert model_card.write(str(folder), "apache-2.0")
    data = ModelCard.load(folder / "README.md").data
    assert data.license == "apache-2.0"
    assert data.library_name == "tfllm"
    assert data.pipeline_tag == "text-classification"
    assert data.base_model == "google/bert_uncased_L-2_H-128_A-2"
    assert data.tags == ["tensorflow", "keras", "bert", "classification"]
    assert {r.metric_type: r.metric_value for r in data.eval_results} == {
        "accuracy": 0.91,
        "loss": 0.25,
    }
    assert {r.dataset_name for r in data.eval_results} == {"gone.csv"}


def test_what_it_says(folder: pathlib.Path) -> None:
    (folder / "loss.png").touch()
    model_card.write(str(folder))
    text = (folder / "README.md").read_text()
    for part in (
        "license: unknown\n",
        "# sms\n",
        "A BERT with 2 layers, width 128, for classification, trained for 40 "
        "steps from google/bert_uncased_L-2_H-128_A-2 with tfllm. The weights "
        "are those of step 40.",
        "On gone.csv, after step 40:",
        "| accuracy | 0.91 |",
        "![Losses over the steps](loss.png)",
        # Its name only: the card may be published.
        "| training | train.csv | 1,234 |",
        "| held out | gone.csv |  |",
        "| optimizer | adamw |",
        "| learning_rate | 5e-05 |",
        "keras 3.15.1",
        'tfllm.pipeline("text-classification", model="sms")',
        "python -m tfllm.predict --model_dir=sms",
    ):
        assert part in text, part
    assert "beta_2" not in text
    assert "skipped" not in text
    assert str(folder.parent) not in text


def test_the_main_figures_come_in_their_order(folder: pathlib.Path) -> None:
    write_json(
        folder,
        "eval_results.json",
        loss=0.123456,
        classification_loss=0.123456,
        accuracy=0.987654,
        macro_f1=0.5,
        main_figures=["macro_f1", "accuracy", "loss"],
    )
    run = json.loads((folder / "run.json").read_text())
    run |= {"best_metric": "macro_f1", "eval_every": 50, "epochs": 2.0}
    write_json(folder, "run.json", **run)
    write_json(folder, "train_results.json", steps=40, best_step=30)
    model_card.write(str(folder))
    text = (folder / "README.md").read_text()
    rows = "| macro_f1 | 0.5 |\n| accuracy | 0.9877 |\n| loss | 0.1235 |\n"
    assert f"|---|---|\n{rows}\n" in text
    assert "classification_loss" not in text
    for name, value in ("best_metric", "macro_f1"), ("eval_every", 50):
        assert f"| {name} | {value} |" in text
    assert "| epochs | 2 |" in text
    assert "trained for 40 steps" in text
    assert "The weights are those of step 30." in text


def test_an_edited_card_is_kept(
    folder: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Until then each call writes the figures anew, and keeps the licence."""
    card = folder / "README.md"
    model_card.write(str(folder), "mit")
    write_json(folder, "eval_results.json", accuracy=0.92)
    with caplog.at_level(logging.INFO, "tfllm"):
        model_card.update(str(folder))
        assert not caplog.records
        assert "| accuracy | 0.92 |" in card.read_text()
        assert "license: mit\n" in card.read_text()
        edited = card.read_text().replace("0.92", "ninety-two")
        card.write_text(edited)
        model_card.update(str(folder), "apache-2.0")
    assert card.read_text() == edited
    assert [record.getMessage() for record in caplog.records] == [
        f"README.md in {folder} was edited, and is kept as it is."
    ]


def test_a_card_of_others_is_kept(folder: pathlib.Path) -> None:
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA model.\n")
    assert not model_card.write(str(folder))
    assert (folder / "README.md").read_text().endswith("A model.\n")


def test_a_local_folder_is_no_base_model(folder: pathlib.Path) -> None:
    write_json(folder, "run.json", init_from=str(folder.parent))
    model_card.write(str(folder))
    assert ModelCard.load(folder / "README.md").data.base_model is None


def test_every_task_has_a_tag() -> None:
    # The hub has none for a discriminator of ELECTRA.
    without = {kind for kind, task in TASKS.items() if not task.hub_tag}
    assert without == {"replaced_token_detection"}


def test_saving_writes_one(tmp_path: pathlib.Path) -> None:
    """Without a run there are neither figures nor settings."""
    task = MaskedLM(FAMILIES["bert"].size("tiny", vocab_size=20))
    model_folder.save(task, tmp_path / "mine")
    card = tmp_path / "mine" / "README.md"
    text = card.read_text()
    assert 'tfllm.pipeline("fill-mask", model="mine")' in text
    assert "## Settings" not in text
    assert "figures" not in text
    data = ModelCard.load(card).data
    assert data.pipeline_tag == "fill-mask"
    assert data.eval_results is None
    card.write_text("Mine.\n")
    model_folder.save(task, tmp_path / "mine")
    assert card.read_text() == "Mine.\n"


@pytest.mark.parametrize("name", ["Apache 2.0", "", "MIT", "a/b"])
def test_licences_that_the_hub_does_not_know(name: str) -> None:
    with pytest.raises(ValueError, match=f"Received: {name!r}"):
        licenses.check_license(name)
