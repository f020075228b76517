"""The text of `--help`: description, example, flags by group."""

import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

_WIDTH = 79
# Type of an absl flag -> placeholder of its value.
_VALUES = {
    "int": "=N",
    "float": "=X",
    "string": "=TEXT",
    "comma separated list of strings": "=A,B,...",
    "multi string": "=TEXT",
}
_END = (
    "--flagfile=FILE reads flags from a file, one per line; flags after it on "
    "the command line win. --helpfull lists the flags of absl as well."
)


def render(
    description: str, groups: Mapping[str, Sequence[str]], flags: Any
) -> str:
    """Returns the help of a program.

    Args:
        description: Description of the program, with an example.
        groups: Title -> names of its flags, in order.
        flags: absl's FlagValues with these flags.
    """
    lines = [description.strip(), ""]
    for title, names in groups.items():
        lines.append(f"{title}:")
        for name in names:
            lines += _of_flag(flags[name])
        lines.append("")
    return "\n".join([*lines, *textwrap.wrap(_END, _WIDTH)])


def _of_flag(flag: Any) -> list[str]:
    """Returns the lines of one flag."""
    values = getattr(flag.parser, "enum_values", None)
    head = f"  --{flag.name}"
    if flag.boolean:
        head = f"  --[no]{flag.name}"
    elif values:
        shown = ",".join(value for value in values if value)
        head += f"={{{shown}}}"
    else:
        head += _VALUES[flag.flag_type()]
    # absl adds the choices of an enumeration, and how to give several values.
    text = flag.help.removeprefix(f"<{'|'.join(values or ())}>: ")
    text = text.split(";\n")[0] + _default(flag)
    return [
        head,
        *textwrap.wrap(
            text,
            _WIDTH,
            initial_indent="      ",
            subsequent_indent="      ",
            break_on_hyphens=False,
            break_long_words=False,
        ),
    ]


def _default(flag: Any) -> str:
    """Returns the sentence about the default; empty if the text has one."""
    default = flag.default
    if default is None or default == "" or default == []:
        return ""
    if "Default: " in flag.help:
        return ""
    if isinstance(default, bool):
        default = "on" if default else "off"
    elif isinstance(default, list):
        default = ",".join(map(str, default))
    elif isinstance(default, float):
        default = f"{default:g}"
    elif not re.search(r"\w", str(default)):
        default = f'"{default}"'
    return f" Default: {default}."


def attributes(config: type) -> dict[str, str]:
    """Returns field -> text from the docstring of a dataclass.

    Args:
        config: Dataclass whose docstring has a section `Attributes:` or
            `Args:`.
    """
    text = inspect.getdoc(config) or ""
    section = re.search(r"^(?:Attributes|Args):\n((?: .*\n?|\n)*)", text, re.M)
    entries = textwrap.dedent(section.group(1) if section else "")
    return {
        name: " ".join(words.split())
        for name, words in re.findall(
            r"^(\w+): ((?:.*\n?)(?: .*\n?)*)", entries, re.M
        )
    }
