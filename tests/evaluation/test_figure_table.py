"""The few figures that are printed, of all that there are."""

import pytest

from tfllm.evaluation import figure_table
from tfllm.prediction.kinds import KINDS

LABELS = KINDS["classification"].main
VALUES = {
    "accuracy": 0.5,
    "auc": 0.75,
    "loss": 0.1,
    "macro_f1": 0.25,
    "macro_precision": 0.3,
    "matthews": -0.125,
    "micro_f1": 0.5,
}


def test_the_chosen_figure_comes_first_and_most_are_left_out() -> None:
    assert figure_table.table(
        LABELS, VALUES, "macro_f1", {"accuracy": (0.4, 0.60004)}
    ).splitlines() == [
        "figure         value  95 % interval",
        "macro_f1      0.2500",
        "accuracy      0.5000  0.4000 to 0.6000",
        "matthews     -0.1250",
        "auc           0.7500",
        "loss          0.1000",
    ]


def test_without_a_choice_the_usual_one_comes_first() -> None:
    names = figure_table.main_figures(LABELS, VALUES)
    assert names == ("accuracy", "macro_f1", "matthews", "auc", "loss")
    # One that is no main figure is shown if it was chosen.
    names = figure_table.main_figures(LABELS, VALUES, "micro_f1")
    assert names[:2] == ("micro_f1", "accuracy")
    assert "interval" not in figure_table.table(LABELS, VALUES)


def test_language_models() -> None:
    values = {"clm_accuracy": 0.3, "clm_loss": 2.0, "loss": 2.0}
    values |= {"perplexity": 1234.5678, "byte_perplexity": 2.0}
    assert figure_table.table(KINDS["causal_lm"].main, values).splitlines() == [
        "figure             value",
        "perplexity     1234.5678",
        "clm_accuracy      0.3000",
        "loss              2.0000",
    ]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_main_figures_are_few(kind: str) -> None:
    assert 2 <= len(KINDS[kind].main) <= 6
