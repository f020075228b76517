"""The generate verb on a folder of a tiny model with random weights."""

import json
import os
import pathlib
import re
import shutil
import signal
import time
from typing import Any

import keras
import pytest
import tensorflow as tf

from tests import verbs
from tfllm.data.vocabularies import byte_bpe
from tfllm.generation import GenerationConfig
from tfllm.generation.generate import generate as generate_ids
from tfllm.interop import model_folder
from tfllm.models import FAMILIES
from tfllm.tasks import CausalLM
from tfllm.tasks.text_generation import TextGeneration
from tfllm.tokenizers import ByteBPETokenizer

PROMPTS = ["ba ba de", "  ki ", "lo mu na. po", "ri su", "ta ta ta ta ta ta"]


def save(folder: pathlib.Path, tokenizer: ByteBPETokenizer, layers: int) -> str:
    """Writes a model folder; returns its path."""
    keras.utils.set_random_seed(layers)
    config = FAMILIES["gpt2"].config(
        num_layers=layers,
        hidden_size=32,
        num_heads=2,
        vocab_size=tokenizer.vocab_size,
        max_position_embeddings=64,
        initializer_range=0.4,
        **tokenizer.model_ids,
    )
    model_folder.save(CausalLM(config), folder, tokenizer)
    return str(folder)


@pytest.fixture(name="folders", scope="module")
def _folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A model, a smaller one, one of other tokens, and one of none."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "text.txt").write_text(verbs.text(20) + "\n")

    def tokenizer(size: int) -> ByteBPETokenizer:
        return byte_bpe.train(
            str(folder / "text.txt"),
            str(folder / f"tokens_{size}"),
            byte_bpe.ByteBPETrainingConfig(vocab_size=size),
        )

    first = tokenizer(270)
    found = {
        "model": save(folder / "model", first, 2),
        "draft": save(folder / "draft", first, 1),
        "other": save(folder / "other", tokenizer(265), 1),
        "bare": save(folder / "bare", first, 1),
    }
    for file in pathlib.Path(found["bare"]).iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            file.unlink()
    return found


@pytest.fixture(name="task", scope="module")
def _task(folders: dict[str, str]) -> CausalLM:
    return model_folder.load(folders["model"])


def generate(folders: dict[str, str], *flags: str, **options: Any) -> Any:
    return verbs.run(
        "generate", f"--model_dir={folders['model']}", *flags, **options
    )


def test_prompt_and_continuation_are_printed(
    folders: dict[str, str], task: CausalLM
) -> None:
    done = generate(folders, "--prompt=ba de", "--max_new_tokens=12")
    assert done.status == 0, done.stderr
    (text,) = task.generate(["ba de"], max_new_tokens=12)
    assert done.stdout == f"ba de{text}\n"
    report = r"^12 tokens, ([\d.]+) per second, ([\d.]+) once compiled$"
    found = re.search(report, done.stderr, re.M)
    assert found is not None
    # Between tokens there is less than with all that comes before them.
    assert float(found[1]) < float(found[2])
    done = generate(folders, "--prompt=ba de", "--max_new_tokens=1")
    assert re.search(r"^1 tokens, [\d.]+ per second$", done.stderr, re.M)


def test_what_is_streamed_is_the_text(task: CausalLM) -> None:
    assert task.text is not None
    options: dict[str, Any] = {"max_new_tokens": 9, "eos_token_id": ()}
    ((plain,),) = task.text(["ba de"], **options)
    special = task.text.tokenizer.special_ids
    # What ends the text is a token like others, not the tokenizer's own.
    end = next(i for i in plain.token_ids if i not in special)
    heard: list[bytes] = []
    ((found,),) = task.text(
        ["ba de"],
        stream=lambda _, new: heard.append(new),
        **{**options, "eos_token_id": end},
    )
    assert found.finish_reason == "eos"
    assert b"".join(heard).decode("utf-8", "replace") == found.text
    assert b"".join(heard).endswith(task.text.tokenizer.token_bytes[end])


