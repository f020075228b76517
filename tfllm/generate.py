r"""Continues texts with a causal language model.

    python -m tfllm.generate --model_dir=runs/gpt2_tiny \
        --prompt="Returns the" --max_new_tokens=50 --do_sample --top_p=0.9

A prompt from the command line is continued on standard output, token by token;
prompts from a file, one per line with all its spaces, as JSON lines in
--output_file. After a stop the same command continues the file.
"""

import codecs
import dataclasses
import hashlib
import json
import operator
import statistics
import sys
import time
from typing import Any

import tfllm.lean_keras  # noqa: F401

# isort: split
from absl import flags as absl_flags
from tqdm import tqdm

import tfllm
from tfllm import flags
from tfllm.evaluation.resumable_lines import ResumableLines
from tfllm.file_access import match_files
from tfllm.generation import GenerationConfig
from tfllm.interop import model_folder
from tfllm.prediction_jobs import in_batches, numbered_lines
from tfllm.tasks import CausalLM

FLAGS = absl_flags.FLAGS

# Fields that are lists of ids, comma-separated on the command line.
_LISTS = ("eos_token_id", "suppress_tokens", "begin_suppress_tokens")


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Generation")
    group.string("model_dir", "", "Model folder, or hub id.")
    group.string("draft_dir", "", "Folder of a much smaller model to propose.")
    group.string("prompt", None, "Text to continue.")
    group.string("prompt_file", "", "Text globs, one prompt per line.")
    group.string("output_file", "", "JSON lines, for --prompt_file.")
    group.integer("batch_size", 8, "Prompts of a file at a time.")
    group.boolean(
        "overwrite", False, "Drop an unfinished --output_file of other flags."
    )
    group = flags.Group("GenerationConfig [default: as in the folder]")
    for field in dataclasses.fields(GenerationConfig):
        text = f"See tfllm.generation.GenerationConfig [{field.default!r}]."
        if field.name in _LISTS or field.name == "bad_words_ids":
            group.string(field.name, None, f"Ids, e.g. 1,2. {text}")
        elif field.name == "stop_strings":
            group.names.append(field.name)
            absl_flags.DEFINE_multi_string(field.name, None, text)
        elif field.name == "early_stopping":
            group.string(field.name, None, f"true, false or never. {text}")
        elif isinstance(field.default, bool):
            group.names.append(field.name)
            absl_flags.DEFINE_bool(field.name, None, text)
        elif isinstance(field.default, float):
            group.names.append(field.name)
            absl_flags.DEFINE_float(field.name, None, text)
        else:
            group.integer(field.name, None, text)


def main() -> None:
    """Generates what the flags say."""
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
    if not FLAGS.batch_size:
        raise ValueError("`batch_size` must be at least 1. Received: 0")
    options = given_options()
    task = load(FLAGS.model_dir, "model_dir")
    draft = load(FLAGS.draft_dir, "draft_dir") if FLAGS.draft_dir else None
    start = time.perf_counter()
    times: list[float] = []
    if FLAGS.prompt_file:
        count = write_file(task, draft, options)
    else:
        count = show(task, draft, options, times)
    seconds = time.perf_counter() - start
    report = f"{count} tokens, {count / seconds:.1f} per second"
    if len(times) > 1:
        # The median, because the first ones wait for compilation.
        rate = 1.0 / statistics.median(map(operator.sub, times[1:], times))
        report += f", {rate:.1f} once compiled"
    if draft is not None and count:
        report += f", {_rate(task)} of the draft's kept"
    print(report, file=sys.stderr)


def given_options() -> dict[str, Any]:
    """Returns the fields of GenerationConfig that the command line sets."""
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


def load(folder: str, flag: str) -> CausalLM:
    """Returns the causal model of a folder, with its tokenizer."""
    task = model_folder.load(folder)
    if not isinstance(task, CausalLM):
        raise ValueError(
            f"`{flag}` must hold a causal language model. Received: {folder}, "
            f"a {type(task).__name__}; it fills masks with tfllm.predict."
        )
    if task.text is None:
        raise ValueError(
            f"`{flag}` must hold a tokenizer. Received: {folder}, without "
            "tokenizer.json and vocab.json. Copy them from the model."
        )
    return task


