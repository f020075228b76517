"""The commands, code, links and flags of docs/, and that the site builds."""

import html.parser
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
from urllib.parse import unquote, urlsplit

import pytest

from tests import code_blocks
from tests.code_blocks import DOCUMENTS, ROOT, Block, blocks
from tests.conftest import WORDS
from tfllm.__main__ import VERBS
from tools import docs_flags

DOCS = ROOT / "docs"
START = DOCS / "getting-started.md"
PAGES = [
    path
    for path in DOCUMENTS
    if path.is_relative_to(DOCS)
    and path != START
    and any(block.name for block in blocks(path))
]

# What is no flag of a verb or a tool: absl's, and options of other programs.
KNOWN_ELSEWHERE = {"flagfile", "help", "version", "runner"}
PROGRAMS = [
    f"{path.parent.name}.{path.stem}"
    for folder in ("tfllm", "tools")
    for path in sorted((ROOT / folder).glob("*.py"))
    if "flags.run(main)" in path.read_text(encoding="utf-8")
]


def names(paths: list[pathlib.Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


@pytest.fixture(scope="module")
def started(
    tmp_path_factory: pytest.TempPathFactory, documents: list[list[str]]
) -> tuple[pathlib.Path, dict[str, str]]:
    """The folder in which "Getting started" has run, and what it printed."""
    folder = tmp_path_factory.mktemp("docs")
    code_blocks.write_inputs(folder, documents)
    printed = {
        block.name: code_blocks.run(block, folder)
        for block in blocks(START)
        if block.name
    }
    return folder, printed


@pytest.mark.slow
def test_getting_started(
    started: tuple[pathlib.Path, dict[str, str]],
) -> None:
    folder, printed = started
    assert "Model folder: my_model" in printed["pretrain"]
    # predict shows the text and, for its one mask, five candidates.
    shown = printed["pretrain"].split("The [MASK] is on the table.")[1]
    assert len(re.findall(r" [01]\.\d{3}\b", shown)) == 5
    lines = (folder / "labels.jsonl").read_text().splitlines()
    assert len(lines) == len(WORDS)
    assert json.loads(lines[0])["label"] in ("long", "short")
    assert "The house" in printed["generate"]
    assert (folder / "exports/classifier/1/saved_model.pb").is_file()
    assert "'score': " in printed["python"]


# The default run checks the flags of commands, but runs only code; the commands
# of the README and of "Getting started" run in any case.
@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            marks=[pytest.mark.wide]
            * any(b.name and b.language == "sh" for b in blocks(page)),
        )
        for page in PAGES
    ],
    ids=names(PAGES),
)
def test_page(
    page: pathlib.Path, started: tuple[pathlib.Path, dict[str, str]]
) -> None:
    """All blocks of a page run, one after the other, where a reader is."""
    for block in blocks(page):
        if block.name and not code_blocks.missing(block.needs):
            code_blocks.run(block, started[0])


@pytest.mark.parametrize("page", DOCUMENTS, ids=names(DOCUMENTS))
def test_every_block_is_run_or_says_why_not(page: pathlib.Path) -> None:
    marks = [block.mark for block in blocks(page)]
    assert all(re.match(r"(test|not run): \w+", mark) for mark in marks), marks
    tests = [block.name for block in blocks(page) if block.name]
    assert len({*tests}) == len(tests)


def commands(block: Block) -> list[str]:
    """The commands of a block that call a program of ours."""
    return [c for c in block.commands if "python -m t" in c]


@pytest.mark.parametrize("page", DOCUMENTS, ids=names(DOCUMENTS))
def test_programs_and_flags_exist(page: pathlib.Path) -> None:
    for command in [c for b in blocks(page) for c in commands(b)]:
        program, text = re.search(
            r"python -m (t\w+\.\w+)(.*)", command
        ).groups()
        given = re.findall(r" --(\w+)", text.split(" && ")[0])
        unknown = {*given} - code_blocks.flags_of(program) - {"flagfile"}
        assert not unknown, command
    text = page.read_text(encoding="utf-8")
    for program in re.findall(r"python -m ((?:tools|tfllm)\.[a-z_]+)", text):
        assert importlib.util.find_spec(program), program
    for target in re.findall(r"`make ([a-z-]+)", text):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(), target