def test_a_draft_changes_nothing_but_the_report(
    folders: dict[str, str], task: CausalLM
) -> None:
    done = generate(
        folders,
        f"--draft_dir={folders['draft']}",
        "--prompt=ba de",
        "--max_new_tokens=12",
    )
    assert done.status == 0, done.stderr
    (text,) = task.generate(["ba de"], max_new_tokens=12)
    assert done.stdout == f"ba de{text}\n"
    assert re.search(r"\d+ % of the draft's kept", done.stderr)


def test_the_share_of_a_draft_is_that_of_all_prompts(
    folders: dict[str, str], tmp_path: pathlib.Path
) -> None:
    reports = []
    for number, prompts in enumerate((PROMPTS, PROMPTS[::-1])):
        path = tmp_path / f"{number}.txt"
        # As some editors write it, with a mark of the byte order.
        path.write_text("\n".join(prompts) + "\n", encoding="utf-8-sig")
        done = generate(
            folders,
            f"--draft_dir={folders['draft']}",
            f"--prompt_file={path}",
            f"--output_file={tmp_path}/{number}.jsonl",
            "--batch_size=1",
            "--max_new_tokens=12",
        )
        assert done.status == 0, done.stderr
        reports += re.findall(r"(\d+) % of the draft's kept", done.stderr)
        lines = (tmp_path / f"{number}.jsonl").read_text().splitlines()
        assert [json.loads(line)["prompt"] for line in lines] == prompts
    assert len(reports) == 2
    assert reports[0] == reports[1]


def larger(tokenizer: ByteBPETokenizer, vocab_size: int) -> CausalLM:
    """Returns a random model with a larger table than its tokenizer."""
    keras.utils.set_random_seed(3)
    task = CausalLM(
        FAMILIES["gpt2"].config(
            num_layers=1,
            hidden_size=32,
            num_heads=2,
            vocab_size=vocab_size,
            max_position_embeddings=64,
            initializer_range=0.4,
            **tokenizer.model_ids,
        )
    )
    task.model.build()
    task.text = TextGeneration(task, tokenizer)
    return task


def test_ids_that_the_tokenizer_lacks_are_not_chosen(task: CausalLM) -> None:
    assert task.text is not None
    tokenizer = task.text.tokenizer
    large = larger(tokenizer, 300)
    assert large.text is not None
    options: dict[str, Any] = {"do_sample": True, "seed": 1}
    options |= {"max_new_tokens": 40, "num_return_sequences": 4}
    prompt = tokenizer.tokenize(tf.constant(["ba de"])).to_list()
    free = generate_ids(large.model, prompt, GenerationConfig(**options))
    assert max(i for ids in free.sequences[0] for i in ids) >= 270
    (found,) = large.text(["ba de"], suppress_tokens=[5, 299], **options)
    ids = {i for continuation in found for i in continuation.token_ids}
    assert max(ids) < 270
    assert 5 not in ids
    (stopped,) = large.text(["ba de"], stop_strings=["\n"], **options)
    assert all(c.token_ids for c in stopped)


def test_ids_that_the_tokenizer_lacks_cannot_be_asked_for(
    task: CausalLM,
) -> None:
    assert task.text is not None
    large = larger(task.text.tokenizer, 300)
    for name in ("eos_token_id", "forced_bos_token_id", "forced_eos_token_id"):
        with pytest.raises(
            ValueError, match=f"`{name}` must be below 270.*Received: 290"
        ):
            large.generate(["ba"], **{name: 290})
    # What fills up rows that ended has no bytes.
    options = {"max_new_tokens": 20, "stop_strings": ["e"]}
    found, expected = (
        large.generate(["ba", "de ba"], pad_token_id=pad, **options)
        for pad in (290, 0)
    )
    assert found == expected


def test_prompts_that_are_none(task: CausalLM) -> None:
    for prompts, message in (
        ([], "must not be empty"),
        (["ba", None], "must be a text. Received: None as prompt 1"),
        (["\udcff"], "must be Unicode text. Received: prompt 0"),
    ):
        with pytest.raises(ValueError, match=message):
            task.generate(prompts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="task 'causal_lm'.*'folder'"):
        task.generate(["ba"], draft="folder")  # type: ignore[arg-type]


