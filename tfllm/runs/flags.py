"""Command lines: flag files, short grouped help, one-line errors.

The verb or tool that defines a flag reads it once, into a typed config; no
other code reads flags.
"""

import dataclasses
import errno
import logging
import os
import sys
import traceback
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias

from absl import app
from absl import flags as absl_flags
from absl import logging as absl_logging

from tfllm import file_access
from tfllm.runs import flag_help

PACKAGE = Path(__file__).resolve().parents[1]
# Folder of a checkout, and of the installed package.
CONFIG_FOLDERS = (PACKAGE.parent, PACKAGE)

# Messages of file systems in TensorFlow's UnknownError and others.
DISK_ERRORS = (
    "No space left on device",
    "Disk quota exceeded",
    "File too large",
    "Read-only file system",
    "Input/output error",
)

# Holds the value of a flag once the command line is parsed.
Holder: TypeAlias = absl_flags.FlagHolder
# Names of flags that hold paths, and suffixes of such names.
_PATH_FLAGS = ("init_from", "input", "model", "output", "tokenizer")
_PATH_ENDINGS = ("_dir", "_file", "_files", "_path")

# Title of a group -> names of its flags, in the order of definition.
_GROUPS: dict[str, list[str]] = {}


class Group:
    """Defines flags under one title of the help.

    Args:
        title: Title in `--help`.
    """

    def __init__(self, title: str) -> None:
        self.names = _GROUPS.setdefault(title, [])

    def fields(
        self,
        fields: "Mapping[str, dataclasses.Field[Any]]",
        texts: Mapping[str, str],
        choices: Mapping[str, Sequence[str]],
    ) -> None:
        """Defines flags for fields of dataclasses, by their types.

        Args:
            fields: Flag -> field, which has the default.
            texts: Flag -> help text, in the order of the help.
            choices: Flag -> its values, if there are only a few. A field of
                type Literal has them itself.
        """
        define: dict[Any, Callable[[str, Any, str], Holder]] = {
            bool: self.boolean,
            int: self.integer,
            float: self.number,
            str: self.string,
        }
        for name, text in texts.items():
            kind: Any = fields[name].type
            default: Any = fields[name].default
            if name in choices:
                self.choice(name, default, choices[name], text)
            elif typing.get_origin(kind) is Literal:
                self.choice(name, default, typing.get_args(kind), text)
            else:
                # int for `int | None`.
                define[(*typing.get_args(kind), kind)[0]](name, default, text)

    def string(self, name: str, default: str | None, text: str) -> Holder:
        """Defines a string."""
        self.names.append(name)
        return absl_flags.DEFINE_string(name, default, text)

    def integer(self, name: str, default: int | None, text: str) -> Holder:
        """Defines an integer that must not be negative."""
        self.names.append(name)
        return absl_flags.DEFINE_integer(name, default, text, lower_bound=0)

    def number(
        self,
        name: str,
        default: float | None,
        text: str,
        lower_bound: float | None = 0.0,
    ) -> Holder:
        """Defines a float flag whose value is at least `lower_bound`."""
        self.names.append(name)
        return absl_flags.DEFINE_float(
            name, default, text, lower_bound=lower_bound
        )

    def boolean(self, name: str, default: bool | None, text: str) -> Holder:
        """Defines --name and --noname."""
        self.names.append(name)
        return absl_flags.DEFINE_bool(name, default, text)

    def several(self, name: str, text: str) -> Holder:
        """Defines a string flag that may be repeated."""
        self.names.append(name)
        return absl_flags.DEFINE_multi_string(name, None, text)

    def choice(
        self, name: str, default: str | None, values: Sequence[str], text: str
    ) -> Holder:
        """Defines a choice among a few values."""
        self.names.append(name)
        return absl_flags.DEFINE_enum(name, default, list(values), text)


def parse(
    define: Callable[[], None], check: Callable[[], object] | None = None
) -> None:
    """Defines and parses the flags of a program.

    With --help it prints the help and exits; for wrong flags it prints one
    line and exits. A verb calls it before it imports TensorFlow.

    Args:
        define: Defines the flags.
        check: Raises ValueError for flags that are missing or contradict
            each other.
    """
    # TensorFlow's messages about the machine distract, and its errors are
    # raised as well. The variable brings them back.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    define()
    app.define_help_flags()
    argv = [sys.argv[0], *map(_locate_flagfile, sys.argv[1:])]
    if any(argument in ("--help", "-help", "-h") for argument in argv[1:]):
        _call(lambda: print(help_text(), flush=True))
        sys.exit(0)
    rest = _parse(argv)
    if rest[1:]:
        _fail(
            "only flags are taken: write --name=value, quote globs. "
            f"Received: {' '.join(rest[1:])}"
        )
    _call(_read_paths)
    if check is not None:
        _call(check)


