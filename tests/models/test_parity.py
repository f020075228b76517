"""Our models against recorded reference models, on any Keras backend.

tests/testdata/parity_*.safetensors come from tools/record_parity.py.
Run on JAX, in an environment without TensorFlow, by `make test-jax`.
"""

import json
import pathlib
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from keras import ops

from tfllm.interop import model_folder
from tfllm.models import (
    FAMILIES,
    ChoiceModel,
    DetectionModel,
    PermutationModel,
    PretrainingModel,
    SequenceModel,
    SpanModel,
    TokenModel,
    Transformer,
)
from tools.family_arguments import pretraining_class

TESTDATA = pathlib.Path(__file__).parents[1] / "testdata"
RECORDED = sorted(TESTDATA.glob("parity_*.safetensors"))
TOLERANCE = 1e-5
# Key of `Family.architectures` -> our model, without the config.
HEADS: dict[str, Any] = {
    "sequence_classification": (SequenceModel, {"num_labels": 5}),
    "token_classification": (TokenModel, {"num_labels": 5}),
    "question_answering": (SpanModel, {}),
    "multiple_choice": (ChoiceModel, {}),
    "replaced_token_detection": (DetectionModel, {}),
}


def read(
    file: pathlib.Path,
) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """Returns config.json, and tensors by what stands before the last "/"."""
    parts: dict[str, dict[str, np.ndarray]] = {}
    with safetensors.safe_open(file, "numpy") as tensors:
        config = json.loads(tensors.metadata()["config"])
        for key in tensors.keys():  # noqa: SIM118 - not a dict
            kind, name = key.rsplit("/", 1)
            parts.setdefault(kind, {})[name] = tensors.get_tensor(key)
    parts["inputs"] = {
        name: value.astype("int32") for name, value in parts["inputs"].items()
    }
    return config, parts


class Reference:
    """What one recorded file holds, and our model with its weights."""

    def __init__(self, file: pathlib.Path, folder: pathlib.Path) -> None:
        self.config, parts = read(file)
        self.inputs = parts["inputs"]
        self.outputs = parts["outputs"]
        (folder / "config.json").write_text(json.dumps(self.config))
        safetensors.numpy.save_file(
            parts["weights"],
            folder / "model.safetensors",
            metadata={"format": "pt"},
        )
        _, config = model_folder.read_config(folder)
        self.model = pretraining_class(config)(config)
        self.model.build()
        self.report = model_folder.load_weights(self.model, folder)


@pytest.fixture(scope="module", params=RECORDED, ids=lambda f: f.stem)
def reference(request: Any, tmp_path_factory: Any) -> Reference:
    return Reference(request.param, tmp_path_factory.mktemp("folder"))


def hidden_states(
    transformer: Transformer,
    inputs: dict[str, np.ndarray],
    source: Any = None,
    source_mask: Any = None,
) -> list[Any]:
    """Returns the embeddings' and every block's output.

    Args:
        transformer: One stack.
        inputs: What it reads.
        source: Output of the encoder, for a decoder that reads one.
        source_mask: Its real tokens.
    """
    mask = inputs["padding_mask"]
    length = mask.shape[1]
    positions = transformer._count_positions(mask, 0, length)
    x = transformer.embeddings(
        inputs["token_ids"],
        segment_ids=inputs.get("segment_ids"),
        position_ids=positions,
        token_table=inputs.get("token_table"),
    )
    terms: dict[str, Any] = {
        "positions": transformer._attention_positions(
            positions, 0, length, length, inputs.get("segment_ids")
        ),
    }
    if source is not None:
        hidden = 1.0 - source_mask[:, None, None].astype("float32")
        terms["memory_penalty"] = 1e9 * hidden
    states = [x]
    for i in range(transformer.stack.num_layers):
        block = transformer.blocks[transformer.stack.block_index(i)]
        if source is not None:
            terms["memory"] = transformer._memory(block, source)
        penalty = transformer._mask_penalty(
            mask, length, length, 0, window=transformer.stack.window_of(i)
        )
        x, _ = block(x, mask_penalty=penalty, **terms)
        states.append(x)
    if transformer.final_norm is not None:
        states[-1] = transformer.final_norm(x)
    if transformer.final_projection is not None:
        states[-1] = transformer.final_projection(states[-1])
    return states


