"""The results of a run: JSON files in its folder, lines on the screen."""

import os
from typing import Any

from tfllm.data.open_data import Data
from tfllm.evaluation import figure_table
from tfllm.interop import model_card
from tfllm.prediction.kinds import KINDS
from tfllm.runs import held_out
from tfllm.runs.run_config import RunConfig
from tfllm.training import run_folder, seed_runs
from tfllm.training.trainer import RunResult

TRAIN_RESULTS = "train_results.json"
EVAL_RESULTS = "eval_results.json"


def record(
    folder: run_folder.RunFolder,
    config: RunConfig,
    result: RunResult,
    held_out_data: Data | None,
) -> dict[str, Any]:
    """Writes train_results.json and eval_results.json.

    `seconds` is the time in training and evaluation, over all restarts; means
    and rates (`examples_per_second`, ...) are those of the last report,
    without evaluation and compilation.

    Args:
        folder: Folder of the run.
        config: RunConfig.
        result: How the run ended.
        held_out_data: Held-out data, or None.

    Returns:
        Both records, merged; figures of the second begin with `eval_`.
    """
    shared = {"seed": config.seed, **run_folder.environment()}
    results = folder.read_if_whole(TRAIN_RESULTS) or {}
    if not result.already_finished or not results:
        results = {
            "steps": result.steps,
            "best_step": result.best_step,
            "seconds": round(result.seconds, 1),
            **result.train,
            **shared,
        }
        folder.write(TRAIN_RESULTS, results)
    # The model in the folder is the best one, or that after the last step.
    step, figures = result.steps, result.evaluation
    if config.trainer.best_metric and result.best_step:
        step, figures = result.best_step, result.best_evaluation
    if figures and held_out_data is not None:
        figures = held_out.with_text_figures(
            figures, held_out_data, config.data.eval_steps
        )
        folder.write(
            EVAL_RESULTS,
            {
                **figures,
                "steps": step,
                "eval_files": config.data.eval_files,
                model_card.MAIN_FIGURES: figure_table.main_figures(
                    KINDS[config.task].main, figures, config.trainer.best_metric
                ),
                **held_out.notes(held_out_data),
                **shared,
            },
        )
        results |= {f"eval_{name}": value for name, value in figures.items()}
    return {**results, "already_finished": result.already_finished}


def show(config: RunConfig, results: dict[str, Any]) -> None:
    """Prints the results of a run.

    Args:
        config: RunConfig.
        results: What `record` returned.
    """
    if results["already_finished"]:
        print(f"This run was finished before, at step {results['steps']}.")
    else:
        print(f"Trained {results['steps']} steps.")
    if config.trainer.best_metric and results.get("best_step"):
        print(f"The model kept is that of step {results['best_step']}.")
    figures = {
        name.removeprefix("eval_"): value
        for name, value in results.items()
        if name.startswith("eval_")
    }
    if figures:
        print(f"Held-out figures, of {config.data.eval_files}:")
        main = KINDS[config.task].main
        print(figure_table.table(main, figures, config.trainer.best_metric))
    print(f"Model folder: {config.model_dir}")


def show_seeds(config: RunConfig, summary: dict[str, Any]) -> None:
    """Prints the figures of all seeds.

    Args:
        config: RunConfig.
        summary: As `seed_runs.run_seeds` returns it.
    """
    print(f"Held-out figures of {len(summary['seeds'])} seeds:")
    print(seed_runs.table(summary))
    path = os.path.join(config.model_dir, seed_runs.RESULTS_FILE)
    print(f"Results: {path}")
