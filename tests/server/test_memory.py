"""Which requests are large, and that what they took goes back."""

import numpy as np
import pytest

from tfllm.runtime.saved_model_file import Signature, TensorInfo
from tfllm.server import memory
from tfllm.server.deadlines import Deadline
from tfllm.server.inference import Inference
from tfllm.server.metrics import Metrics
from tfllm.server.protos import SignatureDefMap
from tfllm.server.servable import Servable
from tfllm.server.statuses import ServingError


def texts(*values: bytes) -> dict[str, np.ndarray]:
    array = np.empty(len(values), object)
    array[:] = values
    return {"text": array}


def test_texts_count_with_their_length() -> None:
    assert not memory.is_large(texts(b"a" * 100, b""))
    assert memory.is_large(texts(*[b"a" * memory.LARGE_BYTES]))
    assert memory.is_large({"x": np.zeros(memory.LARGE_BYTES, np.int8)})


class Engine:
    """Fails for every text, as one that runs out of time."""

    signatures = {
        "serving_default": Signature(
            {"text": TensorInfo("text:0", "string", (-1,))},
            {"y": TensorInfo("y:0", "int32", (-1,))},
            "",
        )
    }

    def run(self, *_: object) -> dict[str, np.ndarray]:
        raise ServingError("DEADLINE_EXCEEDED", "late")

    def close(self) -> None:
        """Nothing to free."""


@pytest.mark.parametrize(("size", "count"), [(10, 0), (memory.LARGE_BYTES, 1)])
def test_memory_goes_back_after_large_requests_that_fail(
    monkeypatch: pytest.MonkeyPatch, size: int, count: int
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(memory, "give_back", lambda: calls.append(1))
    servable = Servable("m", 1, Engine(), SignatureDefMap())
    with pytest.raises(ServingError, match="late"):
        Inference(Metrics()).predict(
            servable, "", texts(b"a" * size), (), Deadline(None)
        )
    assert len(calls) == count


def test_the_c_library_takes_it() -> None:
    memory.give_back()
