"""Every flag file through the real command line, at tiny size."""

import json
import math
import pathlib
import re
import sys
from collections.abc import Callable

import pytest

from tests import labelled_files, verbs
from tfllm.data.vocabularies.train import train as train_tokenizer
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import load_tokenizer

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.glob("*.flags"))
HEADER = ("Command:", "Data:", "Hardware:", "Time:", "Metric:")
MODEL_FILES = {
    "config.json",
    "model.safetensors",
    "tokenizer_config.json",
    "flags.txt",
    "run.json",
    "train_results.json",
    "eval_results.json",
}
# The one that runs as a program of its own, and is repeated from its
# flags.txt; the others are forks of one that has TensorFlow.
REPLAYED = "bert_tiny_pretrain"
# The default run trains one file per objective, and one of each of the kinds of
# task with labels that test_labelled_runs.py leaves out.
TRAINED = {
    REPLAYED,
    "gpt2_tiny_pretrain",
    "xlnet_tiny_pretrain",
    "electra_tiny_pretrain",
    "t5_tiny_pretrain",
    "bert_minilm_trec_classification",
}
TINY = {
    "seq_length": 32,
    "batch_size": 8,
    "accumulation_steps": 1,
    "train_steps": 3,
    "warmup": 1,
    "eval_every": 2,
    "eval_steps": 2,
    "checkpoint_every": 2,
    # Emulated in software on most CPUs, and not what is tested.
    "precision": "float32",
}
# Kind of tokenizer -> a file of its vocabulary.
VOCABULARIES = {
    "wordpiece": "vocab.txt",
    "byte_bpe": "merges.txt",
    "word_bpe": "merges.txt",
    "sentence_piece": "tokenizer.json",
    "mapped_sentence_piece": "source.spm",
}
# A figure of each task with labels.
FIGURES = {
    "classification": "accuracy",
    "multi_label": "micro_f1",
    "regression": "spearman",
    "tagging": "f1",
    "question_answering": "exact_match",
    "embedding": "spearman",
    "multiple_choice": "accuracy",
}
# Flags that one task has, and the objectives it reports.
BY_TASK = {
    "masked_lm": (
        {"max_predictions": 0, "dupe_factor": 2},
        ("mlm", "nsp"),
    ),
    "permutation_lm": ({"max_predictions": 0, "dupe_factor": 2}, ("plm",)),
    "causal_lm": ({}, ("clm",)),
    "replaced_token_detection": (
        {"max_predictions": 0, "dupe_factor": 2},
        ("mlm", "rtd"),
    ),
    "seq2seq_lm": ({}, ("seq2seq",)),
    # Three batches.
    **dict.fromkeys(FIGURES, ({"train_steps": None, "epochs": 1}, ())),
    "question_answering": (
        {"train_steps": None, "epochs": 1, "question_length": 8, "stride": 16},
        ("start", "end"),
    ),
}


def flags_in(file: pathlib.Path) -> dict[str, str]:
    """The flags of a file, checking that each has a line of its own."""
    found: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            match = re.fullmatch(r"--(\w+)(?:=(\S*))?", line)
            assert match, line
            assert match[1] not in found, f"{match[1]} twice in {file}"
            found[match[1]] = "True" if match[2] is None else match[2]
    return found


def _kind(flags: dict[str, str]) -> str:
    """The kind of tokenizer that a flag file asks for."""
    family = FAMILIES.get(flags.get("model", "").partition(":")[0])
    return family.tokenizer.kind if family else "wordpiece"


def recorded_pairs(folder: pathlib.Path) -> str:
    """What a run asked about two texts."""
    return flags_in(folder / "flags.txt").get("pair_objective", "none")


def _plain(value: str) -> str | float:
    """A number as one, so that 1e-4 is 0.0001."""
    try:
        return float(value)
    except ValueError:
        return value


