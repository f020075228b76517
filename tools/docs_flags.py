"""Inserts the flags of verbs and the list of flag files into docs pages.

    make docs

MkDocs calls it for each page (`hooks` in mkdocs.yml). In a page,
`<!-- flags: train -->` becomes the tables of `python -m tfllm.train --help`,
and `<!-- flag files -->` the first line and command of each file in configs/.
"""

import html
import pathlib
import re
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replaces the comments of a page; a hook of MkDocs."""
    markdown = re.sub(
        r"<!-- flags: (\w+) -->", lambda m: flag_tables(m[1]), markdown
    )
    return markdown.replace("<!-- flag files -->", flag_files())


def flag_tables(verb: str) -> str:
    """Returns the flags of a verb as Markdown, a table per group.

    Raises:
        ValueError: The help of the verb lists no flags.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"tfllm.{verb}", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = []
    for title, body in re.findall(
        r"^(\w.*):\n((?:  +.*\n)+)", done.stdout, re.M
    ):
        flags = re.findall(r"^  (--.*)\n((?:      .*\n)+)", body, re.M)
        if flags:
            lines += ["", f"### {title}", "", "| flag | |", "|---|---|"]
        for head, text in flags:
            words = _escaped(" ".join(text.split()))
            lines.append(f"| {_code(head)} | {words} |")
    if not lines:
        raise ValueError(f"`--help` must list flags. Received: {verb}")
    return "\n".join(lines)


def flag_files() -> str:
    """Returns the shipped flag files as a Markdown table."""
    lines = ["| file | |", "|---|---|"]
    for path in sorted((ROOT / "configs").glob("*.flags")):
        header = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#") or line.strip() == "#":
                break
            header.append(line.lstrip("# "))
        lines.append(f"| {_code(path.name)} | {_escaped(' '.join(header))} |")
    return "\n".join(lines)


def _code(text: str) -> str:
    """Returns text as code for a table; lines may break at commas."""
    # Browsers would break lines after the hyphens of --name.
    fixed = "" if "," in text else ' style="white-space: nowrap"'
    return f"<code{fixed}>{_escaped(text).replace(',', ',<wbr>')}</code>"


def _escaped(text: str) -> str:
    """Escapes text for a Markdown table."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", html.escape(text, quote=False))
