"""A loaded version of a model."""

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tfllm.runtime import saved_model_file
from tfllm.runtime.c_loader import RuntimeFailure, SavedModel
from tfllm.runtime.saved_model_file import Signature
from tfllm.server.batching import Batcher, Runner
from tfllm.server.batching_config import BatchingConfig
from tfllm.server.deadlines import Deadline
from tfllm.server.metrics import Metrics
from tfllm.server.protos import SignatureDefMap
from tfllm.server.statuses import ServingError, from_runtime


class Engine(Runner, Protocol):
    """A model in memory: a `c_loader.SavedModel`, or a stand-in in tests."""

    signatures: dict[str, Signature]

    def close(self) -> None:
        """Frees the memory."""


class Servable:
    """A loaded version, with or without batching.

    Args:
        name: Model name.
        number: Version number.
        engine: Runs the signatures.
        signature_defs: Signatures for the metadata.
        batcher: Merges requests; None to run each one alone.
    """

    def __init__(
        self,
        name: str,
        number: int,
        engine: Engine,
        signature_defs: SignatureDefMap,
        batcher: Batcher | None = None,
    ) -> None:
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
            outputs: Names of the outputs to return.
            deadline: Time limit of the request.

        Raises:
            ServingError: The run fails, the queue is full, or time is up.
        """
        if self._batcher is not None:
            return self._batcher.run(signature, inputs, outputs, deadline)
        with from_runtime():
            return self._engine.run(
                signature, inputs, outputs, deadline.left_ms()
            )

    def close(self) -> None:
        """Finishes the queued requests and frees the memory."""
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
        name: Model name.
        number: Version number.
        folder: Folder of the version.
        batching: Batching parameters; None for no batching.
        metrics: Records latencies.

    Raises:
        ServingError: The version is damaged, or the runtime refuses it.
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
    """Refuses a version without its variables.

    The runtime would load it and fail each request that reads a variable.
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
    """Returns the signatures of a SavedModel for the metadata."""
    signature_defs = SignatureDefMap()
    meta_graph = saved_model_file.read_meta_graph(folder)
    for key, signature in meta_graph.signature_def.items():
        signature_defs.signature_def[key].CopyFrom(signature)
        # Since 2.20 TensorFlow Serving does not show the defaults.
        signature_defs.signature_def[key].ClearField("defaults")
    return signature_defs