@pytest.fixture(scope="module")
def inputs(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[str]]
) -> dict[str, dict[str, pathlib.Path]]:
    """Text, a vocabulary and a model that stand in for those of a file."""
    folder = tmp_path_factory.mktemp("inputs")
    text = "\n\n".join("\n".join(document) for document in documents)
    (folder / "train.txt").write_text(text + "\n")
    (folder / "heldout.txt").write_text(text[: len(text) // 4] + "\n")
    words = sorted(set(re.findall(r"\w+", text.lower())))
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    for name, family in FAMILIES.items():
        if family.tokenizer.kind != "wordpiece":
            source, output = str(folder / "train.txt"), str(folder / name)
            train_tokenizer(source, output, family.tokenizer, 300)
    files = {
        "train_files": folder / "train.txt",
        "eval_files": folder / "heldout.txt",
    }
    tokenizer = load_tokenizer(str(folder / "vocab.txt"))
    model = FAMILIES["bert"].size("tiny", vocab_size=tokenizer.vocab_size)
    model_folder.save(MaskedLM(model), folder / "pretrained", tokenizer)
    start = {"init_from": folder / "pretrained"}
    return {
        **{
            name: {
                **files,
                "tokenizer": folder / name
                if (folder / name).is_dir()
                else folder / "vocab.txt",
                "model": f"{name}:tiny",
            }
            for name in FAMILIES
        },
        **{
            name: {**labelled_files.write(name, folder), **start}
            for name in labelled_files.SETS
        },
    }


def stand_in(file: pathlib.Path) -> str:
    """The key of `inputs` for a flag file: its data set or its family."""
    parts = file.stem.split("_")
    sets = [name for name in labelled_files.SETS if name in parts]
    return sets[0] if sets else flags_in(file)["model"].partition(":")[0]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_header_says_what_to_expect(file: pathlib.Path) -> None:
    header = [
        line
        for line in file.read_text(encoding="utf-8").splitlines()
        if line.startswith("#")
    ]
    for word in HEADER:
        assert any(line.startswith(f"# {word}") for line in header), word
    # A long command goes on after a backslash.
    text = " ".join(line.strip("#\\ ") for line in header)
    assert f"python -m tfllm.train --flagfile=configs/{file.name}" in text


# One process for all files; prints the one that fails last.
READ = """
from absl.flags import FLAGS
from absl.testing import flagsaver

from tfllm.runs import train_flags

train_flags.define()
for path in {paths!r}:
    print(path)
    # Anew: what was restored once is what the next file changes.
    before = flagsaver.save_flag_values(FLAGS)
    FLAGS(["train", "--flagfile=" + path])
    train_flags.read()
    flagsaver.restore_flag_values(before, FLAGS)
"""


def test_flags_of_every_file_fit_each_other() -> None:
    paths = [str(file) for file in FILES]
    done = verbs.run("python", READ.format(paths=paths))
    assert done.status == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == paths


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        pytest.param(
            file, marks=[pytest.mark.wide] * (file.stem not in TRAINED)
        )
        for file in FILES
    ],
    ids=lambda file: file.stem,
)
def test_runs_and_replays(
    file: pathlib.Path,
    inputs: dict[str, dict[str, pathlib.Path]],
    tmp_path: pathlib.Path,
    run_command: Callable,
) -> None:
    def train(flagfile: str, model_dir: str, *flags: str) -> dict:
        argv = [f"--flagfile={flagfile}", f"--model_dir={model_dir}", *flags]
        if file.stem == REPLAYED:
            command = [sys.executable, "-m", "tfllm.train", *argv]
            done = run_command(command, tmp_path)
            assert done.returncode == 0, done.stderr[-4000:]
        else:
            done = verbs.run("train", *argv, folder=tmp_path)
            assert done.status == 0, done.stderr[-4000:]
        assert f"Model folder: {model_dir}" in done.stdout
        folder = tmp_path / model_dir
        return {
            kind: json.loads((folder / f"{kind}_results.json").read_text())
            for kind in ("train", "eval")
        }

    flags = flags_in(file)
    own, objectives = BY_TASK[flags["task"]]
    files = inputs[stand_in(file)]
    vocabulary = VOCABULARIES[_kind(flags)]
    changes = {k: v for k, v in {**TINY, **own}.items() if v is not None}
    # No folder `configs` is here: the one of the package is found.
    tiny = [f"--{k}={v}" for k, v in {**files, **changes}.items()]
    first = train(f"configs/{file.name}", "first", *tiny)

    found = {path.name for path in (tmp_path / "first").iterdir()}
    assert found >= {*MODEL_FILES, vocabulary}
    pairs = recorded_pairs(tmp_path / "first")
    if flags["task"] == "masked_lm" and pairs == "none":
        objectives = ("mlm",)
    if flags["task"] in FIGURES:
        assert -1.0 <= first["eval"][FIGURES[flags["task"]]] <= 1.0
        assert math.isfinite(first["eval"]["loss"])
    else:
        assert first["eval"]["perplexity"] > 1.0
    for name in objectives:
        assert math.isfinite(first["eval"][f"{name}_loss"])
        assert 0.0 <= first["eval"][f"{name}_accuracy"] <= 1.0
    for kind in ("train", "eval"):
        assert first[kind]["steps"] == TINY["train_steps"]
        assert first[kind]["seed"] == int(flags.get("seed", 0))
        assert "tensorflow" in first[kind]["versions"]

    # flags.txt is the whole run, as a flag file.
    recorded = flags_in(tmp_path / "first" / "flags.txt")
    expected = flags | {k: str(v) for k, v in changes.items()}
    for name in flags.keys() - {*files, "model_dir"}:
        assert _plain(recorded[name]) == _plain(expected[name]), name
    if file.stem != REPLAYED:
        return
    again = train("first/flags.txt", "again")
    for kind in ("train", "eval"):
        for name, value in first[kind].items():
            if name.endswith(("loss", "accuracy", "perplexity")):
                assert again[kind][name] == value, name
