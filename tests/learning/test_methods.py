"""A method of this file's own: its hooks, its options, its folder."""

import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.flags import FLAGS

from tests.tasks.tiny_task import (
    batches,
    dataset,
    difference,
    model_config,
    train,
)
from tfllm import run_settings
from tfllm.interop import model_folder
from tfllm.learning import method_options
from tfllm.learning.learner import Learner, MicroBatch, Pass, Sums, Tensors
from tfllm.learning.methods import METHODS, Adversarial, Method, RDrop
from tfllm.runs import flags, train_flags
from tfllm.runs.run_config import RunConfig
from tfllm.tasks import MaskedLM
from tfllm.training import trainer
from tfllm.training.run_folder import RunFolder

ROOT = pathlib.Path(__file__).parents[2]
# Name of the hook and number of examples, in the order of the calls.
CALLS: list[tuple[str, Any]] = []


@dataclasses.dataclass(frozen=True)
class Toy(Method):
    """Adds a number to the biases of a head after each update.

    Attributes:
        nudge: Number that is added; 0 for none.
        rounds: Number of times that it is added.
        tone: How loud it is.
    """

    name: ClassVar[str] = "toy"

    nudge: float = 0.0
    rounds: int = 1
    tone: Literal["low", "high"] = "low"

    def attach(self, task: Learner) -> keras.Variable:
        CALLS.append(("attach", None))
        return keras.Variable(tf.zeros([3]), trainable=False, name="memory")

    def carry(self, task: Learner, x: Tensors) -> Tensors:
        CALLS.append(("carry", x["token_ids"].shape[0]))
        return {"numbers": tf.reduce_sum(x["token_ids"], axis=1)}

    def backward(
        self,
        task: Learner,
        micro: MicroBatch,
        backward: Callable[[MicroBatch], Pass],
    ) -> Pass:
        ids = micro.x["token_ids"]
        CALLS.append(("backward", ids.shape[0]))
        # The rows that came along are those of these examples.
        carried = micro.carried["toy"]["numbers"]
        with tf.control_dependencies(
            [tf.debugging.assert_equal(carried, tf.reduce_sum(ids, axis=1))]
        ):
            found = backward(micro)
        CALLS.append(("behind", ids.shape[0]))
        return found

    def loss(
        self, task: Learner, micro: MicroBatch, outputs: Tensors, sums: Sums
    ) -> tuple[Sums, tf.Tensor]:
        CALLS.append(("loss", outputs["nsp"].shape[0]))
        # A weight of 1 per example of the global batch: 2 x 1/8 each.
        added = tf.reduce_sum(micro.weights["nsp"]) * micro.factors["nsp"]
        return sums, 2.0 * added * head_bias(task)[0]

    def gradients(
        self, task: Learner, gradients: list[tf.Tensor], totals: Tensors
    ) -> list[tf.Tensor]:
        CALLS.append(("gradients", None))
        with tf.control_dependencies(
            [tf.debugging.assert_equal(totals["nsp"], 8.0)]
        ):
            return [tf.identity(3.0 * gradient) for gradient in gradients]

    def after_update(self, task: Learner) -> None:
        CALLS.append(("after_update", None))
        task.method_state["toy"].assign_add(tf.ones([3]))
        bias = head_bias(task)
        for _ in range(self.rounds):
            bias.assign_add(self.nudge * tf.ones_like(bias))

    def covered(self, task: Learner) -> list[keras.Variable]:
        return [task.method_state["toy"]]

    def write(self, task: Learner, folder: str) -> None:
        values = task.method_state["toy"].numpy().tolist()
        (pathlib.Path(folder) / "toy.json").write_text(json.dumps(values))

    def read(self, task: Learner, folder: str) -> None:
        text = (pathlib.Path(folder) / "toy.json").read_text()
        task.method_state["toy"].assign(json.loads(text))


