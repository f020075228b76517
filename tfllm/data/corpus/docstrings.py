"""Collects English text from the docstrings of installed Python packages.

Files are parsed with `ast`, never imported. This module needs only the standard
library, and runs itself as a script in worker processes: a new interpreter
starts quickly, while a fork of a process with TensorFlow's threads is not safe.
"""

import ast
import concurrent.futures
import dataclasses
import gc
import inspect
import json
import os
import re
import subprocess
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Sequence

# Files per task of a worker, so that its start (50 ms) does not matter.
_FILES_PER_TASK = 1200
_MAX_FILE_BYTES = 4_000_000  # larger files are generated tables
_LONG_DOCSTRING = 200

# Frequent English words. Text with few of them is code, data or another
# language.
_ENGLISH_WORDS = (
    "the of a an to is are be and or in on if for with by this that it as"
    " from not which will can when at should may used you"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_MIN_ENGLISH_SHARE = 0.15
_MIN_LETTER_SHARE = 0.7


@dataclasses.dataclass(frozen=True)
class Docstrings:
    """Prose of docstrings.

    Attributes:
        documents: Distinct texts, in no particular order.
        counts: Numbers of files, of files that do not parse, of docstrings,
            of docstrings with too little prose, and of repeated ones.
    """

    documents: tuple[str, ...]
    counts: dict[str, int]


# --- From a docstring to prose ----------------------------------------------

_FENCED = re.compile(r"^[ \t]*(```|~~~).*?(?:^[ \t]*\1[ \t]*$|\Z)", re.M | re.S)
_HEADER = re.compile(r"[\w /()-]{2,40}:$")  # "Args:", "Returns:"
_UNDERLINE = re.compile(r"([=\-~^*#\"'`+.:_])\1{2,}$")
_DIRECTIVE = re.compile(r"\.\. +(?:\[?[\w.-]+\]?(?:::|:? )|_|$)|\.\.$")
# Directives whose body is prose.
_PROSE_DIRECTIVE = re.compile(
    r"\.\. +(?:note|warning|seealso|tip|important|caution|versionchanged"
    r"|versionadded|deprecated|admonition|attention|hint)::? *[\d.]*",
    re.I,
)
_FIELD = re.compile(r":(?:\w+)(?: [^:\n]{1,60})?:(?: |$)")  # ":param x: "
# "x (int, optional): text", "*args: text", "x -- text"
_ENTRY = re.compile(r"\*{0,2}`{0,2}[\w.]+`{0,2}(?: ?\([^()\n]*\))?(?::| --) +")
_NUMPY_ENTRY = re.compile(r"\*{0,2}[\w., *]+ : \S.*$|\*{0,2}[\w.]+$")
_BULLET = re.compile(r"(?:[-*+•]|\d{1,2}[.)]|#\.) +")
_MARKUP = (
    (re.compile(r"!\[[^\]]*\]\([^)\s]*\)"), ""),  # image
    (re.compile(r"\[([^\]\n]+)\]\([^)\s]+\)"), r"\1"),  # markdown link
    (re.compile(r"`([^`<]+?)\s*<[^>`]+>`_{0,2}"), r"\1"),  # reST link
    (re.compile(r":[a-z]+(?::[a-z]+)?:`~?([^`]+)`"), r"\1"),  # reST role
    (re.compile(r"``([^`]+)``|`([^`]+)`_{0,2}"), r"\1\2"),
    (re.compile(r"\*\*([^*\n]+)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([^*\s][^*\n]*)\*(?![\w*])"), r"\1"),
    (re.compile(r"^#{1,6} +", re.M), ""),
    (re.compile(r"</?[a-zA-Z][^<>\n]{0,80}>"), ""),  # HTML tag
    (re.compile(r"\|(\w+)\|_?"), r"\1"),  # reST substitution
)
_WORD = re.compile(r"[A-Za-z']+")


def _indent(line: str) -> int:
    """Returns the number of leading spaces."""
    return len(line) - len(line.lstrip())


def _prose_lines(text: str) -> Iterator[str]:
    """Yields lines without code blocks, directives, headers and underlines."""
    skip_above = -1  # drop lines indented deeper than this
    in_doctest = False
    for line in text.split("\n"):
        stripped = line.strip()
        if not stripped:
            in_doctest = False
            yield ""
            continue
        if 0 <= skip_above < _indent(line):
            continue
        skip_above = -1
        in_doctest |= stripped.startswith((">>>", "$ ", "In ["))
        if in_doctest:
            continue
        if prose := _PROSE_DIRECTIVE.match(stripped):
            stripped = stripped[prose.end() :].strip()
        elif _DIRECTIVE.match(stripped):
            skip_above = _indent(line)
            continue
        if stripped.endswith("::"):  # a literal block follows
            skip_above = _indent(line)
            stripped = stripped[:-1].strip(" :") + "." * (len(stripped) > 2)
        if _UNDERLINE.match(stripped) or _HEADER.match(stripped):
            yield ""
        else:
            yield " " * _indent(line) + stripped


def _pieces(text: str) -> Iterator[str]:
    """Yields paragraphs and descriptions of parameters as single lines."""
    piece: list[str] = []
    depth = 0
    for line in [*_prose_lines(text), ""]:
        stripped = line.strip()
        starts = (
            _FIELD.match(stripped)
            or _BULLET.match(stripped)
            or (not piece or _indent(line) <= depth)
            and _ENTRY.match(stripped)
        )
        entry = _NUMPY_ENTRY.match(stripped)
        if not stripped or starts or entry:
            if piece:
                yield " ".join(piece)
            piece = []
        if not piece:
            depth = _indent(line)
        if stripped and not entry:
            piece.append(stripped[starts.end() if starts else 0 :].strip())
    # The last line, "", has flushed the last piece.


def _is_prose(piece: str) -> bool:
    """Returns whether a piece is a text of words, not a table or code."""
    if len(piece) < 20 or " " not in piece:
        return False
    if piece.count("|") > 2 or "+--" in piece or "=====" in piece:
        return False  # a table
    letters = sum(map(str.isalpha, piece)) + piece.count(" ")
    return letters >= _MIN_LETTER_SHARE * len(piece)


def prose(docstring: str) -> str:
    """Extracts the English prose of a docstring.

    Code (doctests, fenced and literal blocks), directives, headers, tables,
    inline markup, and the names and types of parameters are removed; the
    descriptions of parameters are kept.

    Args:
        docstring: The docstring with its indentation.

    Returns:
        Paragraphs separated by blank lines; "" without English prose.
    """
    text = inspect.cleandoc(docstring)
    if "```" in text or "~~~" in text:
        text = _FENCED.sub("", text)
    paragraphs = []
    for piece in _pieces(text):
        for pattern, replacement in _MARKUP:
            piece = pattern.sub(replacement, piece)
        if _is_prose(piece):
            paragraphs.append(piece)
    result = "\n\n".join(paragraphs)
    words = _WORD.findall(result.lower())
    english = sum(word in _ENGLISH for word in words)
    return result if english >= _MIN_ENGLISH_SHARE * len(words) else ""


# --- From files to docstrings -----------------------------------------------

_TRIPLE_QUOTED = re.compile(rb'("""|\'\'\')(.*?)\1', re.S)
_WITH_DOCSTRING = (
    ast.Module,
    ast.ClassDef,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
)


def docstrings_of(source: bytes) -> Iterator[str]:
    """Yields the docstrings of a module if one of them may be long.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: The source does
            not parse.
    """
    quoted = _TRIPLE_QUOTED.finditer(source)
    if not any(len(match[2]) >= _LONG_DOCSTRING for match in quoted):
        return  # half of all files, and parsing takes most of the time
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, _WITH_DOCSTRING):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield text
        # Only statements contain definitions. Expressions, most of the tree,
        # are not visited.
        for field in ("body", "orelse", "handlers", "finalbody", "cases"):
            children = getattr(node, field, None)
            if isinstance(children, list):
                pending.extend(children)


