"""What the gate refuses, and what it says."""

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_text as tf_text

from tests.serving import small_saved_model
from tfllm.runtime import saved_model_file
from tfllm.serving import gate
from tfllm.serving.signatures.served_task import Check

TEXTS = np.array([b"AB", b"C"], object)
ROWS = [
    {"folded": np.array(b"ab", object), "bytes": np.array(2, np.int32)},
    {"folded": np.array(b"c", object), "bytes": np.array(1, np.int32)},
]
CHECK = Check("serving_default", {"text": TEXTS}, ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("gate") / "1"
    small_saved_model.write(path)
    return path


def save(
    call: Callable[[tf.Tensor], Any], folder: pathlib.Path, **tracked: Any
) -> pathlib.Path:
    module = tf.Module()
    for name, value in tracked.items():
        setattr(module, name, value)
    spec = [tf.TensorSpec([None], tf.string, name="text")]
    function = tf.function(call, input_signature=spec, autograph=False)
    tf.saved_model.save(module, str(folder), signatures=function)
    return folder


def test_what_answers_as_expected_passes(folder: pathlib.Path) -> None:
    report = gate.check(
        folder, [CHECK], [(CHECK.signature, CHECK.inputs)], "2.12.1", 4
    )
    assert report.rows == 2
    assert report.largest_difference == 0.0
    assert str(report).startswith("2 rows as in Python (floats within 0.0e+00)")
    # Seven other ranks, and another dtype.
    assert str(report).endswith("; 8 malformed requests refused")


def test_other_answers_are_refused(folder: pathlib.Path) -> None:
    wrong = [ROWS[0], {**ROWS[1], "folded": np.array(b"d", object)}]
    with pytest.raises(ValueError, match="Received: `folded` of") as found:
        gate.check(
            folder,
            [Check("serving_default", {"text": TEXTS}, wrong)],
            [("total", {"text": TEXTS}), (CHECK.signature, CHECK.inputs)],
            "2.12.1",
            4,
        )
    message = str(found.value)
    assert (
        "`folded` of 'serving_default', row 1 (text=b'C') is b'c', in"
        in message
    )
    assert "Python b'd'" in message
    assert "a warm-up request of 'total' fails" in message
    assert "malformed" not in message
    assert message.endswith("Nothing was exported.")


def test_a_damaged_export_does_not_load(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    shutil.copytree(folder, tmp_path / "1")
    (data,) = (tmp_path / "1/variables").glob("*.data-*")
    data.write_bytes(b"")
    with pytest.raises(ValueError, match="must load in server 2.20.0. Rec"):
        gate.check(tmp_path / "1", [CHECK], [], "2.20.0", 4)


def trim(text: tf.Tensor) -> dict[str, tf.Tensor]:
    pieces = tf_text.WhitespaceTokenizer().tokenize(text)
    (kept,) = tf_text.RoundRobinTrimmer(3).trim([pieces])
    return {"size": kept.row_lengths()}


def call_python(text: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"out": tf.numpy_function(lambda x: x, [text], tf.string)}


def compile_it(text: tf.Tensor) -> dict[str, tf.Tensor]:
    twice = tf.function(lambda x: x * 2, jit_compile=True)
    return {"out": twice(tf.strings.length(text))}


def on_a_gpu(text: tf.Tensor) -> dict[str, tf.Tensor]:
    with tf.device("GPU:0"):
        return {"out": tf.strings.length(text) + 1}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (trim, "op TFText>RoundRobinTrim is in no server before 2.20.0"),
        (call_python, "op PyFunc does not run on a server"),
        (compile_it, "asks for XLA"),
        (on_a_gpu, "a node asks for the device /device:GPU:0"),
    ],
)
def test_graphs_that_are_refused(
    call: Any, message: str, tmp_path: pathlib.Path
) -> None:
    file = saved_model_file.read(save(call, tmp_path / "1"))
    problems = gate.graph_problems(file, "2.19.1")
    assert any(message in problem for problem in problems), problems
    others = gate.graph_problems(file, "2.20.0")
    assert len(others) == len(problems) - (call is trim)


def test_state_that_requests_change_is_refused(tmp_path: pathlib.Path) -> None:
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, 0)

    def count(text: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = table.lookup(text)
        table.insert(text, seen + 1)
        return {"seen": seen}

    file = saved_model_file.read(save(count, tmp_path / "1", table=table))
    problems = gate.graph_problems(file, "2.20.0")
    assert any("MutableHashTable" in problem for problem in problems)
    assert any("LookupTableInsert" in problem for problem in problems)


def test_weights_are_stored_once(folder: pathlib.Path) -> None:
    assert gate.size_problems(folder, 4) == []
    path = folder / "variables/variables.data-00000-of-00001"
    content = path.read_bytes()
    path.write_bytes(content + bytes(100_000))
    (problem,) = gate.size_problems(folder, 30_000)
    path.write_bytes(content)
    assert "for weights of 30000" in problem


def gate_of(call: Any, base: pathlib.Path) -> gate.GateReport:
    """Tries a graph that is asked for texts, and checks no answer."""
    requests = [("serving_default", {"text": TEXTS})]
    return gate.check(save(call, base / "1"), [], requests, "2.12.1", 4)


def test_a_graph_that_answers_other_ranks_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    with pytest.raises(ValueError, match="must pass the gate") as found:
        gate_of(lambda text: {"out": tf.strings.length(text)}, tmp_path)
    assert (
        "a request of 'serving_default' (one axis more) is answered, with "
        "shapes {'out': (2, 1)}" in str(found.value)
    )


def test_a_graph_that_fails_without_rows_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    def call(text: tf.Tensor) -> dict[str, tf.Tensor]:
        text = tf.ensure_shape(text, [None])
        with tf.control_dependencies(
            [tf.debugging.assert_positive(tf.size(text))]
        ):
            return {"out": tf.strings.length(text)}

    with pytest.raises(
        ValueError, match="Received: a request of .* \\(no rows\\)"
    ):
        gate_of(call, tmp_path)


def test_a_graph_that_ends_the_process_is_refused(
    tmp_path: pathlib.Path,
) -> None:
    normalizer = tf_text.FastBertTokenizer(
        ["[UNK]", "a"], support_detokenization=False
    )

    def call(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"out": normalizer.tokenize(text).row_lengths()}

    with pytest.raises(ValueError, match="must outlive every request") as found:
        gate_of(call, tmp_path)
    assert "exit status -" in str(found.value)
    assert "at a request of 'serving_default' (" in str(found.value)
