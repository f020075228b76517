"""TensorFlow's protobuf messages without the rest of TensorFlow.

Importing `tensorflow.core` imports all of `tensorflow`, which takes five
seconds and 400 MB. The messages are plain protobuf, so an empty package stands
in for `tensorflow` while they are imported. A later `import tensorflow` works.
"""

import contextlib
import importlib.util
import sys
import types
from collections.abc import Iterator


@contextlib.contextmanager
def without_tensorflow() -> Iterator[None]:
    """Lets `tensorflow.core` be imported without running `tensorflow`."""
    spec = importlib.util.find_spec("tensorflow")
    if "tensorflow" in sys.modules or spec is None:
        yield
        return
    stand_in = types.ModuleType("tensorflow")
    stand_in.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["tensorflow"] = stand_in
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


with without_tensorflow():
    from tensorflow.core.framework.attr_value_pb2 import AttrValue
    from tensorflow.core.protobuf.meta_graph_pb2 import (
        MetaGraphDef,
        SignatureDef,
    )
    from tensorflow.core.protobuf.meta_graph_pb2 import (
        TensorInfo as TensorInfoProto,
    )
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

__all__ = [
    "AttrValue",
    "MetaGraphDef",
    "SavedModel",
    "SignatureDef",
    "TensorInfoProto",
    "without_tensorflow",
]
