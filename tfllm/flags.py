"""Command lines: flag files, short grouped help, one-line errors.

A flag is defined by the verb or tool that reads it, and read only there, at
once, into a typed config.
"""

import dataclasses
import errno
import os
import sys
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app
from absl import flags as absl_flags

PACKAGE = Path(__file__).resolve().parent
# In a checkout and in the installed package.
CONFIG_FOLDERS = (PACKAGE.parent, PACKAGE)

# What a file system says through TensorFlow's UnknownError and others.
DISK_ERRORS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "Read-only file system",
    "Input/output error",
)

# Title of a group -> names of its flags, in the order of definition.
_GROUPS: dict[str, list[str]] = {}


class Group:
    """Defines flags under one title of the help.

    Args:
        title: Title in `--help`.
    """

    def __init__(self, title: str) -> None:
        """See the class."""
        self.names = _GROUPS.setdefault(title, [])

    def fields(
        self,
        config: type,
        texts: Mapping[str, str],
        choices: Mapping[str, Sequence[str]],
        unset: bool = False,
    ) -> None:
        """Defines flags for fields of a dataclass, by their types.

        Args:
            config: The dataclass; its defaults are those of the flags.
            texts: Name -> help, in the order of the help.
            choices: Values of the names that have only a few.
            unset: Give the flags no defaults.
        """
        fields = {field.name: field for field in dataclasses.fields(config)}
        define: dict[Any, Callable[[str, Any, str], None]] = {
            bool: self.boolean,
            int: self.integer,
            float: self.number,
            str: self.string,
        }
        for name, text in texts.items():
            default: Any = None if unset else fields[name].default
            if name in choices:
                self.choice(name, default, choices[name], text)
                continue
            kind = fields[name].type
            # Of `int | None`, int.
            define[(*typing.get_args(kind), kind)[0]](name, default, text)

    def string(self, name: str, default: str | None, text: str) -> None:
        """Defines a string."""
        self.names.append(name)
        absl_flags.DEFINE_string(name, default, text)

    def integer(self, name: str, default: int | None, text: str) -> None:
        """Defines an integer that must not be negative."""
        self.names.append(name)
        absl_flags.DEFINE_integer(name, default, text, lower_bound=0)

    def number(self, name: str, default: float | None, text: str) -> None:
        """Defines a float that must not be negative."""
        self.names.append(name)
        absl_flags.DEFINE_float(name, default, text, lower_bound=0.0)

    def boolean(self, name: str, default: bool | None, text: str) -> None:
        """Defines --name and --noname."""
        self.names.append(name)
        absl_flags.DEFINE_bool(name, default, text)

    def choice(
        self, name: str, default: str | None, values: Sequence[str], text: str
    ) -> None:
        """Defines a choice among a few values."""
        self.names.append(name)
        absl_flags.DEFINE_enum(name, default, list(values), text)