def head_bias(task: Any) -> keras.Variable:
    (bias,) = [
        variable
        for variable in task.trainable_variables
        if variable.path.endswith("sequence_head/bias")
    ]
    return bias


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The one edit that a method costs beside its file."""
    monkeypatch.setitem(METHODS, "toy", Toy)
    CALLS.clear()
    yield
    CALLS.clear()


def micro(size: int) -> list[tuple[str, int]]:
    return [("backward", size), ("loss", size), ("behind", size)]


# A loop is traced once, besides its first micro-batch.
@pytest.mark.parametrize(
    ("accumulation_steps", "parts"),
    [(1, micro(8)), (4, micro(2) + micro(2))],
)
def test_the_hooks_are_called_in_order(
    toy: None, accumulation_steps: int, parts: list
) -> None:
    task, _ = train(
        found=batches(2), toy=0.5, accumulation_steps=accumulation_steps
    )
    assert [
        ("attach", None),
        ("carry", 8),
        *parts,
        ("gradients", None),
        ("after_update", None),
    ] == CALLS
    # Once for each of two steps.
    np.testing.assert_array_equal(task.method_state["toy"].numpy(), [2, 2, 2])


def moves(strategy: Any = None, **options: Any) -> np.ndarray:
    """How far one eager step of SGD moves the biases of a head."""
    keras.utils.set_random_seed(1)
    with (strategy or tf.distribute.get_strategy()).scope():
        task = MaskedLM(model_config())
        task.compile(keras.optimizers.SGD(1.0), run_eagerly=True, **options)
    before = head_bias(task).numpy()
    task.fit(dataset(batches(1)), verbose=0, shuffle=False)
    return head_bias(task).numpy() - before


@pytest.mark.parametrize("accumulation_steps", [1, 4])
def test_what_the_hooks_do_is_done(toy: None, accumulation_steps: int) -> None:
    """Against the gradient of a step without them."""
    added = np.zeros(2)
    added[0] = 2.0
    expected = 3.0 * (moves() - added) + 2 * 0.5
    moved = moves(toy=0.5, toy_rounds=2, accumulation_steps=accumulation_steps)
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def in_a_process(function: str) -> dict[str, Any]:
    """What a function of this file returns, run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.learning.test_methods", function],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_two_replicas_do_the_same() -> None:
    found = in_a_process("train_on_two_replicas")
    assert found["apart"] < 1e-5
    calls = [tuple(call) for call in found["calls"]]
    assert calls[0] == ("attach", None)
    # Both replicas at once, and then once for both.
    assert calls[-1] == ("after_update", None)
    assert sorted(calls[1:-1], key=str) == sorted(
        2 * [("carry", 4), *micro(2), *micro(2), ("gradients", None)], key=str
    )


def test_options_are_flags_and_a_section_of_run_json() -> None:
    found = in_a_process("read_flags")
    assert found["section"] == {
        "toy": {"nudge": 0.5, "rounds": 2, "tone": "high"}
    }
    help_text = " ".join(found["help"].split())
    assert "--toy=X Number that is added; 0 for none. Default: 0." in help_text
    assert "--toy_tone={low,high} How loud it is. Default: low." in help_text
    # As every flag is checked.
    assert "`toy_rounds` goes with `toy`." in found["idle"]


def test_options_reach_the_task(toy: None, tmp_path: pathlib.Path) -> None:
    config = RunConfig.of(model_dir=str(tmp_path), toy=0.5, toy_rounds=2)
    task = MaskedLM(model_config())
    trainer.compile_task(task, config.trainer_config(10))
    assert task.settings.methods == (Toy(0.5, 2),)
    # A record and its run are the same.
    folder = RunFolder(str(tmp_path))
    folder.start(config.settings, config.values, overwrite=False)
    assert "--toy_rounds=2" in (tmp_path / "flags.txt").read_text().split()
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["methods"] == method_options.to_record(config.methods)
    folder.open(config.settings, overwrite=False)
    folder.close()
    with pytest.raises(ValueError, match="toy_rounds was 2, is 3"):
        folder.open(config.replace(toy_rounds=3).settings, overwrite=False)
    folder.close()


