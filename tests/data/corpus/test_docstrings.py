"""Tests of the docstring source."""

import pathlib

import pytest

from tfllm.data.corpus import docstrings

_PROSE = (
    "The layer takes a batch of vectors and returns one of the same size, "
    "which is useful when the inputs are of a known shape and when it must "
    "not be changed. It is used in most of the models that this package has "
    "and should be the first that you try."
)


def test_prose_keeps_descriptions_and_drops_code() -> None:
    text = f"""Adds two numbers with :func:`~math.add`.

    {_PROSE}

    .. code-block:: python

        secret_code(1)

    Parameters
    ----------
    x : int or None
        The first of the numbers to be added.

    Args:
        y (int, optional): The second of the numbers, see [docs](http://a.b).
        *z: The others, if there are any of them.

    >>> hidden_doctest(3)
    4

    ```python
    fenced_code()
    ```

    Returns::

        literal_block()
    """
    result = docstrings.prose(text)
    assert result.split("\n\n") == [
        "Adds two numbers with math.add.",
        _PROSE,
        "The first of the numbers to be added.",
        "The second of the numbers, see docs.",
        "The others, if there are any of them.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "x" * 300,
        "Der Hund lief schnell durch unseren Garten " * 8,
        "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 50,
        ">>> f(x)\n" * 40,
    ],
)
def test_what_is_not_english_prose(text: str) -> None:
    assert docstrings.prose(text) == ""


def test_collect(tmp_path: pathlib.Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text(
        f'"""{_PROSE}"""\n'
        "raise RuntimeError('imported')\n"
        "class A:\n"
        f'    """In a class. {_PROSE}"""\n'
        "    if True:\n"
        "        async def f(self):\n"
        f'            r"""In a method. {_PROSE}"""\n'
        f'    def g(self): "short"\n'
        f'NOT_A_DOCSTRING = """Assigned. {_PROSE}"""\n'
    )
    (package / "b.py").write_text(f'def f(:\n    """{_PROSE}"""\n')
    (package / "c.py").write_text(f'"""{_PROSE}"""\nx = "\\d"\n')
    nested = tmp_path / "site-packages"
    nested.mkdir()
    (nested / "d.py").write_text(f'"""Elsewhere. {_PROSE}"""\n')
    found = docstrings.collect([str(tmp_path)], num_workers=2)
    assert sorted(found.documents) == [
        f"In a class. {_PROSE}",
        f"In a method. {_PROSE}",
        _PROSE,
    ]
    assert found.counts == {
        "files": 3,
        "unparseable_files": 1,
        "docstrings": 4,
        "too_little_prose": 0,
        "repeated": 1,
    }


def test_nothing_found(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="Received: 0 Python files"):
        docstrings.collect([str(tmp_path)])


def test_this_interpreter_has_sources() -> None:
    files = docstrings.source_files()
    assert files == list(dict.fromkeys(files))
    assert any(path.endswith("/ast.py") for path in files)
    assert any("/site-packages/" in path for path in files)