def run(main: Callable[[], int | None]) -> None:
    """Calls main and exits; parses the flags unless `parse` has.

    An error of the user (ValueError, OSError, ...) ends the program with
    status 1 and one line. Any other error is a bug and shows its traceback.

    Args:
        main: Returns the exit status; None for 0.
    """
    if not absl_flags.FLAGS.is_parsed():
        parse(lambda: None)
    absl_logging.get_absl_handler().setFormatter(MessageFormatter())
    app.run(lambda _: _call(main), flags_parser=lambda argv: argv[:1])


class MessageFormatter(logging.Formatter):
    """Shows only the message, after `warning: ` or `error: `."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the message of a record."""
        message = super().format(record)
        if record.levelno < logging.WARNING:
            return message
        return f"{record.levelname.lower()}: {message}"


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; prints one line for wrong ones and exits.

    Returns:
        The arguments that are not flags, after the name of the program.
    """
    try:
        return absl_flags.FLAGS(argv)
    except UnicodeDecodeError:
        files = [a for a in argv if a.lstrip("-").startswith("flagfile=")]
        return _fail(f"a flag file must be UTF-8 text. Received: {files}")
    except (absl_flags.Error, ValueError, OSError) as error:
        return _fail(f"{_one_line(error)}. See --help for all flags")


def _call(main: Callable[[], Any]) -> Any:
    """Calls main; prints one line for an error of the user and exits."""
    try:
        return main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the output has closed it, as `head` does.
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


def _read_paths() -> None:
    """Expands `~` in the flags that hold paths.

    Raises:
        ValueError: A path names a file system that TensorFlow does not have.
    """
    # A list: a remote path imports TensorFlow, which defines flags of its own.
    for name in list(absl_flags.FLAGS):
        value = absl_flags.FLAGS[name].value
        is_path = name in _PATH_FLAGS or name.endswith(_PATH_ENDINGS)
        if is_path and isinstance(value, str):
            absl_flags.FLAGS[name].value = file_access.expand(value)
            for path in filter(file_access.is_remote, file_access.split(value)):
                file_access.check_scheme(path)


def _is_interrupted(error: BaseException | None) -> bool:
    """Returns whether Ctrl-C caused an error, such as one of TensorFlow."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _fail(message: str) -> NoReturn:
    """Prints one line to standard error and exits with status 1."""
    sys.stdout.flush()
    print(f"error: {message}", file=sys.stderr)
    sys.exit(1)


def _one_line(error: BaseException) -> str:
    """Returns the message of an error, naming the file of an OSError."""
    if isinstance(error, OSError) and error.strerror:
        reason = error.strerror
        if error.errno == errno.ENOSPC:
            reason = "the disk is full"
        # In a rename the second name is the user's.
        name = error.filename2 or error.filename or "a file"
        return f"{name}: {reason}"
    return " ".join(str(error).split())


def _input_error(error: BaseException) -> str | None:
    """Returns one line for TensorFlow's own errors about files and data.

    tf.data puts the errors of our readers into a longer text; gfile raises its
    own classes, not OSError.

    Args:
        error: Any error.

    Returns:
        The line; None if the error is not about files and data.
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
    """Returns --flagfile with the path of a shipped file, if it is one."""
    for prefix in ("--flagfile=", "-flagfile="):
        if argument.startswith(prefix):
            path = Path(argument.removeprefix(prefix)).expanduser()
            if path.exists():
                return argument
            for folder in CONFIG_FOLDERS:
                if (folder / path).exists():
                    return f"{prefix}{folder / path}"
            shipped = sorted(
                f"configs/{file.name}"
                for folder in CONFIG_FOLDERS
                for file in (folder / "configs").glob("*.flags")
            )
            print(
                f"error: `flagfile` {path} does not exist. Shipped are: "
                f"{', '.join(dict.fromkeys(shipped))}",
                file=sys.stderr,
            )
            sys.exit(1)
    return argument


def help_text() -> str:
    """Returns the help text of the running program."""
    groups = {title: names for title, names in _GROUPS.items() if names}
    if not groups:
        program_flags = absl_flags.FLAGS.get_flags_for_module(sys.argv[0])
        groups = {"Flags": [flag.name for flag in program_flags]}
    description = sys.modules["__main__"].__doc__ or ""
    return flag_help.render(description, groups, absl_flags.FLAGS)