def show(
    task: CausalLM,
    draft: CausalLM | None,
    options: dict[str, Any],
    times: list[float],
) -> int:
    """Prints the continuations of --prompt; returns the number of tokens.

    Args:
        task: Generates.
        draft: Proposes, or None.
        options: Fields of GenerationConfig.
        times: Gets the second at which each token came, if they come one by
            one.
    """
    assert task.text is not None
    config = task.text.config_of(task, **options)
    alone = (
        draft is None
        and config.num_beams == 1
        and not config.penalty_alpha
        and config.num_return_sequences == 1
    )
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    prompt = FLAGS.prompt
    # With the first token, when nothing can be wrong any more; but it waits
    # for the second, until when XLA compiles and says so in between.
    held = [prompt]

    def stream(_: int, new: bytes) -> None:
        times.append(time.perf_counter())
        held.append(decoder.decode(new))
        if len(times) > 1:
            flush()

    def flush() -> None:
        print("".join(held), end="", flush=True)
        held.clear()

    if alone:
        (found,) = task.text(task, [prompt], stream=stream, **options)
        flush()
        print(decoder.decode(b"", final=True))
    else:
        (found,) = task.text(task, [prompt], draft, **options)
        for continuation in found:
            print(f"{prompt}{continuation.text}")
    return sum(len(c.token_ids) for c in found)


def read_prompts() -> dict[str, str]:
    """Returns the prompts of --prompt_file, by the lines they stand on.

    Raises:
        ValueError: There is none, or a line is blank or not UTF-8.
    """
    files = match_files(FLAGS.prompt_file, "prompt_file")
    prompts = dict(numbered_lines(files))
    if not prompts:
        raise ValueError(
            "`prompt_file` must hold at least one prompt. Received: no text "
            f"in {', '.join(files)}"
        )
    for place, prompt in prompts.items():
        if not prompt.strip():
            raise ValueError(
                "`prompt_file` must hold a prompt on each line. "
                f"Received: {place} is blank. Delete it."
            )
    return prompts


def write_file(
    task: CausalLM, draft: CausalLM | None, options: dict[str, Any]
) -> int:
    """Writes the continuations of --prompt_file; returns their tokens.

    The same command goes on where a process stopped.
    """
    assert task.text is not None
    named = read_prompts()
    task.text.check(task, named, draft, **options)
    prompts = list(named.values())
    copies = task.text.config_of(task, **options).num_return_sequences
    count = 0
    with (
        ResumableLines(
            FLAGS.output_file,
            settings(prompts, options),
            FLAGS.batch_size * copies,
            FLAGS.overwrite,
        ) as lines,
        tqdm(total=len(prompts), desc="generating", unit=" prompts") as bar,
    ):
        done = lines.num_done // copies
        bar.update(done)
        for batch in in_batches(prompts[done:], FLAGS.batch_size):
            found = task.text(
                task, batch, draft, first_row=done * copies, **options
            )
            records = [
                {"prompt": prompt, **dataclasses.asdict(continuation)}
                for prompt, several in zip(batch, found, strict=True)
                for continuation in several
            ]
            lines.append([json.dumps(r, ensure_ascii=False) for r in records])
            count += sum(len(record["token_ids"]) for record in records)
            done += len(batch)
            bar.update(len(batch))
    return count


def settings(prompts: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """Returns what decides the results: flags, prompts, the models."""
    draft = FLAGS.draft_dir
    return {
        "version": tfllm.__version__,
        **{name: FLAGS[name].value for name in ("model_dir", "draft_dir")},
        "model": model_folder.stamps(FLAGS.model_dir),
        "draft": model_folder.stamps(draft) if draft else None,
        "batch_size": FLAGS.batch_size,
        "prompts": hashlib.sha256("\n".join(prompts).encode()).hexdigest(),
        **options,
    }


def _rate(task: CausalLM) -> str:
    """Returns the share of a draft's tokens that were kept, in percent."""
    assert task.text is not None
    rate = task.text.num_accepted / max(task.text.num_proposed, 1)
    return f"{100.0 * rate:.0f} %"


if __name__ == "__main__":
    define()
    flags.run(main)