def extract(files: Sequence[str], min_characters: int) -> Docstrings:
    """Extracts the prose of the docstrings of files, in this process.

    Args:
        files: Paths of Python sources.
        min_characters: Shorter prose is left out.
    """
    counts = dict.fromkeys(
        ("files", "unparseable_files", "docstrings", "too_little_prose"), 0
    )
    documents: dict[str, None] = {}
    for path in files:
        counts["files"] += 1
        try:
            with open(path, "rb") as file:
                source = file.read(_MAX_FILE_BYTES + 1)
            if len(source) > _MAX_FILE_BYTES:
                raise ValueError("generated")
            texts = [
                t for t in docstrings_of(source) if len(t) >= _LONG_DOCSTRING
            ]
        except (SyntaxError, ValueError, RecursionError, MemoryError, OSError):
            counts["unparseable_files"] += 1
            continue
        for text in texts:
            counts["docstrings"] += 1
            document = prose(text)
            # Sources may have escapes such as "\ud800", which UTF-8 lacks.
            document = document.encode("utf-8", "replace").decode("utf-8")
            if len(document) < min_characters:
                counts["too_little_prose"] += 1
            else:
                documents[document] = None
    return Docstrings(tuple(documents), counts)


def source_files(folders: Sequence[str] = ()) -> list[str]:
    """Returns the Python files below folders, sorted within each.

    Args:
        folders: Folders to search; default: packages and standard library of
            this interpreter. `site-packages` folders below them, such as that
            of the interpreter of a virtual environment, are skipped.
    """
    if not folders:
        paths = sysconfig.get_paths()
        folders = [paths["purelib"], paths["platlib"], paths["stdlib"]]
    paths_found: dict[str, None] = {}
    for folder in dict.fromkeys(map(os.path.realpath, folders)):
        for place, subfolders, names in os.walk(folder):
            subfolders[:] = [
                name
                for name in sorted(subfolders)
                if name not in ("site-packages", "dist-packages", "__pycache__")
            ]
            for name in sorted(names):
                if name.endswith(".py"):
                    paths_found[os.path.join(place, name)] = None
    return list(paths_found)


