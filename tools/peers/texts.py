"""Labelled texts for the sides that fine-tune on them."""

import pathlib


def read(path: str) -> tuple[list[str], list[int]]:
    """Reads a file with `label TAB text` in each line.

    Args:
        path: the file, UTF-8.

    Returns:
        The texts, and the numbers of their labels in alphabetical order.

    Raises:
        ValueError: if there is no such file, or it has other lines.
    """
    rule = "`labelled_text` must be a file with `label TAB text` in each line."
    try:
        lines = pathlib.Path(path).read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ValueError(
            f"{rule} Received: {path} ({error.strerror})."
        ) from error
    rows = []
    for number, line in enumerate(lines, 1):
        label, tab, text = line.partition("\t")
        if tab:
            rows.append((text, label))
        elif line:
            raise ValueError(f"{rule} Received: {path}, line {number}.")
    names = sorted({label for _, label in rows})
    return (
        [text for text, _ in rows],
        [names.index(label) for _, label in rows],
    )
