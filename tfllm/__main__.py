"""Lists and calls the verbs: `tfllm VERB ...` is `python -m tfllm.VERB ...`.

tfllm train --flagfile=configs/bert_tiny_pretrain.flags
tfllm predict --help
python -m tfllm --version
"""

import ast
import difflib
import pathlib
import runpy
import sys

from tfllm.version import __version__

# In the order of the straight path from text to a served model.
VERBS = ("train", "evaluate", "predict", "generate", "export", "serve")
PACKAGE = pathlib.Path(__file__).parent


def main() -> int:
    """Calls the verb that the command line names.

    Returns:
        Exit status: 0 for help, which is also that of no verb, and version; 2
        for a wrong verb. A verb exits with its own.
    """
    verb, *arguments = sys.argv[1:] or [""]
    if verb in ("", "--help", "-help", "-h", "help"):
        print(help_text())
        return 0
    if verb == "--version":
        print(f"tfllm {__version__}")
        return 0
    if verb not in VERBS:
        print(f"error: {complaint(verb)}", file=sys.stderr)
        return 2
    sys.argv[1:] = arguments
    # As `python -m` does: the verb is `__main__`, with its own docstring.
    runpy.run_module(f"tfllm.{verb}", run_name="__main__", alter_sys=True)
    return 0


def help_text() -> str:
    """Returns the list of verbs."""
    lines = [f"  {verb:<10}{summary(verb)}" for verb in VERBS]
    return "\n".join(
        [
            "Language models for TensorFlow, from raw text to serving.",
            "",
            "Usage: tfllm VERB [--name=value ...]",
            "       python -m tfllm.VERB [--name=value ...]",
            "",
            "Verbs:",
            *lines,
            "",
            "tfllm VERB --help lists the flags of a verb; tfllm --version "
            "prints the version.",
        ]
    )


def summary(verb: str) -> str:
    """Returns the first line of a verb's docstring, without importing it."""
    source = (PACKAGE / f"{verb}.py").read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(source)) or ""
    return docstring.split("\n", 1)[0]


def complaint(verb: str) -> str:
    """Returns what is wrong with a verb that does not exist."""
    rule = f"the first argument must be one of {', '.join(VERBS)}."
    if verb.startswith("-"):
        return f"{rule} Received: {verb!r}. Flags follow the verb"
    near = difflib.get_close_matches(verb.lower(), VERBS, n=1, cutoff=0.0)[0]
    return f"{rule} Received: {verb!r}. Did you mean {near!r}?"


if __name__ == "__main__":
    sys.exit(main())
