"""TensorFlow Serving's BatchingParameters.

tensorflow-serving-api lacks this message, so it is declared here with the same
field names and numbers.

Reference: tensorflow/serving 2.20,
servables/tensorflow/session_bundle_config.proto.
"""

import dataclasses
import os

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)
from google.protobuf.message import Message

from tfllm.server.text_messages import read_message

_FIELD = descriptor_pb2.FieldDescriptorProto
_INT64, _BOOL, _STRING = "Int64Value", "BoolValue", "StringValue"
# Name -> number, type of the wrapper.
_WRAPPED = {
    "max_batch_size": (1, _INT64),
    "batch_timeout_micros": (2, _INT64),
    "max_enqueued_batches": (3, _INT64),
    "num_batch_threads": (4, _INT64),
    "thread_pool_name": (5, _STRING),
    "enable_large_batch_splitting": (8, _BOOL),
    "max_execution_batch_size": (9, _INT64),
}
# File in the folder of a version with batching parameters for that version.
FILE = "batching_params.pbtxt"


@dataclasses.dataclass(frozen=True)
class BatchingConfig:
    """Parameters of a batcher.

    Attributes:
        max_batch_size: Most rows of a batch.
        batch_timeout_micros: Microseconds that the first request of a batch
            waits for others.
        max_enqueued_batches: Most waiting batches; more requests are refused.
        num_batch_threads: Batches that run at a time.
        allowed_batch_sizes: Sizes that batches are padded to; empty for any
            size.
        enable_large_batch_splitting: Split requests larger than a batch.
        max_execution_batch_size: Rows of the parts of such a request.
        pad_variable_length_inputs: Has no effect: inputs of different
            widths are batched apart, which needs no padding.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = dataclasses.field(
        default_factory=lambda: os.cpu_count() or 1
    )
    allowed_batch_sizes: tuple[int, ...] = ()
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0
    pad_variable_length_inputs: bool = False

    def __post_init__(self) -> None:
        """Checks the values."""
        for name in (
            "max_batch_size",
            "max_enqueued_batches",
            "num_batch_threads",
        ):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: "
                    f"{getattr(self, name)}"
                )
        sizes = self.allowed_batch_sizes
        largest = self.execution_size
        if sizes and (
            list(sizes) != sorted(set(sizes)) or sizes[-1] != largest
        ):
            raise ValueError(
                "`allowed_batch_sizes` must grow and end with the size of a "
                f"batch, {largest}. Received: {list(sizes)}"
            )

    @property
    def execution_size(self) -> int:
        """Number of rows that run at once."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size:
            return min(self.max_execution_batch_size, self.max_batch_size)
        return self.max_batch_size

    def padded(self, rows: int) -> int:
        """Returns the smallest allowed batch size that holds `rows` rows."""
        return next((n for n in self.allowed_batch_sizes if n >= rows), rows)


def read(path: str) -> BatchingConfig:
    """Reads BatchingParameters from a text file.

    Raises:
        ValueError: The file is not valid, or a value is not allowed.
        OSError: The file cannot be read.
    """
    message = read_message(
        path, _batching_parameters(), "batching_parameters_file"
    )
    scalars = {
        name: getattr(message, name).value
        for name in _WRAPPED
        if message.HasField(name) and name != "thread_pool_name"
    }
    try:
        return BatchingConfig(
            **scalars,
            allowed_batch_sizes=tuple(message.allowed_batch_sizes),
            pad_variable_length_inputs=message.pad_variable_length_inputs,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _batching_parameters() -> Message:
    """Returns an empty BatchingParameters, declared in a separate pool."""
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    file = descriptor_pb2.FileDescriptorProto(
        name="tfllm/batching_parameters.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    for name, (number, kind) in _WRAPPED.items():
        message.field.add(
            name=name,
            number=number,
            label=_FIELD.LABEL_OPTIONAL,
            type=_FIELD.TYPE_MESSAGE,
            type_name=f".google.protobuf.{kind}",
        )
    message.field.add(
        name="allowed_batch_sizes",
        number=6,
        label=_FIELD.LABEL_REPEATED,
        type=_FIELD.TYPE_INT64,
    )
    message.field.add(
        name="pad_variable_length_inputs",
        number=7,
        label=_FIELD.LABEL_OPTIONAL,
        type=_FIELD.TYPE_BOOL,
    )
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName(
        "tensorflow.serving.BatchingParameters"
    )
    return message_factory.GetMessageClass(descriptor)()