def assert_equal(reference: Reference, name: str, ours: Any) -> None:
    """Compares what belongs to real tokens: padding sees anything."""
    ours, theirs = ops.convert_to_numpy(ours), reference.outputs[name]
    if ours.ndim == 3:
        side = "source" if name.startswith("encoder") else "padding"
        real = reference.inputs[f"{side}_mask"].astype(bool)
        ours, theirs = ours[real], theirs[real]
    np.testing.assert_allclose(
        ours, theirs, atol=TOLERANCE, rtol=0, err_msg=name
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_recorded_reference(family: str) -> None:
    assert TESTDATA / f"parity_{family}.safetensors" in RECORDED


def test_recorded_files_are_small() -> None:
    assert all(
        file.stat().st_size <= 200_000
        for file in TESTDATA.glob("*.safetensors")
    )


def test_every_weight_is_loaded(reference: Reference) -> None:
    assert not reference.report


def test_hidden_states_equal_the_reference(reference: Reference) -> None:
    body, inputs = reference.model.transformer, reference.inputs
    if isinstance(body, Transformer):
        for i, ours in enumerate(hidden_states(body, inputs)):
            assert_equal(reference, f"hidden_states.{i}", ours)
        return
    source_mask = inputs["source_mask"]
    source = {"token_ids": inputs["source_ids"], "padding_mask": source_mask}
    states = hidden_states(body.encoder, source)
    for i, ours in enumerate(states):
        assert_equal(reference, f"encoder_hidden_states.{i}", ours)
    target = {**inputs, "token_table": body.output_embeddings.token_table}
    states = hidden_states(body.decoder, target, states[-1], source_mask)
    for i, ours in enumerate(states):
        assert_equal(reference, f"hidden_states.{i}", ours)


def test_all_heads_equal_the_reference(reference: Reference) -> None:
    # A language model counts the real tokens by itself.
    inputs = {k: v for k, v in reference.inputs.items() if k != "position_ids"}
    outputs = reference.model(**inputs)
    if "hidden_states" in outputs:
        last = f"hidden_states.{reference.model.config.stacks[-1].num_layers}"
        assert_equal(reference, last, outputs.pop("hidden_states"))
        assert set(outputs) == {"clm"}
    elif isinstance(reference.model, PermutationModel):
        assert set(outputs) == {"plm"}
    else:
        pairs = reference.model.config.pair_objective != "none"
        assert set(outputs) == ({"mlm", "nsp"} if pairs else {"mlm"})
    for name, ours in outputs.items():
        assert_equal(reference, name, ours)


def test_cached_steps_equal_the_reference(reference: Reference) -> None:
    """Prompts padded on the left, then token by token."""
    if not reference.model.config.generates:
        pytest.skip("an encoder has no cache")
    inputs = reference.inputs
    rows, length = inputs["token_ids"].shape
    names = [name for name in ("source_ids", "source_mask") if name in inputs]
    cache = reference.model.create_cache(
        rows, length, *(inputs[name] for name in names)
    )
    logits = []
    for start, stop in ((0, 9), *((i, i + 1) for i in range(9, length))):
        outputs, cache = reference.model(
            inputs["token_ids"][:, start:stop],
            padding_mask=inputs["padding_mask"],
            cache=cache,
        )
        logits.append(ops.convert_to_numpy(outputs["clm"]))
    assert_equal(reference, "clm", np.concatenate(logits, axis=1))


def test_the_tolerance_tells_one_gelu_from_the_other(
    tmp_path: pathlib.Path,
) -> None:
    reference = Reference(TESTDATA / "parity_bert.safetensors", tmp_path)
    outputs = []
    for activation in ("gelu", "gelu_new"):
        config = {**reference.config, "hidden_act": activation}
        (tmp_path / "config.json").write_text(json.dumps(config))
        model = PretrainingModel(model_folder.read_config(tmp_path)[1])
        model.build()
        model_folder.load_weights(model, tmp_path)
        logits = model(**reference.inputs)["mlm"]
        outputs.append(ops.convert_to_numpy(logits))
    assert np.abs(outputs[0] - outputs[1]).max() > 10 * TOLERANCE


@pytest.mark.parametrize(
    ("family", "head"),
    [
        (name, head)
        for name, family in FAMILIES.items()
        for head in HEADS
        if head in family.architectures
    ],
)
def test_heads_for_tasks_equal_the_reference(
    family: str, head: str, tmp_path: pathlib.Path
) -> None:
    """Through a folder as Transformers writes it, and one of our own."""
    config, parts = read(TESTDATA / f"parity_{family}.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    safetensors.numpy.save_file(
        parts["weights"] | parts[f"{head}/weights"],
        tmp_path / "model.safetensors",
        metadata={"format": "pt"},
    )
    cls, options = HEADS[head]
    names = ("token_ids", "padding_mask", "segment_ids")
    inputs = {k: v for k, v in parts["inputs"].items() if k in names}
    real = inputs["padding_mask"].astype(bool)
    if head == "multiple_choice":
        inputs = {name: value[None] for name, value in inputs.items()}
    model = cls(model_folder.read_config(tmp_path)[1], **options)
    model.build()
    assert not model_folder.load_weights(model, tmp_path)
    outputs = model(**inputs)
    if not isinstance(outputs, dict):
        outputs = {"logits": outputs}
    for name, theirs in parts[f"{head}/outputs"].items():
        ours = ops.convert_to_numpy(outputs.pop(name))
        if theirs.shape[:2] == real.shape:
            ours, theirs = ours[real], theirs[real]
        np.testing.assert_allclose(
            ours, theirs, atol=TOLERANCE, rtol=0, err_msg=name
        )
    assert not outputs
    weights = [np.array(np.asarray(v.value)) for v in model.weights]
    model_folder.save(model, tmp_path / "ours")
    for variable in model.weights:
        variable.assign(ops.zeros(variable.shape))
    assert not model_folder.load_weights(model, tmp_path / "ours")
    for variable, weight in zip(model.weights, weights, strict=True):
        np.testing.assert_array_equal(
            np.asarray(variable.value), weight, variable.path
        )