def run(main: Callable[[], int | None]) -> None:
    """Parses the command line, calls main and exits.

    An error that a user can mend (ValueError, OSError, ...) ends the
    program with status 1 and one line; anything else is a bug and shows its
    traceback.

    Args:
        main: Called when all arguments are flags, and parsed; returns the
            exit status, None for 0.
    """
    argv = [sys.argv[0], *map(_locate_flagfile, sys.argv[1:])]
    if any(argument in ("--help", "-help", "-h") for argument in argv[1:]):
        print(help_text())
        sys.exit(0)
    app.run(lambda rest: _call(main, rest), argv=argv, flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; one line for those that are wrong."""
    try:
        return absl_flags.FLAGS(argv)
    except UnicodeDecodeError:
        files = [a for a in argv if a.lstrip("-").startswith("flagfile=")]
        return _fail(f"a flag file must be UTF-8 text. Received: {files}")
    except (absl_flags.Error, ValueError, OSError) as error:
        return _fail(f"{_one_line(error)}. See --help for all flags")


def _call(main: Callable[[], int | None], rest: list[str]) -> int | None:
    """Returns what main returns; turns errors of the user into one line.

    Args:
        main: Takes nothing.
        rest: What was left of the command line: the name of the program.
    """
    try:
        if rest[1:]:
            raise ValueError(
                "only flags are taken: write --name=value, quote globs. "
                f"Received: {' '.join(rest[1:])}"
            )
        return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        if os.environ.get("TFLLM_TRACEBACK"):
            traceback.print_exc()
        _fail(_one_line(error))
    except Exception as error:
        if _is_interrupted(error):
            print("interrupted", file=sys.stderr)
            sys.exit(130)
        message = _input_error(error)
        if message is None:
            raise
        if os.environ.get("TFLLM_TRACEBACK"):
            traceback.print_exc()
        _fail(message)


def _is_interrupted(error: BaseException | None) -> bool:
    """Whether an error came of Ctrl-C: TensorFlow may fail while it unwinds."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _fail(message: str) -> NoReturn:
    """Exits with status 1 and one line on standard error."""
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def _one_line(error: BaseException) -> str:
    """Returns the message of an error, naming the file of an OSError."""
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
        if error.errno == errno.ENOSPC:
            reason = "the disk is full"
        return f"{error.filename or 'a file'}: {reason}"
    return " ".join(str(error).split())


def _input_error(error: BaseException) -> str | None:
    """Returns one line for TensorFlow's own errors about files and data.

    tf.data raises what our readers raised inside a longer text; gfile
    raises its own classes instead of OSError.
    """
    kind = type(error).__name__
    text = str(error)
    if any(reason in text for reason in DISK_ERRORS):
        return " ".join(text.split())[:500]
    if kind in ("InvalidArgumentError", "UnknownError"):
        for line in text.splitlines():
            for name in ("ValueError: ", "OSError: "):
                if name in line:
                    return line.split(name, 1)[1].strip()
        return None
    if kind in (
        "NotFoundError",
        "PermissionDeniedError",
        "FailedPreconditionError",
        "ResourceExhaustedError",
        "DataLossError",
    ):
        return text.splitlines()[0]
    return None


def _locate_flagfile(argument: str) -> str:
    """Points --flagfile at the shipped file if there is none here."""
    for prefix in ("--flagfile=", "-flagfile="):
        if argument.startswith(prefix):
            path = Path(argument.removeprefix(prefix)).expanduser()
            if path.exists():
                return argument
            for folder in CONFIG_FOLDERS:
                if (folder / path).exists():
                    return f"{prefix}{folder / path}"
            shipped = sorted(
                f"configs/{found.name}"
                for folder in CONFIG_FOLDERS
                for found in (folder / "configs").glob("*.flags")
            )
            print(
                f"error: `flagfile` {path} does not exist. Shipped are: "
                f"{', '.join(dict.fromkeys(shipped))}",
                file=sys.stderr,
            )
            sys.exit(1)
    return argument


def help_text() -> str:
    """Returns the help: what the program is, then its flags by group."""
    main = sys.modules["__main__"]
    lines = [(main.__doc__ or "").strip(), ""]
    groups = {title: names for title, names in _GROUPS.items() if names}
    if not groups:
        own = absl_flags.FLAGS.get_flags_for_module(sys.argv[0])
        groups = {"Flags": [flag.name for flag in own]}
    for title, names in groups.items():
        lines.append(f"{title}:")
        for name in names:
            flag = absl_flags.FLAGS[name]
            default = flag.default
            shown = "" if default in (None, "", False) else f" [{default}]"
            values = getattr(flag.parser, "enum_values", None)
            if values:
                shown = f" {{{','.join(values)}}}{shown}"
            lines.append(f"  --{name}{shown}")
            # absl writes the choices of an enumeration there once more.
            text = flag.help.removeprefix(f"<{'|'.join(values or ())}>: ")
            lines.append(f"      {text}")
        lines.append("")
    lines.append(
        "Any flag can stand in a file given with --flagfile=FILE; the "
        "command line wins."
    )
    return "\n".join(lines)