@pytest.mark.parametrize("page", DOCUMENTS, ids=names(DOCUMENTS))
def test_flags_in_the_text_exist(page: pathlib.Path) -> None:
    text = page.read_text(encoding="utf-8")
    used = set(re.findall(r"`--(\w+)", text)) - KNOWN_ELSEWHERE
    known = {
        flag for module in PROGRAMS for flag in code_blocks.flags_of(module)
    }
    assert used <= known, used - known


@pytest.mark.parametrize("page", DOCUMENTS, ids=names(DOCUMENTS))
def test_linked_files_exist(page: pathlib.Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    links = re.findall(r"\]\((?!http|#)([^)#]+)", prose)
    missing = [link for link in links if not (page.parent / link).exists()]
    missing += [
        name
        for name in re.findall(r"configs/\w+\.flags", text)
        if not (ROOT / name).exists()
    ]
    assert not missing


@pytest.mark.parametrize("page", DOCUMENTS, ids=names(DOCUMENTS))
def test_named_files_exist(page: pathlib.Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(r"`((?:tfllm|tools|tests|deploy)/[\w./]+)`", text)
    assert not [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.parametrize("verb", ["evaluate", "serve"])
def test_every_flag_of_a_verb_is_in_its_tables(verb: str) -> None:
    rows = re.findall(
        r"^\| <code.*?>(.*)</code> \|", docs_flags.flag_tables(verb), re.M
    )
    shown = {re.search(r"--(?:\\\[no\\\])?([a-z\\_]+)", row)[1] for row in rows}
    listed = code_blocks.flags_of(f"tfllm.{verb}")
    negated = {name for name in listed if f"no{name}" in listed}
    assert {name.replace("\\", "") for name in shown} == listed - {
        f"no{name}" for name in negated
    }


def test_no_page_lacks_a_verb() -> None:
    for verb in VERBS:
        text = (DOCS / "verbs" / f"{verb}.md").read_text(encoding="utf-8")
        assert f"<!-- flags: {verb} -->" in text
        assert "## Shortest path" in text


def test_the_map_of_transformers_classes_names_every_family() -> None:
    """A new family says on that page what stands of its `TF*` classes."""
    from tfllm.models import FAMILIES

    text = (DOCS / "transformers.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `TF\w+.*\| (.*) \|$", text, re.M)
    named = {m[1] for row in rows if (m := re.match(r"`([a-z]\w*)`: ", row))}
    assert named <= {*FAMILIES}
    assert not [name for name in FAMILIES if f"`{name}`" not in text]


class Page(html.parser.HTMLParser):
    """The links of a page, and what can be linked to in it."""

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(
        self, tag: str, attrs: list[tuple[str, str | None]]
    ) -> None:
        values = dict(attrs)
        self.anchors |= {values.get("id") or "", values.get("name") or ""}
        loaded = tag in ("script", "img", "link", "iframe", "source")
        for key in ("href", "src"):
            if url := values.get(key):
                external = urlsplit(url).netloc
                assert not (loaded and external), f"loads {url}"
                self.links.append(url)


@pytest.mark.slow
def test_the_site_builds_and_its_links_lead_somewhere(
    tmp_path: pathlib.Path,
) -> None:
    pytest.importorskip("material", reason="extra `docs`")
    pytest.importorskip("mkdocstrings", reason="extra `docs`")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    done = subprocess.run(
        [*command, f"--site-dir={tmp_path}"],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    pages = {path: Page(path) for path in tmp_path.rglob("*.html")}
    assert len(pages) > len(PAGES)
    for path, page in pages.items():
        if path.name == "404.html":  # its links are those of a server
            continue
        for url in page.links:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            to = path
            if parts.path:
                to = (path.parent / unquote(parts.path)).resolve()
            if to.is_dir():
                to /= "index.html"
            assert to.is_file(), f"{path.name} links to {url}"
            if parts.fragment and to in pages:
                fragment = unquote(parts.fragment)
                assert fragment in pages[to].anchors, f"{path.name}: {url}"