def test_a_draft_of_another_table_is_refused(task: CausalLM) -> None:
    assert task.text is not None
    draft = larger(task.text.tokenizer, 300)
    for text in (draft.text, None):
        draft.text = text
        with pytest.raises(ValueError, match="`vocab_size` 270.*Received: 300"):
            task.generate(["ba"], draft, do_sample=True)


def sample(folders: dict[str, str], path: pathlib.Path, **options: Any) -> Any:
    """Draws two continuations for each prompt of a file."""
    prompts = path.parent / "prompts.txt"
    # The line ends are of both kinds.
    prompts.write_bytes("\r\n".join(PROMPTS[:3]).encode() + b"\r\n")
    with prompts.open("a") as file:
        file.write("\n".join(PROMPTS[3:]) + "\n")
    return generate(
        folders,
        f"--prompt_file={prompts}",
        f"--output_file={path}",
        "--batch_size=2",
        "--max_new_tokens=9",
        "--do_sample",
        "--top_k=20",
        "--num_return_sequences=2",
        "--seed=4",
        **options,
    )


def test_a_file_of_prompts_resumes(
    folders: dict[str, str], task: CausalLM, tmp_path: pathlib.Path
) -> None:
    done = sample(folders, tmp_path / "whole.jsonl")
    assert done.status == 0, done.stderr
    whole = (tmp_path / "whole.jsonl").read_text()
    records = [json.loads(line) for line in whole.splitlines()]
    assert [r["prompt"] for r in records] == [p for p in PROMPTS for _ in "12"]
    for record in records:
        assert 1 <= len(record["token_ids"]) <= 9
        assert record["finish_reason"] in ("eos", "length")
        assert record["score"] < 0.0
    # The draws of a file are those of its prompts in one batch.
    texts = task.generate(
        PROMPTS,
        max_new_tokens=9,
        do_sample=True,
        top_k=20,
        num_return_sequences=2,
        seed=4,
    )
    assert [r["text"] for r in records] == texts

    partial = tmp_path / "killed.jsonl.partial"

    def kill(pid: int) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if partial.exists() and partial.stat().st_size:
                break
            time.sleep(0.002)
        os.kill(pid, signal.SIGKILL)

    killed = sample(folders, tmp_path / "killed.jsonl", during=kill)
    assert killed.status == -signal.SIGKILL
    assert partial.stat().st_size
    # Another model, for all that the file can know.
    own = pathlib.Path(folders["model"]) / "generation_config.json"
    before = own.stat().st_mtime_ns
    os.utime(own, ns=(before, before + 1))
    refused = sample(folders, tmp_path / "killed.jsonl")
    assert refused.status == 1
    assert "generation_config.json" in refused.errors[-1]
    os.utime(own, ns=(before, before))
    done = sample(folders, tmp_path / "killed.jsonl")
    assert done.status == 0, done.stderr
    assert (tmp_path / "killed.jsonl").read_text() == whole


