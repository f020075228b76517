"""TensorFlow's C API through ctypes: the runtime without the Python package.

TensorFlow Serving runs the same C++ runtime: the same SavedModel loader, the
same session, the same kernels. A process that never imports `tensorflow`
starts in a second, and a model that only works with Python fails in it as it
would on a server. Calls release the global interpreter lock.
"""

import ctypes
import importlib.util
import pathlib
import threading
from typing import Any

import numpy as np

from tfllm.runtime import servers
from tfllm.runtime.saved_model_file import DTYPES

STRING = 7
_TSTRING_BYTES = 24
_NUMBERS = {name: number for number, name in DTYPES.items()}
# Public name of the status codes.
CODES = {
    0: "OK",
    1: "CANCELLED",
    2: "UNKNOWN",
    3: "INVALID_ARGUMENT",
    4: "DEADLINE_EXCEEDED",
    5: "NOT_FOUND",
    6: "ALREADY_EXISTS",
    7: "PERMISSION_DENIED",
    8: "RESOURCE_EXHAUSTED",
    9: "FAILED_PRECONDITION",
    10: "ABORTED",
    11: "OUT_OF_RANGE",
    12: "UNIMPLEMENTED",
    13: "INTERNAL",
    14: "UNAVAILABLE",
    15: "DATA_LOSS",
    16: "UNAUTHENTICATED",
}


class RuntimeFailure(Exception):
    """Error of the C++ runtime.

    Attributes:
        code: Status code, as in gRPC; `CODES` has its name.
        message: Error message of the runtime.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{CODES.get(code, code)}: {message}")
        self.code = code
        self.message = message


class Output(ctypes.Structure):
    """TF_Output: an output of an operation."""

    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_OUTPUTS, _TENSORS = ctypes.POINTER(Output), ctypes.POINTER(_POINTER)
_BYTES = ctypes.c_char_p
# C function -> type of its result, types of its arguments.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "TF_AllocateTensor": (_POINTER, [_INT, _POINTER, _INT, _SIZE]),
    "TF_CloseSession": (None, [_POINTER, _POINTER]),
    "TF_DeleteBuffer": (None, [_POINTER]),
    "TF_DeleteGraph": (None, [_POINTER]),
    "TF_DeleteSession": (None, [_POINTER, _POINTER]),
    "TF_DeleteSessionOptions": (None, [_POINTER]),
    "TF_DeleteStatus": (None, [_POINTER]),
    "TF_DeleteTensor": (None, [_POINTER]),
    "TF_Dim": (ctypes.c_int64, [_POINTER, _INT]),
    "TF_GetCode": (_INT, [_POINTER]),
    "TF_GraphOperationByName": (_POINTER, [_POINTER, _BYTES]),
    "TF_LoadLibrary": (_POINTER, [_BYTES, _POINTER]),
    "TF_LoadSessionFromSavedModel": (
        _POINTER,
        [
            _POINTER,
            _POINTER,
            _BYTES,
            ctypes.POINTER(_BYTES),
            _INT,
            _POINTER,
            _POINTER,
            _POINTER,
        ],
    ),
    "TF_Message": (_BYTES, [_POINTER]),
    "TF_NewBufferFromString": (_POINTER, [_BYTES, _SIZE]),
    "TF_NewGraph": (_POINTER, []),
    "TF_NewSessionOptions": (_POINTER, []),
    "TF_NewStatus": (_POINTER, []),
    "TF_NumDims": (_INT, [_POINTER]),
    "TF_SessionRun": (
        None,
        [
            _POINTER,
            _POINTER,
            _OUTPUTS,
            _TENSORS,
            _INT,
            _OUTPUTS,
            _TENSORS,
            _INT,
            _POINTER,
            _INT,
            _POINTER,
            _POINTER,
        ],
    ),
    "TF_SetConfig": (None, [_POINTER, _BYTES, _SIZE, _POINTER]),
    "TF_StringCopy": (None, [_POINTER, _BYTES, _SIZE]),
    "TF_StringDealloc": (None, [_POINTER]),
    "TF_StringGetDataPointer": (_POINTER, [_POINTER]),
    "TF_StringGetSize": (_SIZE, [_POINTER]),
    "TF_StringInit": (None, [_POINTER]),
    "TF_TensorByteSize": (_SIZE, [_POINTER]),
    "TF_TensorData": (_POINTER, [_POINTER]),
    "TF_TensorType": (_INT, [_POINTER]),
    "TF_Version": (_BYTES, []),
}
_DISABLE_XLA = "_ZN10tensorflow21DisableXlaCompilationEv"


class Runtime:
    """The loaded libraries, one per process; `load` returns them.

    Args:
        server: TensorFlow Serving version whose text ops are loaded.
        disable_xla: Refuse functions compiled with XLA, as the server does.

    Raises:
        ValueError: `tensorflow` is not installed, or not a Linux build.
        RuntimeFailure: A library of text ops cannot be loaded.
    """

    def __init__(self, server: str, disable_xla: bool) -> None:
        self.server, self.disable_xla = server, disable_xla
        folder = _folder_of("tensorflow")
        for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"):
            if not (folder / name).is_file():
                raise ValueError(
                    f"the C++ runtime needs {name} of a Linux build. "
                    f"Received: {folder}, without it. Install tensorflow 2.20."
                )
            self.c = ctypes.CDLL(str(folder / name), ctypes.RTLD_GLOBAL)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(self.c, name)
            function.restype, function.argtypes = result, arguments
        if disable_xla:
            getattr(self.c, _DISABLE_XLA)()
        for path in text_libraries(server):
            with Status(self) as status:
                self.c.TF_LoadLibrary(str(path).encode(), status.pointer)

    @property
    def version(self) -> str:
        """Version of TensorFlow."""
        return bytes(self.c.TF_Version()).decode()

    def to_tensor(self, value: np.ndarray, dtype: str) -> int:
        """Returns a new TF_Tensor with a copy of an array.

        Args:
            value: Array of `dtype`; for "string", of bytes or str objects.
            dtype: Name of the dtype.
        """
        shape = (ctypes.c_int64 * value.ndim)(*value.shape)
        if dtype != "string":
            # Not ascontiguousarray, which gives a scalar an axis.
            value = np.asarray(value, order="C")
            tensor = self.c.TF_AllocateTensor(
                _NUMBERS[dtype], shape, value.ndim, value.nbytes
            )
            ctypes.memmove(
                self.c.TF_TensorData(tensor), value.ctypes.data, value.nbytes
            )
            return tensor
        tensor = self.c.TF_AllocateTensor(
            STRING, shape, value.ndim, value.size * _TSTRING_BYTES
        )
        place = self.c.TF_TensorData(tensor)
        for item in value.flat:
            content = item.encode() if isinstance(item, str) else bytes(item)
            self.c.TF_StringInit(place)
            self.c.TF_StringCopy(place, content, len(content))
            place += _TSTRING_BYTES
        return tensor

    def to_array(self, tensor: int) -> np.ndarray:
        """Returns a copy of a TF_Tensor; strings as an array of bytes."""
        c = self.c
        shape = tuple(c.TF_Dim(tensor, i) for i in range(c.TF_NumDims(tensor)))
        dtype, place = c.TF_TensorType(tensor), c.TF_TensorData(tensor)
        if dtype == STRING:
            strings = np.empty(shape, object)
            flat = strings.reshape(-1)
            for i in range(flat.size):
                flat[i] = ctypes.string_at(
                    c.TF_StringGetDataPointer(place), c.TF_StringGetSize(place)
                )
                place += _TSTRING_BYTES
            return strings
        array = np.empty(shape, DTYPES[dtype])
        ctypes.memmove(array.ctypes.data, place, array.nbytes)
        return array

    def free(self, tensor: int, is_ours: bool = False) -> None:
        """Frees a TF_Tensor.

        Args:
            tensor: The tensor.
            is_ours: Whether `to_tensor` made it: the runtime frees the tensor
                but not the long strings that were copied into it.
        """
        if is_ours and self.c.TF_TensorType(tensor) == STRING:
            place = self.c.TF_TensorData(tensor)
            size = self.c.TF_TensorByteSize(tensor)
            for start in range(0, size, _TSTRING_BYTES):
                self.c.TF_StringDealloc(place + start)
        self.c.TF_DeleteTensor(tensor)


class Status:
    """A TF_Status; leaving the block raises its error.

    Args:
        runtime: The libraries.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._c = runtime.c
        self.pointer = self._c.TF_NewStatus()

    def __enter__(self) -> "Status":
        """Returns itself."""
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        """Frees the status; raises RuntimeFailure unless it is OK."""
        code = self._c.TF_GetCode(self.pointer)
        message = bytes(self._c.TF_Message(self.pointer))
        self._c.TF_DeleteStatus(self.pointer)
        if code and kind is None:
            raise RuntimeFailure(code, message.decode("utf-8", "replace"))


