r"""Draws the imports between the folders of tfllm.

    python -m tools.draw_imports --output=imports.png

All arrows point down: a folder is drawn above the folders that it imports. The
command fails if modules import each other in a circle.
"""

import ast
import pathlib
from collections.abc import Iterator, Mapping

from absl import flags as absl_flags

from tfllm.runs import flags

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Module -> modules that it imports, at the top level or in functions.
Graph = dict[str, set[str]]


def import_graph(root: pathlib.Path, package: str) -> Graph:
    """Returns the imports between the modules of a package.

    Args:
        root: Folder that holds the package.
        package: Name of the package.
    """
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path
        for path in sorted((root / package).rglob("*.py"))
    }
    return {
        name: set(_imports(path, paths)) - {name}
        for name, path in paths.items()
    }


def _imports(
    path: pathlib.Path, known: Mapping[str, pathlib.Path]
) -> Iterator[str]:
    """Yields the known modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in known)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                if module in known:
                    yield module
                elif node.module in known:
                    yield str(node.module)


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Returns the groups of nodes that reach each other, each sorted."""
    reached = {node: _reachable(node, graph) for node in graph}
    groups = {
        tuple(sorted(n for n in reached[node] if node in reached[n]))
        for node in graph
        if node in reached[node]
    }
    return sorted(map(list, groups))


def _reachable(node: str, graph: Mapping[str, set[str]]) -> set[str]:
    """Returns the nodes that can be reached from a node."""
    seen: set[str] = set()
    waiting = [*graph[node]]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += graph.get(current, ())
    return seen


def folders_of(graph: Mapping[str, set[str]]) -> Graph:
    """Returns the imports between folders and top-level modules."""

    def folder(module: str) -> str:
        parts = module.split(".")
        return ".".join(parts[1:2])

    folders: Graph = {}
    for module, imported in graph.items():
        if not folder(module):
            continue
        names = {folder(other) for other in imported} - {folder(module), ""}
        folders.setdefault(folder(module), set()).update(names)
    return folders


def levels_of(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Returns the height of each node: 0 for nodes without imports.

    Raises:
        ValueError: The graph has a circle.
    """
    if circles(graph):
        raise ValueError(f"folders import in a circle: {circles(graph)}")
    levels: dict[str, int] = {}

    def level(node: str) -> int:
        if node not in levels:
            levels[node] = max(
                (level(other) + 1 for other in graph[node]), default=0
            )
        return levels[node]

    for node in graph:
        level(node)
    return levels


def draw(graph: Mapping[str, set[str]], output: str) -> None:
    """Draws a graph without circles to a file."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    levels = levels_of(graph)
    rows: dict[int, list[str]] = {}
    for node in sorted(graph):
        rows.setdefault(levels[node], []).append(node)
    places = {
        node: ((i + 0.5) / len(row) + 0.03 * (height % 2), height)
        for height, row in rows.items()
        for i, node in enumerate(row)
    }
    figure, axes = pyplot.subplots(figsize=(12, 1.1 * len(rows) + 1))
    for node, others in graph.items():
        for other in others:
            axes.annotate(
                "",
                xy=places[other],
                xytext=places[node],
                arrowprops={
                    "arrowstyle": "->",
                    "color": "0.6",
                    "shrinkA": 12,
                    "shrinkB": 12,
                },
            )
    for node, (x, y) in places.items():
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "0.3"}
        axes.text(x, y, node, ha="center", va="center", bbox=box)
    axes.set_xlim(-0.05, 1.1)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.axis("off")
    figure.savefig(output, bbox_inches="tight", dpi=150)
    pyplot.close(figure)


def define() -> None:
    """Defines the flags."""
    flags.Group("Output").string(
        "output", "imports.png", "Picture to write: .png, .svg or .pdf."
    )


def main() -> None:
    """Draws the picture."""
    graph = import_graph(ROOT, "tfllm")
    groups = circles(graph)
    if groups:
        raise ValueError(f"modules import in a circle: {groups}")
    draw(folders_of(graph), absl_flags.FLAGS.output)
    print(f"{len(graph)} modules, no circle: {absl_flags.FLAGS.output}")


if __name__ == "__main__":
    flags.parse(define)
    flags.run(main)
