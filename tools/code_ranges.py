"""Code points as text, for tables of characters."""

from collections.abc import Iterable


def code_ranges(codes: Iterable[int]) -> str:
    """Writes code points as space-separated hexadecimal ranges."""
    ranges: list[list[int]] = []
    for code in sorted(codes):
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return " ".join(code_range(first, last) for first, last in ranges)


def code_range(first: int, last: int) -> str:
    """Writes a range of code points, such as `41-5A`."""
    return f"{first:X}" if first == last else f"{first:X}-{last:X}"