_LOADED: list[Runtime] = []
_LOCK = threading.Lock()


def load(server: str = servers.NEWEST, disable_xla: bool = True) -> Runtime:
    """Loads the libraries once per process.

    Args:
        server: TensorFlow Serving version whose text ops are loaded.
        disable_xla: Refuse functions compiled with XLA, as the server does.

    Raises:
        ValueError: The libraries are already loaded with other arguments; or
            as `Runtime`.
    """
    with _LOCK:
        if not _LOADED:
            _LOADED.append(Runtime(server, disable_xla))
        (runtime,) = _LOADED
    if (runtime.server, runtime.disable_xla) != (server, disable_xla):
        raise ValueError(
            "a process loads the runtime once: `server` and `disable_xla` "
            f"are {runtime.server!r} and {runtime.disable_xla}. Received: "
            f"{server!r} and {disable_xla}. Start another process."
        )
    return runtime


def text_libraries(server: str) -> list[pathlib.Path]:
    """Returns the tensorflow_text libraries that a server links."""
    folder = _folder_of("tensorflow_text") / "python"
    return [
        path
        for path in sorted(folder.glob("*/_*.so"))
        if servers.is_linked(path.stem, server)
    ]


def _folder_of(package: str) -> pathlib.Path:
    """Returns the folder of a package without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            f"the C++ runtime needs the package {package}. Received: none. "
            f"Install {package}."
        )
    return pathlib.Path(spec.submodule_search_locations[0])
