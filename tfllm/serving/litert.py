"""Converts tasks to LiteRT files, for phones and small machines.

LiteRT has no tokenizers, so a file takes rows of ids. The converter does not
initialize variables (they would hold whatever lies in memory, often NaN), so
the weights become constants of the graph.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tfllm.serving.export_config import Precision
from tfllm.serving.signatures.served_task import Arrays, Tensors
from tfllm.serving.storage import Quantization
from tfllm.tasks import Task

SIGNATURE = "serving_default"
# Constants must fit into the graph, which is limited to 2 GB.
MAX_WEIGHT_BYTES = 2**31 - 2**24
PRECISIONS = ("float32", "float16")

# The converter has no erf, but recognizes the ops of Keras' GELU.
_CONVERTIBLE: dict[str, Callable[..., Any]] = {
    "gelu": lambda x, training=False: ops.gelu(x, approximate=False),
    "gelu_tanh": lambda x, training=False: ops.gelu(x, approximate=True),
}


@dataclasses.dataclass(frozen=True)
class LiteRTOutput:
    """Outputs of a LiteRT file for a row.

    Attributes:
        main: Name of the output that equals the task's output.
        outputs: Output name -> description.
        post: Output of the task -> outputs by name.
    """

    main: str
    outputs: dict[str, str]
    post: Callable[[tf.Tensor], Tensors]


ONE_LABEL = LiteRTOutput(
    "logits",
    {
        "logits": "float32 [1, L]",
        "scores": "float32 [1, L]: the probabilities of all labels",
    },
    lambda logits: {"logits": logits, "scores": tf.nn.softmax(logits)},
)
SEVERAL_LABELS = LiteRTOutput(
    "logits",
    {
        "logits": "float32 [1, L]",
        "scores": "float32 [1, L]: the probability of each label",
    },
    lambda logits: {"logits": logits, "scores": tf.sigmoid(logits)},
)
NUMBER = LiteRTOutput(
    "value",
    {"value": "float32 [1]: the number, after the model's activation"},
    lambda value: {"value": value},
)
VECTOR = LiteRTOutput(
    "embedding",
    {"embedding": "float32 [1, D]: the vector"},
    lambda vector: {"embedding": vector},
)
TAGS = LiteRTOutput(
    "logits",
    {
        "logits": "float32 [1, T, L]: of the labels of each token",
        "scores": "float32 [1, T, L]: their probabilities",
    },
    lambda logits: {"logits": logits, "scores": tf.nn.softmax(logits)},
)


def input_names(has_segments: bool) -> tuple[str, ...]:
    """Returns the names of the inputs of a file, int32 [1, T] each."""
    names = ("token_ids", "padding_mask")
    return (*names, "segment_ids") if has_segments else names


def convert(
    task: Task,
    output: LiteRTOutput,
    has_segments: bool,
    length: int | None,
    precision: Precision = "float32",
    quantize: Quantization = "none",
) -> bytes:
    """Converts a task to a LiteRT file.

    Args:
        task: The task.
        output: Outputs of the file.
        has_segments: Whether the model has segment ids.
        length: Length of rows, T; None for any length.
        precision: Dtype of the weights, "float32" or "float16".
        quantize: "int8" for dynamic-range quantization: matrices and tables
            are int8, and activations are rounded to int8 for each row.

    Raises:
        ValueError: The weights are too large, or an op cannot be converted.
    """
    variables = list({id(w): w for w in task.weights}.values())
    arrays = [np.asarray(w.value, np.float32) for w in variables]
    size = sum(array.nbytes for array in arrays)
    if size > MAX_WEIGHT_BYTES:
        raise ValueError(
            "weights must have less than 2 GB of float32 for LiteRT. "
            f"Received: {size} bytes. Distil a smaller model."
        )
    names = input_names(has_segments)
    specs = [tf.TensorSpec([1, length], tf.int32, name) for name in names]

    def call(*tensors: tf.Tensor) -> Tensors:
        constants = map(tf.constant, arrays)
        mapping = list(zip(variables, constants, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            outputs = task(dict(zip(names, tensors, strict=True)))
        return output.post(outputs[task.kind])

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
    """Runs a LiteRT file in the interpreter.

    Args:
        content: Bytes of the file.
        num_threads: Threads of the interpreter.

    Attributes:
        length: Length of rows; None for any length.

    Raises:
        ValueError: The interpreter is not installed.
    """

    def __init__(self, content: bytes, num_threads: int = 1) -> None:
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
        """Runs one row: inputs int32 [1, T] each -> outputs by name."""
        return self._run(**{name: inputs[name] for name in self.inputs})

    def rows(self, inputs: Arrays, name: str) -> np.ndarray:
        """Returns an output for rows, int32 [B, T] each, one at a time.

        A row is passed without padding, or padded to `length`, as a program
        on a phone would do it.
        """
        outputs = []
        for number, mask in enumerate(inputs["padding_mask"]):
            real = max(int(mask.sum()), 1)
            width = self.length or real
            row = {key: np.zeros((1, width), np.int32) for key in self.inputs}
            for key, ids in row.items():
                ids[0, :real] = inputs[key][number, :real]
            output = self.row(row)[name][0]
            if output.ndim == 2:
                # [real, L] -> [T, L]
                output = np.pad(output[:real], [(0, len(mask) - real), (0, 0)])
            outputs.append(output)
        return np.stack(outputs)  # [B, ...]


@contextlib.contextmanager
def _convertible(task: Task) -> Iterator[None]:
    """Replaces activations that LiteRT lacks while a task is traced."""
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
