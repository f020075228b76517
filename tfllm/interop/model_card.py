"""Writes the model card of a folder: README.md, read by the Hugging Face hub.

The card summarizes the other files of the folder. Its last line holds a hash
of the lines before it: a card that its user edited is not overwritten.

Reference: Mitchell et al., 2019; https://huggingface.co/docs/hub/model-cards
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfllm import file_access, run_settings
from tfllm.models import FAMILIES

if TYPE_CHECKING:
    from tfllm.tasks import Task

logger = logging.getLogger(__name__)

CARD_FILE = "README.md"
# Settings of a run that the card shows; flags.txt has all of them.
_SETTINGS = (
    "model",
    "init_from",
    "tokenizer",
    "seq_length",
    "batch_size",
    "accumulation_steps",
    "train_steps",
    "epochs",
    "optimizer",
    "beta_1",
    "beta_2",
    "epsilon",
    "momentum",
    "learning_rate",
    "schedule",
    "warmup",
    "final_learning_rate",
    "decay_steps",
    "schedule_power",
    "step_boundaries",
    "step_factor",
    "weight_decay",
    "clip_norm",
    "dropout",
    "precision",
    "best_metric",
    "eval_every",
    "seed",
    "seeds",
)
# Numbers among the results that are not figures.
_NO_FIGURES = ("steps", "best_step", "seed")
# Key of the results that lists the figures to show, in order.
MAIN_FIGURES = "main_figures"
_MARK = "<!-- Written by tfllm, and again as long as nobody edits it. sha256: "


def write(folder: str, license_id: str | None = None) -> bool:
    """Writes the card of a model folder, unless its user edited it.

    Args:
        folder: Local or remote model folder, with config.json.
        license_id: Identifier of the hub, such as "apache-2.0"; None for
            that of the previous card, or "unknown".

    Returns:
        Whether the card was written; False if an edited card was kept.
    """
    path = file_access.join(folder, CARD_FILE)
    previous = _read_text(path)
    if previous is not None and not is_ours(previous):
        return False
    license_id = license_id or _license_in(previous or "") or "unknown"
    text = card(folder, license_id)
    with file_access.write_atomically(path) as file:
        file.write(f"{text}{_MARK}{_hash(text)} -->\n")
    return True


def update(folder: str, license_id: str | None = None) -> None:
    """Writes the card as `write` does, and logs it if an edited one is kept."""
    if not write(folder, license_id):
        logger.info(
            "%s in %s was edited, and is kept as it is.", CARD_FILE, folder
        )


def is_ours(text: str) -> bool:
    """Returns whether a card is as `write` wrote it."""
    body, mark, rest = text.rpartition(_MARK)
    return bool(mark) and rest == f"{_hash(body)} -->\n"


def card(folder: str, license_id: str) -> str:
    """Returns the text of a card from the other files of its folder."""
    run = run_settings.flat(_read_json(folder, "run.json"))
    trained = _read_json(folder, "train_results.json")
    measured = _read_json(folder, "eval_results.json")
    config = _read_json(folder, "config.json")
    name = os.path.basename(os.path.normpath(os.path.abspath(folder)))
    task = (config.get("tfllm") or {}).get("task", "")
    parts = [
        f"# {name}",
        _description(config, task, run, trained),
        _figures(folder, run, measured),
        _data(run),
        _settings(run),
        _versions(trained or measured),
        _use(name, task),
    ]
    metadata = _metadata(name, task, config, run, measured, license_id)
    return (
        f"---\n{metadata}\n---\n\n" + "\n\n".join(filter(None, parts)) + "\n\n"
    )


def _metadata(
    name: str,
    task: str,
    config: Mapping[str, Any],
    run: Mapping[str, Any],
    measured: Mapping[str, Any],
    license_id: str,
) -> str:
    """Returns the YAML metadata for the hub."""
    from huggingface_hub import EvalResult, ModelCardData

    origin = run.get("init_from") or ""
    # Only hub ids are named: a local path means nothing to others.
    is_hub_id = re.fullmatch(r"[\w.-]+(/[\w.-]+)?", origin)
    base = origin if is_hub_id and not os.path.exists(origin) else None
    tag = kind.hub_tag if (kind := _class_of(task)) else None
    figures = figures_of(measured) if tag else {}
    return ModelCardData(
        license=license_id,
        library_name="tfllm",
        pipeline_tag=tag,
        base_model=base,
        tags=[
            "tensorflow",
            "keras",
            *filter(None, (config.get("model_type"), task)),
        ],
        model_name=name if figures else None,
        eval_results=[
            EvalResult(
                task_type=tag or "",
                dataset_type="held-out",
                dataset_name=_shown(measured.get("eval_files") or "held-out"),
                metric_type=metric,
                metric_value=value,
            )
            for metric, value in figures.items()
        ]
        or None,
    ).to_yaml()


def figures_of(measured: Mapping[str, Any]) -> dict[str, float]:
    """Returns the main held-out figures, rounded to 4 decimals.

    Args:
        measured: Contents of eval_results.json. If it does not list main
            figures, all figures are returned.
    """
    figures = {
        name: round(float(value), 4)
        for name, value in measured.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and name not in _NO_FIGURES
    }
    main = measured.get(MAIN_FIGURES)
    if not isinstance(main, list):
        return figures
    return {name: figures[name] for name in main if name in figures}


def _description(
    config: Mapping[str, Any],
    task: str,
    run: Mapping[str, Any],
    trained: Mapping[str, Any],
) -> str:
    """Returns a description of the model in one or two sentences."""
    name = config.get("model_type", "language model")
    family = FAMILIES[name].title if name in FAMILIES else name
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    width = config.get("hidden_size", config.get("n_embd"))
    text = f"A {family} with {layers} layers, width {width}"
    if task:
        kind = _class_of(task)
        text += f", for {kind.title_of(task) if kind else task}"
    if trained:
        text += f", trained for {trained.get('steps')} steps"
    if run.get("init_from"):
        text += f" from {_shown(run['init_from'])}"
    text += " with tfllm."
    step = trained.get("steps")
    if run.get("best_metric"):
        step = trained.get("best_step") or step
    return f"{text} The weights are those of step {step}." if step else text


def _figures(
    folder: str, run: Mapping[str, Any], measured: Mapping[str, Any]
) -> str:
    """Returns the section of held-out figures, with the chart of losses."""
    figures = figures_of(measured)
    lines = []
    if figures:
        files = measured.get("eval_files") or run.get("eval_files")
        step = measured.get("steps")
        after = f", after step {step}" if step else ""
        lines += [f"On {_shown(files)}{after}:", ""]
        lines += _table(("figure", "value"), figures)
    if file_access.exists(file_access.join(folder, "loss.png")):
        lines += ["", "![Losses over the steps](loss.png)"]
    return _section("Held-out figures" if figures else "Training", lines)


def _data(run: Mapping[str, Any]) -> str:
    """Returns the section of data files with their sizes."""
    inputs = run.get("inputs") or {}
    rows = [
        f"| {use} | {_shown(file)} | {_size(file)} |"
        for use, flag in (
            ("training", "train_files"),
            ("held out", "eval_files"),
        )
        for file in inputs.get(flag) or filter(None, [run.get(flag)])
    ]
    head = ["| use | file | bytes |", "|---|---|---|"]
    return _section("Data", [*head, *rows] if rows else [])


def _size(file: str) -> str:
    """Returns the bytes of a file or a folder; empty if it is missing."""
    try:
        sizes = file_access.stamps(file, ["*"]) or [
            (file, *file_access.stamp(file))
        ]
    except Exception:  # a data set by name, or a file that was moved
        return ""
    return f"{sum(size for _, size, _ in sizes):,}"


def _settings(run: Mapping[str, Any]) -> str:
    """Returns the section of settings."""
    settings = {
        name: _shown(run[name])
        for name in _SETTINGS
        if name in run and run[name] not in (None, "")
    }
    if not settings:
        return ""
    lines = [*_table(("setting", "value"), settings), ""]
    return _section("Settings", [*lines, "`flags.txt` has all of them."])


def _versions(results: Mapping[str, Any]) -> str:
    """Returns the section of package versions."""
    versions = results.get("versions") or {}
    text = ", ".join(f"{name} {number}" for name, number in versions.items())
    return _section("Versions", [text] if text else [])


def _use(name: str, task: str) -> str:
    """Returns the section of usage examples."""
    kind = _class_of(task)
    lines = []
    if kind and kind.pipeline:
        call = f'tfllm.pipeline("{kind.pipeline}", model="{name}")'
        lines += ["```python", "import tfllm", "", f"pipe = {call}", "```", ""]
    verb = f"python -m tfllm.predict --model_dir={name} --input_files=..."
    if kind and kind.generates:
        verb = f'python -m tfllm.generate --model_dir={name} --prompt="..."'
    export = f"python -m tfllm.export --model_dir={name} --export_dir=..."
    return _section("Use", [*lines, "```sh", verb, export, "```"])


def _class_of(task: str) -> "type[Task] | None":
    """Returns the class of a task; None if the name is unknown."""
    if not task:
        return None
    # Imports TensorFlow, which cards of bare models do not need.
    from tfllm.tasks import TASKS

    return TASKS.get(task)


def _shown(value: Any) -> str:
    """Returns a setting as text; of absolute paths only the file names."""
    if isinstance(value, float):
        return f"{value:g}"
    return ",".join(
        os.path.basename(part.rstrip("/")) if os.path.isabs(part) else part
        for part in str(value).split(",")
    )


def _section(title: str, lines: list[str]) -> str:
    """Returns a section; empty without lines."""
    return "\n".join([f"## {title}", "", *lines]) if lines else ""


def _table(head: tuple[str, str], rows: Mapping[str, Any]) -> list[str]:
    """Returns the lines of a table with two columns."""
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return [f"| {head[0]} | {head[1]} |", "|---|---|", *lines]


def _hash(text: str) -> str:
    """Returns a short hash that tells whether a text was edited."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _license_in(text: str) -> str | None:
    """Returns the licence that a card names, or None."""
    match = re.search(r"^license: (\S+)$", text, re.MULTILINE)
    return match[1] if match else None


def _read_text(path: str) -> str | None:
    """Returns the text of a file; None if it is missing."""
    if not file_access.exists(path):
        return None
    with file_access.open_binary(path) as file:
        return file.read().decode(errors="replace")


def _read_json(folder: str, name: str) -> dict[str, Any]:
    """Returns a JSON object of the folder; empty if missing or damaged."""
    try:
        values = json.loads(_read_text(file_access.join(folder, name)) or "{}")
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
