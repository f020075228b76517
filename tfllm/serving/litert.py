"""Tasks as LiteRT files, for phones and small machines.

LiteRT has no tokenizers: rows of ids come in. It has no variables that a
converter fills in either (they would hold whatever lies in memory, often not
a number), so the weights become constants of the graph.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfllm.serving.served_task import Arrays, Tensors
from tfllm.serving.storage import Precision, Quantization

SIGNATURE = "serving_default"
# Of a graph whose constants lie in it.
MAX_WEIGHT_BYTES = 2**31 - 2**24
PRECISIONS = ("float32", "float16")

# The converter knows GELU by the ops of Keras' own; erf it does not have.
_CONVERTIBLE: dict[str, Callable[..., Any]] = {
    "gelu": lambda x, training=False: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x, training=False: ops.gelu(x, approximate=True),
}


@dataclasses.dataclass(frozen=True)
class LiteRTOutput:
    """What a file gives for a row.

    Attributes:
        main: Name of the output that is the task's own.
        outputs: Name -> what it is, for people.
        post: The task's output -> outputs by name.
    """

    main: str
    outputs: dict[str, str]
    post: Callable[[tf.Tensor], Tensors]


# Kind of task -> what its files give.
OUTPUTS: dict[str, LiteRTOutput] = {
    "classification": LiteRTOutput(
        "logits",
        {
            "logits": "float32 [1, L]",
            "scores": "float32 [1, L]: the probabilities of all labels",
        },
        lambda logits: {"logits": logits, "scores": tf.nn.softmax(logits)},
    ),
    "multi_label": LiteRTOutput(
        "logits",
        {
            "logits": "float32 [1, L]",
            "scores": "float32 [1, L]: the probability of each label",
        },
        lambda logits: {"logits": logits, "scores": tf.sigmoid(logits)},
    ),
    "regression": LiteRTOutput(
        "value",
        {"value": "float32 [1]: the number"},
        lambda value: {"value": value},
    ),
    "embedding": LiteRTOutput(
        "embedding",
        {"embedding": "float32 [1, D]: the vector"},
        lambda vector: {"embedding": vector},
    ),
    "tagging": LiteRTOutput(
        "logits",
        {
            "logits": "float32 [1, T, L]: of the labels of each token",
            "scores": "float32 [1, T, L]: their probabilities",
        },
        lambda logits: {"logits": logits, "scores": tf.nn.softmax(logits)},
    ),
}


def input_names(has_segments: bool) -> tuple[str, ...]:
    """Returns the inputs of a file, int32 [1, T] each."""
    names = ("token_ids", "padding_mask")
    return (*names, "segment_ids") if has_segments else names


def convert(
    task: Any,
    has_segments: bool,
    length: int | None,
    precision: Precision = "float32",
    quantize: Quantization = "none",
) -> bytes:
    """Returns a task as a LiteRT file.

    Args:
        task: Of a kind in OUTPUTS.
        has_segments: Whether the model tells two texts apart.
        length: Of the rows, T; None for any.
        precision: Of the weights: "float32" or "float16".
        quantize: "int8" for the converter's dynamic range: matrices and
            tables as int8, and products of int8 with activations that are
            rounded for each row.

    Raises:
        ValueError: The weights are too large, or an op cannot be converted.
    """
    variables = list({id(w): w for w in task.weights}.values())
    values = [np.asarray(w.value, np.float32) for w in variables]
    size = sum(value.nbytes for value in values)
    if size > MAX_WEIGHT_BYTES:
        raise ValueError(
            "weights must have less than 2 GB of float32 for LiteRT. "
            f"Received: {size} bytes. Distil a smaller model."
        )
    names = input_names(has_segments)
    specs = [tf.TensorSpec([1, length], tf.int32, name) for name in names]

    def call(*tensors: tf.Tensor) -> Tensors:
        constants = map(tf.constant, values)
        mapping = list(zip(variables, constants, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            outputs = task(dict(zip(names, tensors, strict=True)))
        return OUTPUTS[task.kind].post(outputs[task.kind])

    with _convertible(task):
        concrete = tf.function(
            call, input_signature=specs, autograph=False
        ).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [concrete], tf.Module()
    )
    if quantize == "int8" or precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        return converter.convert()
    except tf.lite.python.convert.ConverterError as error:
        missing = [line for line in str(error).splitlines() if "TF Sel" in line]
        raise ValueError(
            f"`model_dir` must hold a model of ops that LiteRT has. "
            f"Received: {missing or str(error)[:300]}"
        ) from error


class LiteRTModel:
    """A file in the LiteRT interpreter.

    Args:
        content: The file.
        num_threads: Of the interpreter.

    Attributes:
        length: Of its rows; None for any.

    Raises:
        ValueError: There is no interpreter.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
        """See the class."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ValueError(
                "`litert` needs the interpreter, which tries the file. "
                "Received: no package ai_edge_litert. Install it: pip "
                "install ai-edge-litert"
            ) from error
        interpreter = Interpreter(
            model_content=content, num_threads=num_threads
        )
        self._run = interpreter.get_signature_runner(SIGNATURE)
        details = self._run.get_input_details()
        self.inputs = tuple(sorted(details))
        length = int(details["token_ids"]["shape_signature"][1])
        self.length = None if length < 0 else length

    def row(self, inputs: Arrays) -> Arrays:
        """Returns the outputs for a row of ids, int32 [1, T] each."""
        return self._run(**{name: inputs[name] for name in self.inputs})

    def rows(self, inputs: Arrays, name: str) -> np.ndarray:
        """Returns an output for rows, int32 [B, T] each, one after another.

        Each is given as a program on a phone would do it: as long as it is,
        or as long as all are.
        """
        table = inputs["padding_mask"]
        found = []
        for number, mask in enumerate(table):
            real = max(int(mask.sum()), 1)
            width = self.length or real
            one = {key: np.zeros((1, width), np.int32) for key in self.inputs}
            for key, values in one.items():
                values[0, :real] = inputs[key][number, :real]
            output = self.row(one)[name][0]
            if output.ndim == 2:
                # As wide as the rows that were asked for.
                output = np.pad(output[:real], [(0, len(mask) - real), (0, 0)])
            found.append(output)
        return np.stack(found)


@contextlib.contextmanager
def _convertible(task: Any) -> Iterator[None]:
    """Puts other activations in the place of those without a LiteRT op."""
    blocks = task.model.transformer.blocks
    pooler = getattr(task.model, "pooler", None)
    parts = [block.feed_forward for block in blocks]
    parts += [] if pooler is None else [pooler]
    before = [part.activation for part in parts]
    for part in parts:
        name = part.config.activation
        part.activation = _CONVERTIBLE.get(name, part.activation)
    try:
        yield
    finally:
        for part, activation in zip(parts, before, strict=True):
            part.activation = activation
