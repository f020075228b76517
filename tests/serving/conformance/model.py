"""The model that the conformance suite asks for.

    python -m tests.serving.conformance.model BASE

writes BASE/1, BASE/2, models.config and monitoring.config for a server
elsewhere, which sees BASE under the same path. Only core ops: every
TensorFlow Serving loads it.
"""

import pathlib
import sys
from typing import Any

import tensorflow as tf

from tfllm.serving.graph.checked_inputs import checked

TEXTS = [tf.TensorSpec([None], tf.string, name="text")]
EXAMPLES = [tf.TensorSpec([None], tf.string, name="inputs")]

_TEXT = {"text": (tf.string, [None])}
_LENGTHS = {"lengths": (tf.int32, [None])}
_IDS = {"token_ids": (tf.int32, [None, None])}
# Inputs as the exports of all kinds of task have them, checked in the graph as
# there: fill-mask, text generation (at once, sampled, streamed), labels and
# numbers and vectors and tags of texts and of pairs, answers to questions,
# choices.
TASK_INPUTS: dict[str, dict[str, tuple[tf.DType, list[None]]]] = {
    "task_text": _TEXT,
    "task_pair": {**_TEXT, "text_pair": (tf.string, [None])},
    "task_question": {
        "question": (tf.string, [None]),
        "context": (tf.string, [None]),
    },
    "task_examples": {"inputs": (tf.string, [None])},
    "task_ids": {**_IDS, "segment_ids": (tf.int32, [None, None]), **_LENGTHS},
    "task_decoder_ids": {**_IDS, **_LENGTHS},
    "task_choices": {**_TEXT, "choices": (tf.string, [None, None])},
    "task_choice_ids": {
        "token_ids": (tf.int32, [None, None, None]),
        "lengths": (tf.int32, [None, None]),
    },
    "task_sample": {
        **_TEXT,
        "seed": (tf.int64, [None]),
        "temperature": (tf.float32, [None]),
    },
    "task_stream": {**_TEXT, "so_far": (tf.int32, [None, None]), **_LENGTHS},
}


def _task(inputs: dict[str, tuple[tf.DType, list[None]]]) -> Any:
    """Returns a function that counts the rows of its inputs."""
    specs = {
        name: tf.TensorSpec(shape, dtype, name)
        for name, (dtype, shape) in inputs.items()
    }

    def count(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        sizes = [tf.shape(t)[:1] for t in checked(specs, tensors).values()]
        return {"rows": tf.fill(sizes[0], tf.size(sizes))}

    return tf.function(
        count, input_signature=list(specs.values()), autograph=False
    )


def _score(text: tf.Tensor, version: int) -> tf.Tensor:
    """Any two numbers that depend on the text and the version."""
    length = tf.cast(tf.strings.length(text, "BYTE"), tf.float32)
    return tf.stack([length / 8, length * 0.1 + version], axis=1)


def _texts_of(examples: tf.Tensor) -> tf.Tensor:
    features = {"text": tf.io.FixedLenFeature([], tf.string, "")}
    return tf.io.parse_example(examples, features)["text"]


class Model(tf.Module):
    """One signature per thing that a server can get wrong."""

    def __init__(self, version: int) -> None:
        super().__init__()
        self.version = version
        self.weight = tf.Variable(2.0)

    @tf.function(input_signature=TEXTS)
    def default(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "length": tf.strings.length(text, "BYTE"),
            "upper": tf.strings.upper(text, "utf-8"),
            "score": _score(text, self.version),
        }

    @tf.function(input_signature=TEXTS)
    def one_output(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"length": tf.strings.length(text, "BYTE")}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="text"),
            tf.TensorSpec([None], tf.string, name="text_pair"),
        ]
    )
    def pair(self, text: tf.Tensor, text_pair: tf.Tensor) -> dict:
        return {"joined": tf.strings.join([text, text_pair], " | ")}

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.float32, name="x")]
    )
    def numbers(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x * self.weight}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.int64, name="ids"),
            tf.TensorSpec([None], tf.int32, name="lengths"),
            tf.TensorSpec([None], tf.bool, name="flag"),
        ]
    )
    def ids(self, ids: tf.Tensor, lengths: tf.Tensor, flag: tf.Tensor) -> dict:
        return {"ids": ids + 1, "lengths": lengths, "flag": ~flag}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="raw")])
    def raw(self, raw: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"same_bytes": tf.identity(raw)}

    @tf.function(input_signature=TEXTS)
    def scalar(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"count": tf.size(text)}

    @tf.function(input_signature=TEXTS)
    def which(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"version": tf.fill(tf.shape(text), self.version)}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.int32, name="count")]
    )
    def slow(self, count: tf.Tensor) -> dict[str, tf.Tensor]:
        # Strings keep the optimizer from folding the loop.
        steps, _ = tf.while_loop(
            lambda i, text: i < tf.reduce_max(count),
            lambda i, text: (
                i + 1,
                tf.strings.as_string(tf.strings.length(text) + i),
            ),
            (0, tf.constant("")),
        )
        return {"steps": tf.fill(tf.shape(count), steps)}

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name="gate")]
    )
    def hold(self, gate: tf.Tensor) -> dict[str, tf.Tensor]:
        """Writes GATE.held, then waits until the file GATE exists."""
        tf.io.write_file(gate[0] + ".held", "")
        # A pattern that counts keeps the optimizer from asking only once.
        looks, _ = tf.while_loop(
            lambda i, found: tf.size(found) == 0,
            lambda i, found: (
                i + 1,
                tf.io.matching_files(
                    gate[0] + tf.strings.substr(tf.strings.as_string(i), 0, 0)
                ),
            ),
            (0, tf.zeros([0], tf.string)),
            shape_invariants=(tf.TensorShape([]), tf.TensorShape([None])),
        )
        return {"gate": tf.where(looks > 0, gate, "")}

    @tf.function(input_signature=EXAMPLES)
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = _score(_texts_of(inputs), self.version)
        labels = tf.constant([["short", "long"]])
        return {
            "classes": tf.tile(labels, [tf.shape(inputs)[0], 1]),
            "scores": scores,
        }

    @tf.function(input_signature=EXAMPLES)
    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": _score(_texts_of(inputs), self.version)[:, 0]}


def write(base: pathlib.Path, version: int) -> pathlib.Path:
    """Writes a version, complete or not at all; returns its folder."""
    module = Model(version)
    temporary = base / f".tmp-{version}"
    tf.saved_model.save(
        module,
        str(temporary),
        signatures={
            "serving_default": module.default,
            "one_output": module.one_output,
            "pair": module.pair,
            "numbers": module.numbers,
            "ids": module.ids,
            "raw": module.raw,
            "scalar": module.scalar,
            "which": module.which,
            "slow": module.slow,
            "hold": module.hold,
            "classify": module.classify,
            "regress": module.regress,
            **{name: _task(inputs) for name, inputs in TASK_INPUTS.items()},
        },
    )
    return temporary.rename(base / str(version))


CONFIG = """
model_config_list {{
  config {{
    name: "conformance"
    base_path: "{base}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: 1 versions: 2 }} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
}}
"""
MONITORING = """
prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }
"""


def write_all(base: pathlib.Path) -> pathlib.Path:
    """Writes both versions; returns the config of the models."""
    base.mkdir(parents=True, exist_ok=True)
    for number in (1, 2):
        write(base, number)
    (base / "monitoring.config").write_text(MONITORING)
    config = base / "models.config"
    config.write_text(CONFIG.format(base=base))
    return config


if __name__ == "__main__":
    print(write_all(pathlib.Path(sys.argv[1])))
