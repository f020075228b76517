"""Fills [MASK] in texts with a pretrained model.

    echo "The function [MASK] a list." | \
        python -m tfllm.predict --model_dir=runs/bert_tiny

One text per line; each [MASK] gets the most probable tokens.
"""

import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Any

import tensorflow as tf
from absl import flags as absl_flags

from tfllm import flags
from tfllm.data.packing import pack_inputs
from tfllm.file_access import match_files, open_binary, write_atomically
from tfllm.interop import model_folder
from tfllm.tasks import MaskedLM
from tfllm.tokenizers import WordPieceTokenizer

FLAGS = absl_flags.FLAGS
MASK = "[MASK]"


def define() -> None:
    """Defines the flags."""
    group = flags.Group("Prediction")
    group.string("model_dir", "", "Model folder, or hub id.")
    group.string("input_files", "", "Text globs; default: standard input.")
    group.string("output_file", "", "JSON lines; default: readable text.")
    group.integer("batch_size", 32, "Texts at a time.")
    group.integer("top_k", 5, "Candidates per [MASK].")


def main() -> None:
    """Predicts what the flags say."""
    if not FLAGS.model_dir:
        raise ValueError("`model_dir` is needed. Received: nothing")
    for name in ("batch_size", "top_k"):
        if not FLAGS[name].value:
            raise ValueError(f"`{name}` must be at least 1. Received: 0")
    files = (
        match_files(FLAGS.input_files, "input_files")
        if (FLAGS.input_files)
        else []
    )
    task = model_folder.load(FLAGS.model_dir)
    if not isinstance(task, MaskedLM):
        raise ValueError(
            f"`model_dir` must hold a masked language model. Received: "
            f"{FLAGS.model_dir}, a {type(task).__name__}; it continues texts "
            "with tfllm.generate."
        )
    with model_folder.local_folder(FLAGS.model_dir) as folder:
        tokenizer = WordPieceTokenizer.from_file(
            str(folder), special_tokens_in_text=(MASK,)
        )
    predictor = FillMask(task, tokenizer, FLAGS.top_k)
    batches = in_batches(read_lines(files), FLAGS.batch_size)
    if FLAGS.output_file:
        with write_atomically(FLAGS.output_file) as file:
            write_predictions(predictor, batches, file, as_json=True)
    else:
        write_predictions(predictor, batches, sys.stdout, as_json=False)


class FillMask:
    """Most probable tokens for each [MASK].

    Args:
        task: A masked-language-model task.
        tokenizer: Its tokenizer, with [MASK] recognised in text.
        top_k: Candidates per [MASK].
    """

    def __init__(
        self, task: MaskedLM, tokenizer: WordPieceTokenizer, top_k: int = 5
    ) -> None:
        """See the class."""
        self.task = task
        self.tokenizer = tokenizer
        self.top_k = min(top_k, tokenizer.vocab_size)
        self._probabilities = tf.function(
            self._forward,
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    def __call__(self, texts: list[str]) -> list[list[list[dict[str, Any]]]]:
        """Returns the candidates: by text, by [MASK], best first.

        Raises:
            ValueError: A text has no [MASK], or it lies behind the longest
                sequence of the model.
        """
        for text in texts:
            if MASK not in text:
                raise ValueError(
                    f"a text needs at least one {MASK}. Received: {text!r}"
                )
        ids, probabilities, rows = (
            part.numpy() for part in self._probabilities(tf.constant(texts))
        )
        found: list[list[list[dict[str, Any]]]] = [[] for _ in texts]
        for row, slot_ids, slot in zip(rows, ids, probabilities, strict=True):
            found[row].append(
                [
                    {
                        "token": self.tokenizer.id_to_token(int(token_id)),
                        "token_id": int(token_id),
                        "score": float(score),
                    }
                    for token_id, score in zip(slot_ids, slot, strict=True)
                ]
            )
        for text, slots in zip(texts, found, strict=True):
            if len(slots) != text.count(MASK):
                raise ValueError(
                    "a text is longer than the model's "
                    f"{self.task.config.max_length} tokens. Received: "
                    f"{text[:80]!r}..."
                )
        return found

    def _forward(self, texts: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns top ids, their probabilities and their rows, per mask."""
        length = self.task.config.max_length
        assert length is not None
        inputs = pack_inputs(
            [self.tokenizer.tokenize(texts)],
            length,
            self.tokenizer.cls_id,
            self.tokenizer.sep_id,
            self.tokenizer.pad_id,
            pad_to_longest=True,
        )
        where = tf.where(inputs["token_ids"] == self.tokenizer.mask_id)
        logits = self.task(inputs, training=False)["mlm"]
        top = tf.math.top_k(
            tf.nn.softmax(tf.gather_nd(logits, where)), k=self.top_k
        )
        return top.indices, top.values, where[:, 0]


def read_lines(paths: list[str]) -> Iterator[str]:
    """Yields the lines that are not blank, of files or standard input.

    Raises:
        ValueError: A line is not UTF-8; or there is none.
    """
    count = 0
    for path in paths or ["standard input"]:
        with open_binary(path) if paths else sys.stdin.buffer as file:
            for number, line in enumerate(file, 1):
                try:
                    text = line.decode("utf-8").strip()
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{path}, line {number} is not UTF-8: {error.reason}"
                    ) from error
                if text:
                    count += 1
                    yield text
    if not count:
        raise ValueError(
            "`input_files` must hold at least one line of text. Received: "
            f"only blank text in {', '.join(paths) or 'standard input'}"
        )


def in_batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yields lists of `size` texts; the last may be shorter."""
    texts = iter(texts)
    while batch := list(itertools.islice(texts, size)):
        yield batch


def write_predictions(
    predictor: FillMask,
    batches: Iterable[list[str]],
    file: IO[str],
    as_json: bool,
) -> None:
    """Writes the candidates of each text, in the order of the input."""
    for texts in batches:
        for text, slots in zip(texts, predictor(texts), strict=True):
            file.write(
                _as_json(text, slots) if as_json else _shown(text, slots)
            )
        file.flush()


def _as_json(text: str, slots: list[list[dict[str, Any]]]) -> str:
    """Returns the candidates of one text as a JSON line."""
    record = {"text": text, "masks": slots}
    return json.dumps(record, ensure_ascii=False) + "\n"


def _shown(text: str, slots: list[list[dict[str, Any]]]) -> str:
    """Returns the candidates of one text for people."""
    lines = [text]
    for slot in slots:
        shown = "  ".join(f"{c['token']} {c['score']:.3f}" for c in slot)
        lines.append(f"    {MASK}: {shown}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    define()
    flags.run(main)