def _run_worker(files: Sequence[str], min_characters: int) -> Docstrings:
    """Runs `extract` in a new interpreter."""
    # -I: no PYTHON* variables, and this folder is not on sys.path, where its
    # modules could shadow the standard library.
    result = subprocess.run(
        [sys.executable, "-I", os.path.abspath(__file__)],
        input=json.dumps([list(files), min_characters]).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    documents, counts = json.loads(result.stdout)
    return Docstrings(tuple(documents), counts)


def collect(
    folders: Sequence[str] = (),
    min_characters: int = 200,
    num_workers: int | None = None,
) -> Docstrings:
    """Collects the prose of the docstrings of installed packages.

    The number of workers does not change the documents.

    Args:
        folders: Folders to search; default: see `source_files`.
        min_characters: Shorter prose is left out.
        num_workers: Processes; at most, and by default, the number of CPUs.

    Raises:
        ValueError: No docstring is long enough.
    """
    files = source_files(folders)
    chunks = [
        files[i : i + _FILES_PER_TASK]
        for i in range(0, len(files), _FILES_PER_TASK)
    ]
    workers = min(num_workers or os.cpu_count() or 1, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        parts = list(
            pool.map(_run_worker, chunks, [min_characters] * len(chunks))
        )
    counts: dict[str, int] = {}
    documents: dict[str, None] = {}
    for part in parts:
        documents.update(dict.fromkeys(part.documents))
        for name, count in part.counts.items():
            counts[name] = counts.get(name, 0) + count
    if not documents:
        raise ValueError(
            "No docstring of the installed packages is long enough. Received: "
            f"{len(files)} Python files, `min_chars` {min_characters}. "
            "Lower --min_chars, or give your own text with --source=files."
        )
    counts["repeated"] = (
        counts["docstrings"] - counts["too_little_prose"] - len(documents)
    )
    return Docstrings(tuple(documents), counts)


def _worker_main() -> None:
    """Runs `extract` on files from standard input; prints JSON."""
    # Syntax trees are freed by reference counts; this halves the time.
    gc.disable()
    warnings.simplefilter("ignore")  # SyntaxWarning in other packages
    files, min_characters = json.load(sys.stdin)
    result = extract(files, min_characters)
    json.dump([result.documents, result.counts], sys.stdout)


if __name__ == "__main__":
    _worker_main()
