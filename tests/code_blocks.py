"""The commands and the code in documents, and how tests run them.

A fenced block stands under one of two comments:

    <!-- test: NAME -->              a test runs it
    <!-- test: NAME; needs: torch --> the same, where the packages are there
    <!-- not run: REASON -->         only its flags are checked
"""

import dataclasses
import functools
import importlib.util
import pathlib
import re
import shlex

from tests import verbs
from tests.conftest import WORDS

ROOT = pathlib.Path(__file__).parents[1]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
# What a test changes in a command, so that it takes seconds.
TINY = {
    r"tfllm\.train (.*--task=causal_lm.*)": r"tfllm.train \1 --seq_length=16",
    r"tfllm\.train (.*)": r"tfllm.train \1 --train_steps=2 --batch_size=4 "
    "--eval_steps=1",
    r" --(epochs|train_steps)=\d\b(?=.* --train_steps=2)": "",
    r" --train_steps=\d{3,}": "",
    # The text has few words.
    r"(=sentencepiece --input.*--vocab_size=)\d+": r"\g<1>400",
    r"(=unigram.*--vocab_size=)\d+": r"\g<1>60",
    r"bert:mini": "bert:tiny",
    r"steps_per_epoch=\d+": "steps_per_epoch=2",
}


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block of a document.

    Attributes:
        language: As the fence says.
        code: Its lines.
        mark: The comment above it, "" if there is none.
    """

    language: str
    code: str
    mark: str

    @property
    def name(self) -> str | None:
        """Name of the test that runs it; None if none does."""
        match = re.match(r"test: ([^;]+)", self.mark)
        return match and match[1]

    @property
    def needs(self) -> list[str]:
        """Packages that it needs beside those of tfllm."""
        match = re.search(r"; needs: (.+)", self.mark)
        return match[1].split(", ") if match else []

    @property
    def commands(self) -> list[str]:
        """The command lines, each in one line."""
        joined = self.code.replace("\\\n", " ")
        lines = (re.sub(r" +", " ", line) for line in joined.splitlines())
        return [line.strip() for line in lines if line.strip()]


def blocks(path: pathlib.Path) -> list[Block]:
    """Returns the fenced blocks of a document."""
    found = re.findall(
        r"(?:^<!-- ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$",
        path.read_text(encoding="utf-8"),
        re.M | re.S,
    )
    return [Block(language, code, mark) for mark, language, code in found]


def block(path: pathlib.Path, name: str) -> Block:
    """Returns the block that a test of a name runs."""
    return next(b for b in blocks(path) if b.name == name)


def write_inputs(folder: pathlib.Path, documents: list[list[str]]) -> None:
    """Writes what a reader has at first: text, labels and prompts."""
    (folder / "text").mkdir()
    for part in range(2):
        text = "\n\n".join(" ".join(d) for d in documents[part::2])
        (folder / "text" / f"{part}.txt").write_text(text + "\n")
    for name in ("train", "test"):
        rows = [f"{w} {w},{'long' if len(w) > 3 else 'short'}" for w in WORDS]
        (folder / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
    (folder / "prompts.txt").write_text("The house\nOne day\n")


def missing(packages: list[str]) -> list[str]:
    """Returns the packages that are not installed."""
    return [p for p in packages if importlib.util.find_spec(p) is None]


def tiny(text: str) -> str:
    """Returns a command or code that takes seconds."""
    for pattern, replacement in TINY.items():
        text = re.sub(pattern, replacement, text)
    return text


def run(block: Block, folder: pathlib.Path) -> str:
    """Runs a block in a folder; returns what it printed."""
    if block.language == "python":
        return _printed(verbs.run("python", tiny(block.code), folder=folder))
    return "".join(_run_command(tiny(c), folder) for c in block.commands)


def _run_command(command: str, folder: pathlib.Path) -> str:
    """Runs one command in a fork of the verb server."""
    text, pipe, program = command.rpartition(" | ")
    stdin = ""
    if pipe:
        echo, stdin = shlex.split(text)
        assert echo == "echo", command
    python, m, module, *arguments = shlex.split(program)
    assert (python, m) == ("python", "-m"), command
    verb = module.removeprefix("tfllm.")
    if verb != module:
        return _printed(
            verbs.run(verb, *arguments, stdin=f"{stdin}\n", folder=folder)
        )
    return _printed(verbs.run("module", module, *arguments, folder=folder))


def _printed(done: verbs.Finished) -> str:
    """Returns the output of what ended well."""
    assert done.status == 0, done.stderr[-4000:]
    return done.stdout


@functools.cache
def flags_of(module: str) -> set[str]:
    """Returns the names of the flags that `--help` of a program lists."""
    printed = _printed(verbs.run("module", module, "--help"))
    found = re.findall(r"^  --(\[no\])?(\w+)", printed, re.M)
    names = {name for _, name in found}
    return names | {f"no{name}" for no, name in found if no}
