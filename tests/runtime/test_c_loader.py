"""The C++ runtime through ctypes, in processes without tensorflow."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from tests.serving import small_saved_model
from tfllm.runtime import c_api, saved_model_file, servers
from tfllm.runtime.c_loader import RuntimeFailure, SavedModel

ROOT = pathlib.Path(__file__).parents[2]
CHECK = ROOT / "tests/runtime/c_loader_check.py"
TEXTS = ["", "Ein STRASSE", "x" * 30_000, "ÄÖ 🙂 漢字", "a\0B"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return small_saved_model.write(tmp_path_factory.mktemp("small") / "1")


@pytest.fixture(scope="module")
def found(folder: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, str(CHECK), folder, json.dumps(TEXTS)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_answers(found: dict[str, Any]) -> None:
    assert found["tensorflow"] is False
    assert found["folded"] == [text.casefold() for text in TEXTS]
    assert found["bytes"] == [len(text.encode()) for text in TEXTS]
    assert found["dtype"] == "int32"
    assert found["raw"] == ["ab", "c"]
    assert found["total"] == [16.0, 44.0]
    assert found["empty"] == [0]


@pytest.mark.parametrize(
    ("case", "kind", "code", "message"),
    [
        ("signature", "ValueError", 0, "'total']. Received: 'none'"),
        ("inputs", "ValueError", 0, "['more', 'rows']. Received: ['rows']"),
        ("outputs", "ValueError", 0, "['total']. Received: ['a']"),
        ("dtype", "ValueError", 0, "must be int64. Received: float32"),
        ("runtime", "RuntimeFailure", 3, "INVALID_ARGUMENT: "),
        ("timeout", "RuntimeFailure", 4, "DEADLINE_EXCEEDED: "),
        ("server", "ValueError", 0, "Received: '2.12.1' and True"),
        ("closed", "ValueError", 0, "Received: a closed one"),
    ],
)
def test_errors(
    found: dict[str, Any], case: str, kind: str, code: int, message: str
) -> None:
    error = found["errors"][case]
    assert error[:2] == [kind, code]
    assert message in error[2]


def test_many_threads(found: dict[str, Any]) -> None:
    assert found["wrong"] == []
    assert sorted(found["order"]) == ["close", "run"]


def test_strings_are_freed(found: dict[str, Any]) -> None:
    assert found["growth"] < 20e6


def test_a_server_without_the_op_refuses(folder: str) -> None:
    code = (
        "import sys; from tfllm.runtime import servers\n"
        "servers.SINCE['_normalize_ops'] = '2.20.0'\n"
        "from tfllm.runtime.c_loader import SavedModel\n"
        "SavedModel(sys.argv[1], server='2.19.1')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 1
    assert "Op type not registered 'CaseFoldUTF8'" in done.stderr


def test_what_the_file_says(folder: str) -> None:
    read = saved_model_file.read(folder)
    assert sorted(read.signatures) == ["serving_default", "spin", "total"]
    total = read.signatures["total"]
    assert total.method_name == "tensorflow/serving/predict"
    assert {
        name: (info.dtype, info.shape) for name, info in total.inputs.items()
    } == {"more": ("int64", (-1,)), "rows": ("float32", (-1, -1))}
    assert {"CaseFoldUTF8", "StringLength", "Sum"} <= set(read.ops)
    assert not set(read.ops) & read.functions
    assert not any("inference" in op for op in read.ops)


def test_files_that_are_none(folder: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="must hold saved_model.pb. Rec"):
        saved_model_file.read(tmp_path)
    content = (pathlib.Path(folder) / "saved_model.pb").read_bytes()
    (tmp_path / "saved_model.pb").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="must be whole. Received"):
        saved_model_file.read(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ValueError, match="tagged 'serve'. Received"):
        saved_model_file.read(tmp_path)


def test_versions_of_servers() -> None:
    names = {path.stem for path in c_api.text_libraries("2.19.1")}
    newer = {path.stem for path in c_api.text_libraries("2.20.0")}
    assert newer - names == {"_trimmer_ops", "_utf8_binarize_op"}
    assert "_fast_bert_normalizer" in names
    assert servers.missing_ops({"TFText>RoundRobinTrim", "Sum"}, "2.19.1") == [
        "TFText>RoundRobinTrim"
    ]
    assert servers.missing_ops({"TFText>RoundRobinTrim"}, "2.20") == []
    for version in ("2.11.0", "latest", "2"):
        with pytest.raises(ValueError, match=f"Received: '{version}'"):
            servers.parse(version)


def test_round_trip_of_arrays(folder: str) -> None:
    # In this process the libraries are TensorFlow's own.
    runtime = c_api.load(disable_xla=False)
    arrays = [
        np.array([[0, 1], [1, 0]], dtype)
        for dtype in ("float16", "int8", "bool", "int64", "uint8")
    ]
    # A scalar stays one; columns lie apart.
    for array in (*arrays, np.array(7), arrays[0].T, np.zeros((2, 0), "int8")):
        dtype = array.dtype.name
        tensor = runtime.to_tensor(array, dtype)
        back = runtime.to_array(tensor)
        runtime.free(tensor, is_ours=True)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(back, array)
    assert runtime.version.startswith("2.")


def test_shapes_are_checked_before_the_runtime(folder: str) -> None:
    with SavedModel(folder, disable_xla=False) as model:
        with pytest.raises(ValueError, match=r"of shape \[\?\] but shape \[\]"):
            model.run("serving_default", {"text": "a"})
        rows = np.ones((2, 3), np.float32)
        with pytest.raises(ValueError, match="the same batch size"):
            model.run("total", {"rows": rows, "more": np.ones(3, np.int64)})


def test_what_is_not_checked_reaches_the_graph(folder: str) -> None:
    with SavedModel(folder, disable_xla=False) as model:
        with pytest.raises(
            RuntimeFailure, match="not compatible with expected"
        ):
            model.run_unchecked(
                "serving_default", {"text": np.array(b"a", object)}
            )
        rows = np.ones((2, 3), np.float32)
        with pytest.raises(RuntimeFailure, match="the same size on axis 0"):
            model.run_unchecked(
                "total", {"rows": rows, "more": np.ones(3, np.int64)}
            )
        with pytest.raises(ValueError, match="must be names of the model"):
            model.run_unchecked("total", {"text": rows})
