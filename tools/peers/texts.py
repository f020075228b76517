"""Reads the labelled texts for fine-tuning."""

import pathlib


def read(path: str) -> tuple[list[str], list[int]]:
    """Reads a file with `label TAB text` in each line.

    Args:
        path: File in UTF-8.

    Returns:
        Texts; label ids, in the alphabetical order of the labels.

    Raises:
        ValueError: The file is missing, or a line has no tab.
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
