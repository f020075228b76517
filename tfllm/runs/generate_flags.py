"""The flags of the generate verb."""

import dataclasses
import re
from typing import Any

from absl import flags as absl_flags

from tfllm import file_access
from tfllm.generation import GENERATION_CONFIG_FILE, GenerationConfig
from tfllm.runs import flag_help, flags

FLAGS = absl_flags.FLAGS

# Fields that are lists of ids, comma-separated on the command line.
_LISTS = ("eos_token_id", "suppress_tokens", "begin_suppress_tokens")
# Forms of fields that are neither numbers nor switches.
_FORMS = {
    **dict.fromkeys(_LISTS, "Comma-separated, such as 1,2."),
    "bad_words_ids": "Commas stand between the ids of a sequence, semicolons "
    "between sequences, as in 1,2;7.",
    "stop_strings": "The flag may be given several times.",
    "early_stopping": "One of true, false and never.",
}


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Model and prompts")
    group.string(
        "model_dir",
        "",
        "Folder of a model that generates text, or its id on the Hugging Face "
        "hub. Needed.",
    )
    group.string(
        "prompt",
        None,
        "Text to continue on standard output, or source of an "
        "encoder-decoder. Needed, unless --prompt_file is given.",
    )
    group.string(
        "prompt_file",
        "",
        "Text files with one prompt per line: paths and globs, "
        "comma-separated. Needed, unless --prompt is given.",
    )
    group.string(
        "output_file",
        "",
        "File for the texts that --prompt_file gives, as JSON lines. The same "
        "command resumes an unfinished file. Needed with --prompt_file.",
    )
    group.boolean(
        "overwrite",
        False,
        "Replace an unfinished --output_file of other flags.",
    )
    group.integer(
        "batch_size", 8, "Number of prompts of --prompt_file at a time."
    )
    group.string(
        "draft_dir",
        "",
        "Folder of a much smaller model with the same tokenizer that proposes "
        "tokens, which makes generation faster. Default: none.",
    )
    group = flags.Group(
        "How to choose tokens, and when to stop (a folder's defaults are in "
        f"its {GENERATION_CONFIG_FILE})"
    )
    texts = flag_help.attributes(GenerationConfig)
    for field in dataclasses.fields(GenerationConfig):
        text = " ".join(
            [
                # Names of other fields become flags.
                re.sub(r"`(\w+)`", r"--\1", texts[field.name]),
                *filter(None, [_FORMS.get(field.name)]),
                f"Default: the folder's, else {_shown(field.default)}.",
            ]
        )
        if field.name == "stop_strings":
            group.several(field.name, text)
        elif field.name in _FORMS:
            group.string(field.name, None, text)
        elif isinstance(field.default, bool):
            group.boolean(field.name, None, text)
        elif isinstance(field.default, float):
            group.number(field.name, None, text, lower_bound=None)
        else:
            group.integer(field.name, None, text)


def _shown(default: Any) -> str:
    """Returns the default of a field for the help."""
    if default is None or default == ():
        return "none"
    return str(default).lower()


def read() -> dict[str, Any]:
    """Returns the fields of GenerationConfig that the command line sets.

    Raises:
        ValueError: Flags are missing, or contradict each other.
    """
    if not FLAGS.model_dir:
        raise ValueError("`model_dir` is needed. Received: nothing")
    if (FLAGS.prompt is None) == (not FLAGS.prompt_file):
        raise ValueError(
            "give one of `prompt` and `prompt_file`. Received: "
            f"prompt={FLAGS.prompt!r}, prompt_file={FLAGS.prompt_file!r}"
        )
    if bool(FLAGS.prompt_file) != bool(FLAGS.output_file):
        raise ValueError(
            "`prompt_file` and `output_file` go together. Received: "
            f"prompt_file={FLAGS.prompt_file!r}, "
            f"output_file={FLAGS.output_file!r}"
        )
    if FLAGS.output_file:
        file_access.check_output_file(FLAGS.output_file, "output_file")
    if not FLAGS.batch_size:
        raise ValueError("`batch_size` must be at least 1. Received: 0")
    options: dict[str, Any] = {}
    for field in dataclasses.fields(GenerationConfig):
        value = FLAGS[field.name].value
        if value is None:
            continue
        if field.name in _LISTS:
            value = _ids(field.name, value)
        elif field.name == "bad_words_ids":
            value = [_ids(field.name, part) for part in value.split(";")]
        elif field.name == "early_stopping":
            value = {"true": True, "false": False}.get(value.lower(), value)
        options[field.name] = value
    return options


def _ids(name: str, text: str) -> list[int]:
    """Returns comma-separated ids."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be ids, such as 1,2. Received: {text!r}"
        ) from error
