r"""Generates texts: those that follow prompts, or those for sources.

    python -m tfllm.generate --model_dir=runs/gpt2_tiny \
        --prompt="Returns the" --max_new_tokens=50 --do_sample --top_p=0.9

A causal language model continues the prompt; an encoder-decoder writes the text
for it as the source. Streams the text for --prompt to standard output. For
--prompt_file, with one prompt per line, it writes JSON lines to --output_file;
the same command resumes a file that was interrupted. Spaces in prompts count.
"""

import codecs
import dataclasses
import hashlib
import json
import operator
import statistics
import sys
import time
from typing import Any, cast

from absl import flags as absl_flags

from tfllm.runs import flags, generate_flags
from tfllm.version import __version__

if __name__ == "__main__":
    # --help and wrong flags end here: TensorFlow takes seconds to import.
    flags.parse(generate_flags.define, generate_flags.read)

import tfllm.lean_keras  # noqa: F401

# isort: split
from tqdm import tqdm

from tfllm.file_access import match_files
from tfllm.interop import model_folder
from tfllm.prediction.jobs import in_batches, numbered_lines
from tfllm.prediction.resumable_lines import ResumableLines
from tfllm.tasks.text_generation import GeneratingTask, TextGeneration

FLAGS = absl_flags.FLAGS


def main() -> None:
    """Generates what the flags say."""
    options = generate_flags.read()
    task, text = load(FLAGS.model_dir, "model_dir")
    draft = load(FLAGS.draft_dir, "draft_dir")[0] if FLAGS.draft_dir else None
    start = time.perf_counter()
    times: list[float] = []
    if FLAGS.prompt_file:
        count = write_file(text, draft, options)
    else:
        count = show(text, draft, options, times)
    seconds = time.perf_counter() - start
    report = f"{count} tokens, {count / seconds:.1f} per second"
    if len(times) > 1:
        # The median, because the first ones wait for compilation.
        rate = 1.0 / statistics.median(map(operator.sub, times[1:], times))
        report += f", {rate:.1f} once compiled"
    if draft is not None and count:
        report += f", {acceptance_rate(text)} of the draft's kept"
    print(report, file=sys.stderr)


def load(folder: str, flag: str) -> tuple[GeneratingTask, TextGeneration]:
    """Loads a model that generates.

    Args:
        folder: Model folder or hub id.
        flag: Name of the flag of `folder`, for errors.

    Returns:
        The task, and its text generation.

    Raises:
        ValueError: The model does not generate, or has no tokenizer.
    """
    task = model_folder.load(folder)
    if not task.generates:
        raise ValueError(
            f"`{flag}` must hold a model that generates text. Received: "
            f"{folder}, a {type(task).__name__}; use tfllm.predict."
        )
    generating = cast(GeneratingTask, task)
    if generating.text is None:
        raise ValueError(
            f"`{flag}` must hold a tokenizer. Received: {folder}, without "
            "tokenizer.json and vocab.json. Copy them from the model."
        )
    return generating, generating.text


def show(
    text: TextGeneration,
    draft: GeneratingTask | None,
    options: dict[str, Any],
    times: list[float],
) -> int:
    """Prints the texts for --prompt; returns the number of tokens.

    Args:
        text: Text generation of the model.
        draft: Draft model that proposes tokens, or None.
        options: Fields of GenerationConfig.
        times: Filled with the time of each token, if tokens are streamed.
    """
    config = text.config_for(**options)
    is_streamed = (
        draft is None
        and config.num_beams == 1
        and not config.penalty_alpha
        and config.num_return_sequences == 1
    )
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    prompt = FLAGS.prompt
    shown = prompt if text.prompts.goes_on else ""
    # The prompt is printed with the second token: errors come before the
    # first one, and XLA logs its compilation between the two.
    pending = [shown]

    def stream(_: int, new: bytes) -> None:
        times.append(time.perf_counter())
        pending.append(decoder.decode(new))
        if len(times) > 1:
            flush()

    def flush() -> None:
        print("".join(pending), end="", flush=True)
        pending.clear()

    if is_streamed:
        (continuations,) = text([prompt], stream=stream, **options)
        flush()
        print(decoder.decode(b"", final=True))
    else:
        (continuations,) = text([prompt], draft, **options)
        for continuation in continuations:
            print(f"{shown}{continuation.text}")
    return sum(len(c.token_ids) for c in continuations)


def read_prompts() -> dict[str, str]:
    """Reads --prompt_file.

    Returns:
        Place of a line -> prompt.

    Raises:
        ValueError: There is no prompt, or a line is blank or not UTF-8.
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
    text: TextGeneration, draft: GeneratingTask | None, options: dict[str, Any]
) -> int:
    """Writes the texts for --prompt_file; returns their tokens.

    Resumes an output file that the same command did not finish.

    Args:
        text: Text generation of the model.
        draft: Draft model that proposes tokens, or None.
        options: Fields of GenerationConfig.
    """
    named = read_prompts()
    text.check(named, draft, **options)
    prompts = list(named.values())
    copies = text.config_for(**options).num_return_sequences
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
            continued = text(batch, draft, first_row=done * copies, **options)
            records = [
                {"prompt": prompt, **dataclasses.asdict(continuation)}
                for prompt, of_prompt in zip(batch, continued, strict=True)
                for continuation in of_prompt
            ]
            lines.append([json.dumps(r, ensure_ascii=False) for r in records])
            count += sum(len(record["token_ids"]) for record in records)
            done += len(batch)
            bar.update(len(batch))
    return count


def settings(prompts: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """Returns what the results depend on: flags, prompts, models."""
    draft = FLAGS.draft_dir
    return {
        "version": __version__,
        **{name: FLAGS[name].value for name in ("model_dir", "draft_dir")},
        "model": model_folder.stamps(FLAGS.model_dir),
        "draft": model_folder.stamps(draft) if draft else None,
        "batch_size": FLAGS.batch_size,
        "prompts": hashlib.sha256("\n".join(prompts).encode()).hexdigest(),
        **options,
    }


def acceptance_rate(text: TextGeneration) -> str:
    """Returns the share of the draft's tokens that were kept, in percent."""
    rate = text.num_accepted / max(text.num_proposed, 1)
    return f"{100.0 * rate:.0f} %"


if __name__ == "__main__":
    flags.run(main)
