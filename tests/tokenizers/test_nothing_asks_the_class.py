"""Only tokenizers and family files know classes and spellings of tokens."""

import ast
import pathlib
import re
from collections.abc import Iterator

import pytest

PACKAGE = pathlib.Path(__file__).parents[2] / "tfllm"
# Family files state special tokens; vocabularies are made of a kind.
OWNERS = ("tokenizers/*", "models/*")
# They make the tokenizer of one kind, of texts or of a foreign file.
MAKERS = ("data/vocabularies/*", "interop/sources/*")
SPELLING = re.compile(
    r"\[(PAD|UNK|CLS|SEP|MASK)\]|</?s>|<(pad|unk|mask|cls|sep)>"
    r"|<\|endoftext\|>"
)
CLASSES = re.compile(r"\w+Tokenizer$")


def files() -> list[pathlib.Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if not any(path.relative_to(PACKAGE).match(o) for o in OWNERS)
    ]


def literals(tree: ast.AST) -> Iterator[str]:
    """The strings of code, but for docstrings."""
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(
            node,
            ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
        )
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in docs:
            continue
        if isinstance(node.value, str):
            yield node.value


@pytest.mark.parametrize("path", files(), ids=lambda path: path.stem)
def test_no_spelling_and_no_class(path: pathlib.Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [text for text in literals(tree) if SPELLING.search(text)]
    if any(path.relative_to(PACKAGE).match(t) for t in MAKERS):
        return
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    assert not {n for n in names if CLASSES.match(n)} - {"Tokenizer"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            shown = ast.unparse(node)
            if node.func.id in ("hasattr", "getattr"):
                assert "okenizer," not in shown, shown
