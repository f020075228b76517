"""Signatures and ops of a saved_model.pb that is written by hand."""

import pathlib
import subprocess
import sys

from tfllm.runtime import saved_model_file
from tfllm.runtime.messages import SavedModel
from tfllm.runtime.saved_model_file import Signature, TensorInfo

ROOT = pathlib.Path(__file__).parents[2]


def test_a_file_by_hand(tmp_path: pathlib.Path) -> None:
    saved_model = SavedModel()
    saved_model.meta_graphs.add().meta_info_def.tags.append("train")
    graph = saved_model.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    graph.graph_def.node.add(name="a", op="Sum", device="/CPU:0")
    graph.graph_def.node.add(name="b", op="f")
    node = graph.graph_def.node.add(name="c", op="Sum")
    node.attr["_XlaMustCompile"].b = True
    node.attr["_other"].b = True
    for name, compiled in (("f", False), ("g", True)):
        function = graph.graph_def.library.function.add()
        function.signature.name = name
        function.node_def.add(name="d", op="Max")
        function.attr["_XlaMustCompile"].b = compiled
    signature = graph.signature_def["name"]
    signature.method_name = "tensorflow/serving/predict"
    tensor = signature.inputs["known"]
    tensor.name, tensor.dtype = "known:0", 9
    tensor.tensor_shape.dim.add(size=-1)
    tensor.tensor_shape.dim.add(size=3)
    signature.inputs["any_rank"].dtype = 7
    signature.inputs["any_rank"].tensor_shape.unknown_rank = True
    signature.outputs["scalar"].dtype = 1
    signature.outputs["scalar"].tensor_shape.SetInParent()
    signature.outputs["without"].dtype = 77
    graph.signature_def["__saved_model_init_op"].SetInParent()
    path = tmp_path / saved_model_file.SAVED_MODEL_FILE
    path.write_bytes(saved_model.SerializeToString())
    read = saved_model_file.read(tmp_path)
    assert read.signatures == {
        "name": Signature(
            inputs={
                "any_rank": TensorInfo("", "string", None),
                "known": TensorInfo("known:0", "int64", (-1, 3)),
            },
            outputs={
                "scalar": TensorInfo("", "float32", ()),
                "without": TensorInfo("", "dtype 77", None),
            },
            method_name="tensorflow/serving/predict",
        )
    }
    assert read.ops == {"Max": 2, "Sum": 2}
    assert read.devices == {"/CPU:0"}
    assert read.functions == {"f", "g"}
    assert read.compiled == ("c", "g")


def test_tensorflow_can_be_imported_after_its_messages() -> None:
    code = (
        "import sys, tfllm.runtime.saved_model_file\n"
        "assert 'tensorflow' not in sys.modules\n"
        "import tensorflow as tf\n"
        "assert tf.constant(2).numpy() == 2"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
