"""One loaded version of a model."""

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tfllm.serving import saved_model_file
from tfllm.serving.c_loader import RuntimeFailure, SavedModel
from tfllm.serving.saved_model_file import SAVED_MODEL_FILE, Signature
from tfllm.serving.server.batching import Batcher
from tfllm.serving.server.batching_config import BatchingConfig
from tfllm.serving.server.deadlines import Deadline
from tfllm.serving.server.metrics import Metrics
from tfllm.serving.server.protos import SavedModelProto, SignatureDefMap
from tfllm.serving.server.statuses import ServingError, from_runtime


class Engine(Protocol):
    """What runs signatures: a `c_loader.SavedModel`, or a test's own."""

    signatures: dict[str, Signature]

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        timeout_ms: int = 0,
    ) -> dict[str, np.ndarray]:
        """Runs a signature."""

    def close(self) -> None:
        """Frees the memory."""


class Servable:
    """A version that answers, batched or not.

    Args:
        name: Of the model.
        number: Of the version.
        engine: Its runtime.
        signature_defs: What the metadata shows.
        batcher: Merges requests; None to run each alone.
    """

    def __init__(
        self,
        name: str,
        number: int,
        engine: Engine,
        signature_defs: SignatureDefMap,
        batcher: Batcher | None = None,
    ) -> None:
        """See the class."""
        self.name = name
        self.number = number
        self.signature_defs = signature_defs
        self.signatures = engine.signatures
        self._engine = engine
        self._batcher = batcher

    def run(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        deadline: Deadline,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature: Its name.
            inputs: Arrays by name, all of them.
            outputs: Names of those that are wanted.
            deadline: When to give up.

        Raises:
            ServingError: It fails, or the queue is full, or time is up.
        """
        if self._batcher is not None:
            return self._batcher.run(signature, inputs, outputs, deadline)
        with from_runtime():
            return self._engine.run(
                signature, inputs, outputs, deadline.left_ms()
            )

    def close(self) -> None:
        """Finishes what is queued and frees the memory."""
        if self._batcher is not None:
            self._batcher.close()
        self._engine.close()


def load(
    name: str,
    number: int,
    folder: str,
    batching: BatchingConfig | None,
    metrics: Metrics,
) -> Servable:
    """Loads a version into the C++ runtime.

    Args:
        name: Of the model.
        number: Of the version.
        folder: Of the version.
        batching: How requests are merged; None for not at all.
        metrics: Where latencies go.

    Raises:
        ServingError: It is damaged, or the runtime refuses it.
    """
    try:
        _check_variables(folder)
        engine = SavedModel(folder)
        signature_defs = _signature_defs(folder)
    except RuntimeFailure as error:
        with from_runtime():
            raise error
    except (ValueError, OSError) as error:
        raise ServingError("FAILED_PRECONDITION", str(error)) from error
    batcher = None
    if batching is not None:
        batcher = Batcher(engine, batching, metrics, name)
    return Servable(name, number, engine, signature_defs, batcher)


def _check_variables(folder: str) -> None:
    """Refuses a version whose variables did not come along.

    The runtime loads it, and fails every request that needs one.
    """
    index = os.path.join(folder, "variables", "variables.index")
    if "VarHandleOp" in saved_model_file.read(folder).ops and (
        not os.path.isfile(index)
    ):
        raise ValueError(
            "a SavedModel with variables must hold variables/variables.index. "
            f"Received: {folder!r}, without it. Copy the whole folder."
        )


def _signature_defs(folder: str) -> SignatureDefMap:
    """Returns the signatures as the SavedModel states them."""
    proto = SavedModelProto()
    with open(os.path.join(folder, SAVED_MODEL_FILE), "rb") as file:
        proto.ParseFromString(file.read())
    found = SignatureDefMap()
    for meta_graph in proto.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            for key, signature in meta_graph.signature_def.items():
                found.signature_def[key].CopyFrom(signature)
                # Since 2.20 the server keeps the defaults to itself.
                found.signature_def[key].ClearField("defaults")
    return found