def test_a_method_is_given_in_several_ways(toy: None) -> None:
    expected = (RDrop(0.5), Toy(2.0, tone="high"))
    for arguments in (
        {"r_drop": 0.5, "toy": 2.0, "toy_tone": "high"},
        {"methods": expected},
        {"methods": [RDrop(0.5)], "toy": {"nudge": 2.0, "tone": "high"}},
        {"methods": [RDrop(0.5), Adversarial()], "toy": expected[1]},
        {"methods": method_options.to_record(expected)},
    ):
        given = {**arguments, "jit_compile": False}
        assert method_options.taken_from(given) == expected
        assert given == {"jit_compile": False}
    assert not method_options.taken_from({"toy": 0.0, "adversarial": None})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"toy_rounds": 2}, "`toy_rounds` goes with `toy`.* toy=0.0"),
        ({"methods": [0.5]}, "list of methods.*Received: 0.5"),
        ({"methods": [RDrop(1.0)], "r_drop": 2.0}, "once.*'r_drop', 'r_drop'"),
        ({"methods": {"prune": {}}}, "some of.*'toy'.*Received: 'prune'"),
        ({"methods": {"toy": {"speed": 1}}}, "'nudge'.*Received: .'speed'"),
    ],
)
def test_wrong_options(toy: None, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        method_options.taken_from(arguments)


def test_names_are_those_of_the_table() -> None:
    assert {kind.name: kind for kind in METHODS.values()} == METHODS
    flags = [
        f for kind in METHODS.values() for f in method_options.flags_of(kind)
    ]
    assert len(flags) == len(set(flags))


# Keras 3.15 with NumPy 2, in its own loading of variables.
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_a_folder_holds_what_a_method_adds(
    toy: None, tmp_path: pathlib.Path
) -> None:
    task, _ = train(found=batches(2), toy=0.5, r_drop=0.5)
    # A weight of the model, as an adapter has them.
    assert any(v.path == "memory" for v in task.non_trainable_variables)
    model_folder.save(task, tmp_path)
    own = json.loads((tmp_path / "config.json").read_text())["tfllm"]
    assert own["methods"] == {"toy": {"nudge": 0.5, "rounds": 1, "tone": "low"}}
    loaded = model_folder.load(tmp_path)
    np.testing.assert_array_equal(loaded.method_state["toy"].numpy(), [2, 2, 2])
    assert loaded.settings.methods == (Toy(0.5),)
    # What it added is neither lost by another model nor left out.
    bare = MaskedLM(model_config(0.0))
    with pytest.raises(ValueError, match=r"methods \['toy'\].*without them"):
        model_folder.init_from(bare, tmp_path)
    bare.compile("sgd", toy=0.25)
    model_folder.load_weights(bare, tmp_path)
    np.testing.assert_array_equal(bare.method_state["toy"].numpy(), [2, 2, 2])
    # It stays with the model.
    model_folder.save(loaded, tmp_path / "again")
    text = (tmp_path / "again" / "toy.json").read_text()
    assert json.loads(text) == [2, 2, 2]


def test_saving_fails_on_a_weight_that_nothing_writes(
    tmp_path: pathlib.Path,
) -> None:
    task = MaskedLM(model_config())
    model_folder.save(task, tmp_path / "whole")
    block = task.model.body.blocks[0]
    block._tracker.unlock()
    for name, trainable in (("lora", True), ("mask", False)):
        setattr(
            block,
            name,
            block.add_weight(shape=(2,), name=name, trainable=trainable),
        )
    with pytest.raises(ValueError, match="every weight must be saved") as error:
        model_folder.save(task, tmp_path / "less")
    assert "2 weights" in str(error.value)
    assert "block_0/lora" in str(error.value)
    assert "block_0/mask" in str(error.value)
    assert not (tmp_path / "less").exists()


@dataclasses.dataclass(frozen=True)
class Clip(Method):
    """Clips the gradient of each example, as differential privacy needs.

    Attributes:
        norm: Largest norm; 0 for any.
    """

    name: ClassVar[str] = "clip"

    norm: float = 0.0

    def backward(
        self,
        task: Learner,
        micro: MicroBatch,
        backward: Callable[[MicroBatch], Pass],
    ) -> Pass:
        clipped = []
        for i in range(micro.x["token_ids"].shape[0]):
            x, y, weights = tf.nest.map_structure(
                lambda v, i=i: v[i : i + 1], (micro.x, micro.y, micro.weights)
            )
            found = backward(MicroBatch(x, y, weights, micro.factors, {}))
            gradients, _ = tf.clip_by_global_norm(found.gradients, self.norm)
            clipped.append((gradients, found.sums))
        return Pass(
            *tf.nest.map_structure(lambda *parts: tf.add_n(parts), *clipped)
        )


@dataclasses.dataclass(frozen=True)
class Teach(Method):
    """Adds how far the pair head is from that of a teacher, of fixed weights.

    Attributes:
        factor: Factor of the squared distance of the logits; 0 for none.
    """

    name: ClassVar[str] = "teach"

    factor: float = 0.0

    def attach(self, task: Learner) -> Callable[[], MaskedLM]:
        keras.utils.set_random_seed(7)
        teacher = MaskedLM(model_config())
        return lambda: teacher

    def loss(
        self, task: Learner, micro: MicroBatch, outputs: Tensors, sums: Sums
    ) -> tuple[Sums, tf.Tensor]:
        teacher = task.method_state["teach"]()
        theirs = tf.stop_gradient(teacher(micro.x, training=False)["nsp"])
        apart = tf.reduce_sum(tf.square(outputs["nsp"] - theirs))
        return sums, self.factor * apart * micro.factors["nsp"]


@pytest.mark.parametrize(
    "accumulation_steps", [pytest.param(1, marks=pytest.mark.wide), 2]
)
def test_gradients_can_be_clipped_by_example(accumulation_steps: int) -> None:
    """A step of SGD is at most the sum of 8 clipped gradients."""
    steps = {}
    for norm in (1e-4, 2e-4, 1e3):
        keras.utils.set_random_seed(1)
        task = MaskedLM(model_config())
        before = [v.numpy() for v in task.trainable_variables]
        task.compile(
            keras.optimizers.SGD(1.0),
            methods=[Clip(norm)],
            accumulation_steps=accumulation_steps,
            run_eagerly=True,
        )
        task.fit(dataset(batches(1)), verbose=0, shuffle=False)
        steps[norm] = [
            a - v.numpy()
            for a, v in zip(before, task.trainable_variables, strict=True)
        ]
    sizes = {
        norm: np.sqrt(sum((part**2).sum() for part in parts))
        for norm, parts in steps.items()
    }
    assert 0 < sizes[1e-4] <= 8e-4 + 1e-6
    # All of them were clipped: the step is linear in the norm.
    assert sizes[2e-4] == pytest.approx(2 * sizes[1e-4], rel=1e-2)
    # And where none is, the step is the plain one.
    bias = [v.path for v in task.trainable_variables].index(
        head_bias(task).path
    )
    np.testing.assert_allclose(-steps[1e3][bias], moves(), atol=1e-5)


def test_a_teacher_is_no_part_of_the_student(tmp_path: pathlib.Path) -> None:
    student, _ = train(found=batches(1))
    count = len(student.variables)
    student.compile("sgd", methods=[Teach(0.5)])
    assert len(student.variables) == count
    student.fit(dataset(batches(1)), verbose=0, shuffle=False)
    model_folder.save(student, tmp_path)
    own = json.loads((tmp_path / "config.json").read_text())["tfllm"]
    assert "methods" not in own
    # The head moves by the gradient of the distance, 2 * 0.5 * apart / 8.
    moved = moves(methods=[Teach(0.5)]) - moves()
    keras.utils.set_random_seed(1)
    pupil = MaskedLM(model_config())
    teacher = Teach(0.5).attach(pupil)()
    x = tf.nest.map_structure(tf.constant, batches(1)[0][0])
    apart = pupil(x)["nsp"] - teacher(x)["nsp"]
    np.testing.assert_allclose(
        moved, -tf.reduce_sum(apart, axis=0) / 8.0, atol=1e-5
    )


def train_on_two_replicas() -> dict[str, Any]:
    """Returns the calls, and how far the weights are from one replica's."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    METHODS["toy"] = Toy
    one, _ = train("sgd", found=batches(2), toy=0.5)
    CALLS.clear()
    both, _ = train(
        "sgd",
        tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]),
        found=batches(2),
        toy=0.5,
        accumulation_steps=2,
    )
    states = [task.method_state["toy"].numpy() for task in (one, both)]
    np.testing.assert_array_equal(*states)
    return {"calls": CALLS, "apart": difference(one, both)}


def read_flags() -> dict[str, Any]:
    """Returns what the flags of the train verb become."""
    METHODS["toy"] = Toy
    train_flags.define()
    argv = ["train", "--toy=0.5", "--toy_rounds=2", "--toy_tone=high"]
    argv += ["--model_dir=m", "--train_files=a", "--tokenizer=b", "--epochs=1"]
    FLAGS(argv)
    section = run_settings.nested(train_flags.read().settings)["methods"]
    FLAGS["toy"].value = 0.0
    try:
        train_flags.read()
    except ValueError as error:
        idle = str(error)
    return {"section": section, "idle": idle, "help": flags.help_text()}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
