"""Loads a SavedModel into the C++ runtime and runs its signatures.

    with c_loader.SavedModel("exports/model/1") as model:
        answer = model.run("serving_default", {"text": np.array(["a text"])})

Nothing here imports TensorFlow's Python package.
"""

import ctypes
import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tfllm.runtime import c_api, input_shapes, saved_model_file, servers
from tfllm.runtime.c_api import RuntimeFailure, Status
from tfllm.runtime.saved_model_file import Signature, TensorInfo

__all__ = ["RuntimeFailure", "SavedModel", "Signature", "TensorInfo"]


class SavedModel:
    """A loaded SavedModel; any number of threads may run it at once.

    Args:
        folder: Folder of a version, with saved_model.pb.
        server: TensorFlow Serving version whose text ops are loaded.
        disable_xla: Refuse functions compiled with XLA, as the server does.
        intra_threads: Threads within an op; 0 for one per core. The first
            model that a process loads sets it for all models.
        inter_threads: Ops that run at a time; 0 for one per core. Likewise.

    Attributes:
        folder: Folder of the version.
        signatures: By name: inputs and outputs with dtype and shape.

    Raises:
        ValueError: The folder holds no SavedModel; or see `c_api.load`.
        RuntimeFailure: The runtime refuses it, for instance because it lacks
            an op.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        server: str = servers.NEWEST,
        disable_xla: bool = True,
        intra_threads: int = 0,
        inter_threads: int = 0,
    ) -> None:
        self.folder = os.fspath(folder)
        self.signatures = saved_model_file.read(folder).signatures
        self._runtime = c_api.load(server, disable_xla)
        self._idle = threading.Condition()
        self._running = 0
        self._session: Any = None
        self._graph: Any = None
        self._load(_session_config(intra_threads, inter_threads))
        # Looked up once; the graph does not change.
        self._places = {
            info.tensor: self._place_of(info.tensor)
            for signature in self.signatures.values()
            for info in (
                *signature.inputs.values(),
                *signature.outputs.values(),
            )
        }

    def _load(self, config: bytes) -> None:
        """Opens the session; frees everything if that fails."""
        c = self._runtime.c
        graph, options = c.TF_NewGraph(), c.TF_NewSessionOptions()
        tags = (ctypes.c_char_p * 1)(saved_model_file.SERVE_TAG.encode())
        try:
            with Status(self._runtime) as status:
                c.TF_SetConfig(options, config, len(config), status.pointer)
            with Status(self._runtime) as status:
                self._session = c.TF_LoadSessionFromSavedModel(
                    options,
                    None,
                    os.fsencode(self.folder),
                    tags,
                    1,
                    graph,
                    None,
                    status.pointer,
                )
            self._graph = graph
        finally:
            c.TF_DeleteSessionOptions(options)
            if self._graph is None:
                c.TF_DeleteGraph(graph)

    def run(
        self,
        signature: str,
        inputs: Mapping[str, Any],
        outputs: Iterable[str] | None = None,
        timeout_ms: int = 0,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature: Its name.
            inputs: Arrays by name, all of them. Texts are str or bytes.
            outputs: Names of the outputs to return; None for all.
            timeout_ms: Timeout in milliseconds; 0 for none.

        Returns:
            Arrays by name; strings as arrays of bytes objects.

        Raises:
            ValueError: The signature is unknown, the names do not match it, an
                array has another dtype or shape, or the model is closed.
            RuntimeFailure: The runtime failed or took too long.
        """
        definition = self.signatures.get(signature)
        if definition is None:
            raise ValueError(
                f"`signature` must be one of {sorted(self.signatures)}. "
                f"Received: {signature!r}"
            )
        if set(inputs) != set(definition.inputs):
            raise ValueError(
                f"`inputs` of {signature!r} must be "
                f"{sorted(definition.inputs)}. Received: {sorted(inputs)}"
            )
        names = list(definition.outputs) if outputs is None else list(outputs)
        unknown = sorted(set(names) - set(definition.outputs))
        if unknown:
            raise ValueError(
                f"`outputs` of {signature!r} must be among "
                f"{sorted(definition.outputs)}. Received: {unknown}"
            )
        arrays = {
            name: _as_array(name, inputs[name], info)
            for name, info in definition.inputs.items()
        }
        if message := input_shapes.problem(arrays, definition):
            raise ValueError(f"{signature!r}: {message}")
        return self._run_while_open(definition, arrays, names, timeout_ms)

    def run_unchecked(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Runs a signature on unchecked arrays, as a server does.

        An array that the graph does not refuse may crash the process.

        Args:
            signature: Its name.
            inputs: Arrays by name; strings as objects of bytes.

        Raises:
            ValueError: The signature or an input is unknown.
            RuntimeFailure: The runtime refuses the arrays.
        """
        definition = self.signatures.get(signature)
        if definition is None or not set(inputs) <= set(definition.inputs):
            raise ValueError(
                "`signature` and `inputs` must be names of the model. "
                f"Received: {signature!r} with {sorted(inputs)}"
            )
        names = list(definition.outputs)
        return self._run_while_open(definition, inputs, names, 0)

    def _run_while_open(
        self,
        signature: Signature,
        arrays: Mapping[str, np.ndarray],
        names: list[str],
        timeout_ms: int,
    ) -> dict[str, np.ndarray]:
        """Runs a signature and keeps the model open meanwhile."""
        with self._idle:
            if self._session is None:
                raise ValueError(
                    f"the model in {self.folder!r} must be open to run. "
                    "Received: a closed one. Load it again."
                )
            session = self._session
            self._running += 1
        try:
            return self._run(session, signature, arrays, names, timeout_ms)
        finally:
            with self._idle:
                self._running -= 1
                self._idle.notify_all()

    def _run(
        self,
        session: int,
        signature: Signature,
        arrays: Mapping[str, np.ndarray],
        names: list[str],
        timeout_ms: int,
    ) -> dict[str, np.ndarray]:
        """Runs a signature in a session."""
        runtime, c = self._runtime, self._runtime.c
        feeds = (c_api.Output * len(arrays))(
            *(self._places[signature.inputs[name].tensor] for name in arrays)
        )
        fetches = (c_api.Output * len(names))(
            *(self._places[signature.outputs[name].tensor] for name in names)
        )
        tensors = (ctypes.c_void_p * len(arrays))()
        results = (ctypes.c_void_p * len(names))()
        options = None
        if timeout_ms:
            serialized = _run_options(timeout_ms)
            options = c.TF_NewBufferFromString(serialized, len(serialized))
        try:
            for i, array in enumerate(arrays.values()):
                is_text = array.dtype == object
                tensors[i] = runtime.to_tensor(
                    array, "string" if is_text else array.dtype.name
                )
            with Status(runtime) as status:
                c.TF_SessionRun(
                    session,
                    options,
                    feeds,
                    tensors,
                    len(arrays),
                    fetches,
                    results,
                    len(names),
                    None,
                    0,
                    None,
                    status.pointer,
                )
            return {
                name: runtime.to_array(tensor)
                for name, tensor in zip(names, results, strict=True)
            }
        finally:
            for tensor in results:
                if tensor:
                    runtime.free(tensor)
            for tensor in tensors:
                if tensor:
                    runtime.free(tensor, is_ours=True)
            if options:
                c.TF_DeleteBuffer(options)

    def close(self) -> None:
        """Waits for running calls, then frees the model; idempotent."""
        with self._idle:
            session, self._session = self._session, None
            self._idle.wait_for(lambda: not self._running)
        if session is None:
            return
        c = self._runtime.c
        for function in (c.TF_CloseSession, c.TF_DeleteSession):
            with Status(self._runtime) as status:
                function(session, status.pointer)
        c.TF_DeleteGraph(self._graph)

    def __enter__(self) -> "SavedModel":
        """Returns itself."""
        return self

    def __exit__(self, *_: Any) -> None:
        """Closes the model."""
        self.close()

    def _place_of(self, tensor: str) -> c_api.Output:
        """Returns the graph output named "name:index"."""
        name, _, index = tensor.partition(":")
        operation = self._runtime.c.TF_GraphOperationByName(
            self._graph, name.encode()
        )
        if not operation:
            raise ValueError(
                "tensors of signatures must be in the graph. Received: "
                f"{tensor!r} of {self.folder!r}, which is not"
            )
        return c_api.Output(operation, int(index or 0))


def _as_array(name: str, value: Any, info: TensorInfo) -> np.ndarray:
    """Returns an input as an array of the signature's dtype."""
    if info.dtype == "string":
        return np.asarray(value, dtype=object)
    array = np.asarray(value)
    if array.dtype.name != info.dtype:
        raise ValueError(
            f"input `{name}` must be {info.dtype}. Received: {array.dtype.name}"
        )
    return array


def _session_config(intra_threads: int, inter_threads: int) -> bytes:
    """Returns a serialized ConfigProto."""
    content = b""
    for tag, count in ((0x10, intra_threads), (0x28, inter_threads)):
        if not 0 <= count < 128:
            raise ValueError(
                "`intra_threads` and `inter_threads` must be from 0 to 127. "
                f"Received: {count}"
            )
        content += bytes([tag, count]) if count else b""
    return content


def _run_options(timeout_ms: int) -> bytes:
    """Returns a serialized RunOptions."""
    content = bytearray([0x10])
    while timeout_ms >= 0x80:
        content.append(timeout_ms & 0x7F | 0x80)
        timeout_ms >>= 7
    return bytes([*content, timeout_ms])
