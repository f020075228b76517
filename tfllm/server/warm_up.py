"""Replays the warm-up requests of a version before it answers others.

Reference: tensorflow/serving 2.20, servables/tensorflow/
saved_model_warmup_util.cc.
"""

import os
import struct
import time
from collections.abc import Iterator

from google.protobuf.message import DecodeError, Message

from tfllm.server import tensor_protos
from tfllm.server.deadlines import Deadline
from tfllm.server.inference import Inference
from tfllm.server.metrics import Metrics
from tfllm.server.protos import PredictionLog
from tfllm.server.request_examples import serialized_examples
from tfllm.server.servable import Servable
from tfllm.server.statuses import ServingError, invalid_argument

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MOST_RECORDS = 1000


def warm_up(
    servable: Servable, folder: str, iterations: int, metrics: Metrics
) -> int:
    """Runs the warm-up requests of a version.

    Args:
        servable: The version.
        folder: Folder of the version.
        iterations: Number of times that each request runs.
        metrics: Records the time.

    Returns:
        The number of requests; 0 without a file.

    Raises:
        ServingError: A request fails, has an unsupported kind, or there are
            too many; the version must not serve.
    """
    path = os.path.join(folder, FILE)
    if not os.path.isfile(path):
        return 0
    # Warm-up does not count as traffic.
    inference = Inference(Metrics())
    start, status, count = time.perf_counter(), "OK", 0
    try:
        for count, record in enumerate(_records(path), start=1):
            if count > MOST_RECORDS:
                raise invalid_argument(
                    "Number of warmup records exceeds the maximum "
                    f"({MOST_RECORDS}) at {path}"
                )
            for _ in range(iterations):
                _replay(inference, servable, record)
    except ServingError as error:
        status = error.code
        raise
    finally:
        microseconds = (time.perf_counter() - start) * 1e6
        metrics.warm_up_latency.labels(folder, status).observe(microseconds)
    return count


def _replay(inference: Inference, servable: Servable, record: bytes) -> None:
    """Runs one request."""
    log = PredictionLog()
    try:
        log.ParseFromString(record)
    except DecodeError as error:
        raise invalid_argument(
            "Failed to parse warmup record: "
            f"{record[:60]!r} ({len(record)} bytes)"
        ) from error
    kind = log.WhichOneof("log_type")
    never = Deadline(None)
    if kind == "predict_log":
        request: Message = log.predict_log.request
        inputs = {
            name: tensor_protos.to_array(name, proto)
            for name, proto in request.inputs.items()
        }
        inference.predict(
            servable,
            request.model_spec.signature_name,
            inputs,
            list(request.output_filter),
            never,
        )
    elif kind in ("classify_log", "regress_log"):
        request = getattr(log, kind).request
        run = (
            inference.classify if kind == "classify_log" else inference.regress
        )
        run(
            servable,
            request.model_spec.signature_name,
            serialized_examples(request.input),
            never,
        )
    else:
        raise ServingError(
            "UNIMPLEMENTED", f"Unsupported log_type for warmup: {kind}"
        )


def _records(path: str) -> Iterator[bytes]:
    """Yields the records of a TFRecord file, without checking checksums."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        while header := file.read(12):
            (length,) = struct.unpack("<Q", header[:8].ljust(8, b"\0"))
            record = file.read(min(length, size))
            if len(record) != length or len(file.read(4)) != 4:
                raise ServingError(
                    "DATA_LOSS", f"truncated record in warmup file {path}"
                )
            yield record
