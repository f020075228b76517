"""Writes the warm-up requests of an export.

A server runs them before it reports a model as available. Without them the
first request of each kind pays for work that is done once. The file is a
TFRecord of PredictionLog messages, which are written here in the wire format:
their generated classes are in another package.

Reference: tensorflow_serving/apis/prediction_log.proto, predict.proto and
model.proto.
"""

import pathlib
from collections.abc import Sequence

import tensorflow as tf

from tfllm.runtime.replay import Request

FILE = "tf_serving_warmup_requests"
# A server refuses a model with more warm-up requests.
MAX_REQUESTS = 1000
_PREDICT_LOG, _REQUEST = 6, 1
_MODEL_SPEC, _INPUTS = 1, 2
_NAME, _SIGNATURE = 1, 3
_KEY, _VALUE = 1, 2


def write(
    requests: Sequence[Request], model_name: str, folder: pathlib.Path
) -> None:
    """Writes the warm-up file that a server reads.

    Args:
        requests: Signature names with inputs.
        model_name: Name of the model.
        folder: Folder `assets.extra` of a version.
    """
    assert 0 < len(requests) <= MAX_REQUESTS, len(requests)
    with tf.io.TFRecordWriter(str(folder / FILE)) as file:
        for request in requests:
            file.write(prediction_log(request, model_name))


def prediction_log(request: Request, model_name: str) -> bytes:
    """Returns a serialized PredictionLog."""
    signature, arrays = request
    spec = _field(_NAME, model_name.encode())
    spec += _field(_SIGNATURE, signature.encode())
    content = _field(_MODEL_SPEC, spec)
    for name, array in sorted(arrays.items()):
        tensor = tf.make_tensor_proto(array).SerializeToString()
        entry = _field(_KEY, name.encode()) + _field(_VALUE, tensor)
        content += _field(_INPUTS, entry)
    return _field(_PREDICT_LOG, _field(_REQUEST, content))


def _field(number: int, content: bytes) -> bytes:
    """Returns a length-delimited field: tag, length, content."""
    size = len(content)
    length = []
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + content