def test_a_file_of_prompts_knows_its_draft(
    folders: dict[str, str], tmp_path: pathlib.Path
) -> None:
    draft = shutil.copytree(folders["draft"], tmp_path / "draft")
    output = tmp_path / "out.jsonl"
    (tmp_path / "prompts.txt").write_text("ba\n")
    found = []

    def look(_: int) -> None:
        sidecar = tmp_path / "out.jsonl.partial.json"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not sidecar.exists():
            time.sleep(0.002)
        found.append(json.loads(sidecar.read_text()))

    done = generate(
        folders,
        f"--draft_dir={draft}",
        f"--prompt_file={tmp_path / 'prompts.txt'}",
        f"--output_file={output}",
        "--max_new_tokens=2",
        during=look,
    )
    assert done.status == 0, done.stderr
    (settings,) = found
    for name, folder in (("model", folders["model"]), ("draft", draft)):
        stamps = {file: rest for file, *rest in settings[name]}
        for file in (
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
        ):
            stat = (pathlib.Path(folder) / file).stat()
            assert stamps[file] == [stat.st_size, stat.st_mtime_ns]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "`prompt` and `prompt_file`"),
        (("--prompt=a", "--prompt_file=b"), "`prompt` and `prompt_file`"),
        (("--prompt_file=b",), "`prompt_file` and `output_file`"),
        (("--prompt=" + "ba " * 99,), "64 positions.*prompt 0 of"),
        (("--prompt=a", "--temperature=0.5"), "`temperature` needs"),
        (
            ("--prompt=a", "--num_beams=2", "--penalty_alpha=0.5", "--top_k=4"),
            "not go with `penalty_alpha`",
        ),
        (("--prompt=a", "--eos_token_id=300"), "below 270.*Received: 300"),
        (("--prompt=a", "--suppress_tokens=x"), "must be ids"),
        (("--prompt=a", "--stop_strings="), "empty"),
        (("--prompt=a", "--max_new_token=3"), "max_new_tokens"),
        (("--prompt=a", "--draft_dir=OTHER"), "the vocabulary of the model"),
        (("--prompt=a", "--draft_dir=BARE"), "must hold a tokenizer"),
        (("--prompt=a", "--draft_dir=nowhere"), "nowhere"),
    ],
)
def test_bad_input(
    folders: dict[str, str], flags: tuple[str, ...], message: str
) -> None:
    named = [
        flag.replace("OTHER", folders["other"]).replace("BARE", folders["bare"])
        for flag in flags
    ]
    done = generate(folders, *named)
    assert done.status == 1
    assert not done.stdout
    assert re.search(message, done.errors[-1]), done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "`prompt_file` must hold at least one prompt.*prompts.txt"),
        (b"ba\n \nki\n", "Received: .*prompts.txt, line 2 is blank"),
        (b"ba\n\xff\n", "prompts.txt, line 2 is not UTF-8"),
        (b"ki\n" + b"ba " * 99, "64 positions.*prompts.txt, line 2 of"),
    ],
)
def test_files_of_prompts_that_cannot_be_continued(
    folders: dict[str, str],
    tmp_path: pathlib.Path,
    content: bytes,
    message: str,
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_bytes(content)
    partial = tmp_path / "out.jsonl.partial"
    partial.write_text("of an earlier run\n")
    done = generate(
        folders,
        f"--prompt_file={prompts}",
        f"--output_file={tmp_path / 'out.jsonl'}",
        "--batch_size=1",
    )
    assert done.status == 1
    assert re.search(message, done.errors[-1]), done.stderr
    assert partial.read_text() == "of an earlier run\n"
    assert len(list(tmp_path.iterdir())) == 2


def test_an_empty_prompt_begins_a_text(
    folders: dict[str, str], task: CausalLM
) -> None:
    done = generate(folders, "--prompt=", "--max_new_tokens=5")
    assert done.status == 0, done.stderr
    (text,) = task.generate([""], max_new_tokens=5)
    # Reading the output made each kind of line end one.
    assert done.stdout == text.replace("\r", "\n") + "\n"


def test_the_folders_own_config_is_the_default(
    folders: dict[str, str],
) -> None:
    file = pathlib.Path(folders["draft"]) / "generation_config.json"
    file.write_text(json.dumps({"max_new_tokens": 3, "eos_token_id": 269}))
    task = model_folder.load(folders["draft"])
    assert task.text is not None
    assert task.text.config.max_new_tokens == 3
    model_folder.save(task, file.parent / "copy", task.text.tokenizer)
    again = model_folder.load(file.parent / "copy")
    assert again.text.config == task.text.config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"do_sample": True, "temperature": "0.7"}, "temperature.*'0.7'"),
        ({"eos_token_id": 1.5}, "eos_token_id.*1.5"),
    ],
)
def test_a_bad_config_is_named(
    folders: dict[str, str],
    tmp_path: pathlib.Path,
    values: dict[str, Any],
    message: str,
) -> None:
    folder = shutil.copytree(folders["model"], tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps(values))
    task = model_folder.load(folder)
    with pytest.raises(
        ValueError, match=rf"generation_config\.json': `{message}"
    ):
        task.generate(["a"], max_new_tokens=1)
