"""Every row of docs/fit.md: what `fit` takes, against a plain run or numpy."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.tasks import labelled
from tests.tasks.tiny_task import difference
from tfllm.tasks import Task

ROWS = 8
X, _Y, _ = labelled.batch("classification", rows=ROWS)
Y = _Y["classification"]
NAMES = np.array(labelled.LABELS)


def rows(*numbers: int) -> Any:
    """Features and labels of some rows."""
    picked = list(numbers)
    return {name: value[picked] for name, value in X.items()}, Y[picked]


def batches() -> Iterator[Any]:
    yield rows(0, 1, 2, 3)
    yield rows(4, 5, 6, 7)


class Batches(keras.utils.PyDataset):
    """The same batches as a PyDataset."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return list(batches())[index]


def dataset() -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(4)


def compiled(
    name: str = "classification", labels: Any = None, **options: Any
) -> Task:
    """A task that takes its steps eagerly, which saves tracing."""
    settings = {} if labels is None else {"labels": labels}
    task = labelled.create(name, "bert", **settings)
    # So that the loss is plain cross-entropy, as numpy computes it.
    if name == "classification":
        task.label_smoothing = 0.0
    options = {"run_eagerly": True, **options}
    task.compile(keras.optimizers.SGD(0.3), **options)
    return task


def fitted(*data: Any, compile: Any = None, **options: Any) -> Any:
    """Returns a task after an epoch in order, and its history."""
    task = compiled(**(compile or {}))
    options = {"batch_size": 4, "shuffle": False, **options}
    if not isinstance(data[0], dict):
        del options["batch_size"]
    history = task.fit(*data, verbose=0, **options).history
    return task, {name: values[-1] for name, values in history.items()}


@pytest.fixture(scope="module")
def plain() -> Any:
    """What all other forms of the same batches must give."""
    return fitted(
        X,
        {"classification": Y},
        sample_weight={"classification": np.ones(ROWS, "float32")},
    )


FORMS: dict[str, Callable[[], Any]] = {
    "bare labels": lambda: fitted(X, Y),
    "int64": lambda: fitted(X, Y.astype("int64")),
    "uint8": lambda: fitted(X, Y.astype("uint8")),
    "a column": lambda: fitted(X, Y[:, np.newaxis]),
    "names of labels": lambda: fitted(X, NAMES[Y]),
    "a list": lambda: fitted(X, Y.tolist()),
    "a list of NumPy numbers": lambda: fitted(
        X, list(Y), sample_weight=list(np.ones(ROWS))
    ),
    "objects": lambda: fitted(X, Y.astype(object)),
    "a list of names": lambda: fitted(X, NAMES[Y].tolist()),
    "pandas": lambda: fitted(X, pd.Series(Y)),
    "pandas names": lambda: fitted(X, pd.Series(NAMES[Y])),
    "tensors": lambda: fitted(
        {name: tf.constant(value) for name, value in X.items()}, tf.constant(Y)
    ),
    "int64 and bool features": lambda: fitted(
        {
            "token_ids": X["token_ids"].astype("int64"),
            "padding_mask": X["padding_mask"].astype("bool"),
            "segment_ids": X["segment_ids"].astype("int64"),
        },
        Y,
    ),
    "bare weights": lambda: fitted(X, Y, sample_weight=np.ones(ROWS)),
    "weights in a column": lambda: fitted(
        X, Y, sample_weight=np.ones((ROWS, 1))
    ),
    "a dataset": lambda: fitted(dataset()),
    "a dataset of names": lambda: fitted(
        tf.data.Dataset.from_tensor_slices((X, NAMES[Y])).batch(4)
    ),
    "a generator": lambda: fitted(batches()),
    "a PyDataset": lambda: fitted(Batches()),
    "the graph": lambda: fitted(X, Y, compile={"run_eagerly": False}),
    "the last epoch": lambda: fitted(X, Y, epochs=4, initial_epoch=3),
    "one step at a time": lambda: on_batches(),
}


def on_batches() -> Any:
    task = compiled()
    for x, y in batches():
        logs = task.train_on_batch(x, y, return_dict=True)
    del logs
    return task, {}


# Spellings of what others of the table give.
WIDE = ("uint8", "objects", "a list of names", "pandas names", "tensors")


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(form, marks=[pytest.mark.wide] * (form in WIDE))
        for form in FORMS
    ],
)
def test_forms_of_the_same_batches(form: str, plain: Any) -> None:
    task, history = FORMS[form]()
    assert difference(task, plain[0]) < 1e-6
    for name, value in history.items():
        assert value == pytest.approx(plain[1][name], abs=1e-5), name


@pytest.mark.parametrize("steps", [2, 3])
def test_steps_per_execution_trains_on_every_batch(steps: int) -> None:
    calls = []
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: calls.append(batch)
    )
    several, history = fitted(
        X,
        Y,
        compile={"steps_per_execution": steps, "run_eagerly": False},
        batch_size=1,
        callbacks=[count],
    )
    one, expected = fitted(X, Y, batch_size=1)
    assert difference(one, several) < 1e-6
    assert history["loss"] == pytest.approx(expected["loss"], abs=1e-5)
    assert len(calls) == -(-ROWS // steps)
    x, y = rows(*range(7))
    figures = several.evaluate(x, y, batch_size=1, verbose=0)
    assert figures == pytest.approx(
        several.evaluate(x, y, batch_size=7, verbose=0), abs=1e-5
    )


def cross_entropy(task: Task) -> np.ndarray:
    """Losses of all rows, in float64."""
    logits = np.asarray(task(X)["classification"], "float64")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return -logs[np.arange(ROWS), Y]


WEIGHTS = {
    "sample_weight": (
        {"sample_weight": np.linspace(0.5, 2, ROWS)},
        np.linspace(0.5, 2, ROWS),
    ),
    "class_weight": ({"class_weight": {0: 3.0, 2: 0.5}}, None),
    "class_weight by name": ({"class_weight": {"no": 3.0, "yes": 0.5}}, None),
    "both": (
        {
            "class_weight": {0: 3.0, 2: 0.5},
            "sample_weight": np.linspace(0.5, 2, ROWS),
        },
        np.linspace(0.5, 2, ROWS) * np.array([3.0, 1.0, 0.5])[Y],
    ),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_the_loss_is_the_weighted_mean(case: str) -> None:
    options, weights = WEIGHTS[case]
    if weights is None:
        weights = np.array([3.0, 1.0, 0.5])[Y]
    expected = np.average(cross_entropy(compiled()), weights=weights)
    _, history = fitted(X, Y, batch_size=ROWS, **options)
    assert history["loss"] == pytest.approx(expected, abs=1e-5)


def test_class_weights_leave_out_what_is_split_off() -> None:
    task, history = fitted(
        X, Y, validation_split=0.25, class_weight={0: 10.0, 2: 0.1}
    )
    assert history["val_loss"] == pytest.approx(
        cross_entropy(task)[6:].mean(), abs=1e-5
    )
    alone, _ = fitted(*rows(*range(6)), class_weight={0: 10.0, 2: 0.1})
    assert difference(task, alone) < 1e-6


def test_xla_does_not_hide_labels_that_there_are_not() -> None:
    task = compiled(run_eagerly=False, jit_compile=True)
    wrong = tf.data.Dataset.from_tensor_slices((X, Y + 1)).batch(4)
    with pytest.raises(tf.errors.InvalidArgumentError, match="below 3"):
        task.evaluate(wrong, verbose=0)
    right = task.evaluate(dataset(), return_dict=True, verbose=0)
    assert right["loss"] == pytest.approx(cross_entropy(task).mean(), abs=1e-5)


@pytest.mark.parametrize(
    ("monitor", "is_better"),
    [
        ("val_loss", np.less),
        ("accuracy", np.greater),
        ("val_classification_accuracy", np.greater),
        ("classification_loss", np.less),
    ],
)
def test_callbacks_know_whether_more_is_better(
    monitor: str, is_better: Any
) -> None:
    stop = keras.callbacks.EarlyStopping(monitor)
    task = compiled(metrics=["accuracy"])
    task.fit(X, Y, validation_data=(X, Y), verbose=0, callbacks=[stop])
    assert bool(stop.monitor_op(1.0, 2.0)) == is_better(1.0, 2.0)
    assert len(task.metrics_names) == len(task.evaluate(X, Y, verbose=0))


@pytest.mark.filterwarnings("ignore:.shuffle=True. was passed")
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("data", [dataset, batches, Batches])
def test_class_weight_goes_with_batches(data: Callable[[], Any]) -> None:
    expected, _ = fitted(X, Y, class_weight={0: 3.0})
    found, _ = fitted(data(), class_weight={"no": 3.0})
    assert difference(expected, found) < 1e-6


VALIDATION: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X, Y),
    "with weights": lambda: (X, Y, np.ones(ROWS)),
    "names": lambda: (X, NAMES[Y]),
    "a dataset": dataset,
    "a PyDataset": Batches,
}


@pytest.mark.parametrize("form", VALIDATION)
def test_validation_data(form: str) -> None:
    task, history = fitted(
        X, Y, validation_data=VALIDATION[form](), class_weight={0: 5.0}
    )
    # Class weights are for training.
    expected = cross_entropy(task).mean()
    assert history["val_loss"] == pytest.approx(expected, abs=1e-5)


def test_validation_split_takes_the_last_rows() -> None:
    task, history = fitted(X, Y, validation_split=0.25)
    assert history["val_loss"] == pytest.approx(
        cross_entropy(task)[6:].mean(), abs=1e-5
    )
    alone, _ = fitted(*rows(*range(6)))
    assert difference(task, alone) < 1e-6


def test_steps_of_epochs_and_validation() -> None:
    task, history = fitted(
        X,
        Y,
        steps_per_epoch=1,
        validation_data=(X, Y),
        validation_steps=1,
        validation_batch_size=2,
    )
    alone, _ = fitted(*rows(0, 1, 2, 3))
    assert difference(task, alone) < 1e-6
    assert history["val_loss"] == pytest.approx(
        cross_entropy(task)[:2].mean(), abs=1e-5
    )
    seldom = compiled().fit(
        X, Y, epochs=2, validation_data=(X, Y), validation_freq=2, verbose=0
    )
    assert len(seldom.history["val_loss"]) == 1


def test_batches_one_by_one() -> None:
    task = compiled()
    figures = task.test_on_batch(X, NAMES[Y], return_dict=True)
    assert figures["loss"] == pytest.approx(
        cross_entropy(task).mean(), abs=1e-5
    )
    np.testing.assert_allclose(
        task.predict_on_batch(X)["classification"],
        task(X)["classification"],
        atol=1e-6,
    )


def test_callbacks_of_the_user() -> None:
    stop = keras.callbacks.EarlyStopping("loss", min_delta=100.0, patience=1)
    task = compiled()
    history = task.fit(X, Y, epochs=9, verbose=0, callbacks=[stop])
    assert len(history.history["loss"]) == 2


def test_metrics_are_in_the_history() -> None:
    entropy = keras.metrics.SparseCategoricalCrossentropy(
        from_logits=True, name="entropy"
    )
    weights = np.linspace(0.0, 2, ROWS)  # of the first row 0
    task = compiled(metrics=["accuracy", entropy], weighted_metrics=["ce"])
    losses = cross_entropy(task)
    hits = np.asarray(task(X)["classification"]).argmax(-1) == Y
    found = task.evaluate(
        X, Y, sample_weight=weights, return_dict=True, verbose=0
    )
    assert found["accuracy"] == pytest.approx(hits[1:].mean())
    assert found["entropy"] == pytest.approx(losses[1:].mean(), abs=1e-5)
    assert found["ce"] == pytest.approx(
        np.average(losses, weights=weights), abs=1e-5
    )
    history = task.fit(X, Y, validation_data=(X, Y), verbose=0).history
    names = {"accuracy", "entropy", "ce"}
    assert names | {f"val_{name}" for name in names} <= set(history)


def test_metrics_of_several_objectives_are_named_by_them() -> None:
    x, y, weights = labelled.batch("question_answering", rows=ROWS)
    entropy = keras.metrics.SparseCategoricalCrossentropy(
        from_logits=True, name="entropy"
    )
    task = compiled("question_answering", metrics={"end": ["ce", entropy]})
    found = task.evaluate(x, y, return_dict=True, verbose=0)
    assert found["end_ce"] == pytest.approx(found["end_loss"], abs=1e-5)
    assert found["end_entropy"] == pytest.approx(found["end_loss"], abs=1e-5)
    # The task reports it anyway.
    task.compile("sgd", metrics=["accuracy"])
    assert task.metrics_names.count("start_accuracy") == 1
    # Labels of several objectives, in their order.
    in_order = task.evaluate(
        x,
        tuple(y.values()),
        sample_weight=tuple(weights.values()),
        verbose=0,
    )
    by_name = task.evaluate(x, y, sample_weight=weights, verbose=0)
    assert in_order == pytest.approx(by_name)


def test_several_labels_count_by_the_sign_of_their_logits() -> None:
    x, y, _ = labelled.batch("multi_label", rows=ROWS)
    y = y["multi_label"].astype("int64")
    task = compiled(
        "multi_label",
        metrics=["accuracy", keras.metrics.Precision(thresholds=0.0)],
    )
    given = task.predict(x, verbose=0)["multi_label"] > 0.0
    found = task.evaluate(x, y, return_dict=True, verbose=0)
    assert found["accuracy"] == pytest.approx((given == y).mean())
    assert found["precision"] == pytest.approx(
        (given & (y == 1)).sum() / given.sum()
    )


def hinge(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    chosen = tf.gather(logits, labels, batch_dims=1)
    return tf.nn.relu(1.0 + tf.reduce_max(logits, axis=-1) - chosen)


def test_a_loss_of_the_user_is_learnt_from() -> None:
    task = compiled(loss=hinge)
    logits = np.asarray(task(X)["classification"])
    expected = np.maximum(0, 1 + logits.max(-1) - logits[np.arange(ROWS), Y])
    weights = np.linspace(0.5, 2, ROWS)
    before = task.evaluate(X, Y, sample_weight=weights, verbose=0)[0]
    assert before == pytest.approx(
        np.average(expected, weights=weights), abs=1e-5
    )
    with tf.GradientTape() as tape:
        losses = hinge(Y, task(X)["classification"])
        mean = tf.reduce_sum(losses * weights.astype("float32"))
        mean /= weights.sum()
    (kernel,) = [
        v for v in task.trainable_variables if "classifier/k" in v.path
    ]
    slope = tape.gradient(mean, kernel.value).numpy()
    start = kernel.numpy()
    task.fit(X, Y, sample_weight=weights, batch_size=ROWS, verbose=0)
    np.testing.assert_allclose(start - kernel.numpy(), 0.3 * slope, atol=1e-6)


def test_keras_own_loss_equals_the_task_s(plain: Any) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task, _ = fitted(X, Y, compile={"loss": loss})
    assert difference(task, plain[0]) < 1e-6


def test_numbers_have_losses_and_metrics_of_keras() -> None:
    x, y, _ = labelled.batch("regression", rows=ROWS)
    task = compiled("regression", loss="mae", metrics=["mae", "mse"])
    errors = task.predict(x, verbose=0)["regression"] - y["regression"]
    found = task.evaluate(
        x, y["regression"].astype("float64"), return_dict=True, verbose=0
    )
    absolute = pytest.approx(np.abs(errors).mean(), abs=1e-5)
    assert found["loss"] == absolute
    assert found["mean_absolute_error"] == absolute
    assert found["mean_squared_error"] == pytest.approx(
        (errors**2).mean(), abs=1e-5
    )


def test_loss_weights() -> None:
    x, y, _ = labelled.batch("question_answering", rows=ROWS)
    task = compiled("question_answering", loss_weights={"start": 3.0})
    found = task.evaluate(x, y, return_dict=True, verbose=0)
    assert found["loss"] == pytest.approx(
        0.5 * (3.0 * found["start_loss"] + found["end_loss"]), abs=1e-5
    )


def test_weights_of_rows_are_factors_of_their_positions() -> None:
    x, y, _ = labelled.batch("tagging", rows=ROWS)
    task = compiled("tagging", metrics=["accuracy"])
    task.label_smoothing = 0.0
    logits = np.asarray(task(x)["tagging"], "float64")
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(logs, y["tagging"][..., None], -1)[..., 0]
    factors = np.linspace(0.5, 2, ROWS)
    # Padding does not count, nor does what Transformers calls ignored.
    labels = np.where(x["token_ids"] == 7, -100, y["tagging"])
    counts = x["padding_mask"] * (labels != -100)
    found = task.evaluate(
        x, labels, sample_weight=factors, return_dict=True, verbose=0
    )
    assert found["loss"] == pytest.approx(
        np.average(losses, weights=counts * factors[:, None]), abs=1e-5
    )
    hits = logits.argmax(-1) == y["tagging"]
    assert found["accuracy"] == pytest.approx(
        np.average(hits, weights=counts), abs=1e-5
    )


def test_compile_has_the_order_of_keras() -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task = labelled.create("classification", "bert")
    task.compile("sgd", loss, None, ["accuracy"], run_eagerly=True)
    assert "accuracy" in task.evaluate(X, Y, return_dict=True, verbose=0)


# Keras converts its variables to arrays as NumPy 1 did.
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_a_saved_task_is_compiled_as_before(tmp_path: Any) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    task = compiled(loss=loss, metrics=["accuracy"], steps_per_execution=2)
    task.save(tmp_path / "task.keras")
    again = keras.saving.load_model(tmp_path / "task.keras")
    assert again.steps_per_execution == 2
    again.label_smoothing = 0.0
    assert again.evaluate(X, Y, verbose=0) == pytest.approx(
        task.evaluate(X, Y, verbose=0), abs=1e-6
    )


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "float class numbers": (
        lambda: fitted(X, Y.astype("float32")),
        r'integers \[B\]. Received: float32. Give `y.astype\("int32"\)`',
    ),
    "one-hot rows": (
        lambda: fitted(X, np.eye(3, dtype="int64")[Y]),
        r"one row of 3 per label. Give `y.argmax\(-1\)`",
    ),
    "a number that int32 does not hold": (
        lambda: fitted(X, Y.astype("int64") + 2**32),
        "below 3.*Received: 429496729[6-8]",
    ),
    "ids that the model lacks": (
        lambda: fitted({**X, "token_ids": X["token_ids"] - 40}, Y),
        "`token_ids` must be from 0 to 39. Received: -",
    ),
    "segments that the model lacks": (
        lambda: fitted({**X, "segment_ids": X["segment_ids"] + 7}, Y),
        "`segment_ids` must be from 0 to 1. Received: [78]",
    ),
    "a mask of shares": (
        lambda: fitted({**X, "padding_mask": X["padding_mask"] / 2.0}, Y),
        "`padding_mask` must be integers or bool. Received: float64",
    ),
    "a mask of another width": (
        lambda: fitted({**X, "padding_mask": X["padding_mask"][:, 1:]}, Y),
        r"shape of `token_ids`, \(8, 7\). Received: \(8, 6\)",
    ),
    "labels that are missing": (
        lambda: fitted(X, pd.Series([*NAMES[Y][:-1], None])),
        "y must not have missing values. Received: (None|nan) in row 7",
    ),
    "labels that are no numbers": (
        lambda: compiled("regression").fit(X, np.full(ROWS, np.nan)),
        "y must be finite numbers. Received: nan in row 0",
    ),
    "weights below zero": (
        lambda: fitted(X, Y, sample_weight=-np.ones(ROWS)),
        "sample_weight must not be negative. Received: -1",
    ),
    "class weights that are no numbers": (
        lambda: fitted(X, Y, class_weight={0: np.nan}),
        "finite factors of at least 0. Received: nan for 0",
    ),
    "class weights by a word": (
        lambda: fitted(X, Y, class_weight="balanced"),
        "must be a dict, such as {0: 2.0}. Received: 'balanced'",
    ),
    "several labels that are no 0 and 1": (
        lambda: compiled("multi_label").fit(X, np.eye(3)[Y] * -100),
        "`multi_label` must be from 0 to 1. Received: -100.0",
    ),
    "numbers of labels that are named by numbers": (
        lambda: compiled(labels=list("123")).fit(X, Y, verbose=0),
        "must be given by name, as strings: names such as '1'",
    ),
    "a metric for one-hot rows": (
        lambda: compiled(metrics=["categorical_accuracy"]),
        "`classification` are class numbers.*use sparse_",
    ),
    "a loss for numbers": (
        lambda: compiled(loss="mse"),
        "`classification` are class numbers.*Received: 'mse'",
    ),
    "a function with a threshold": (
        lambda: compiled(
            "multi_label", metrics=[keras.metrics.binary_accuracy]
        ),
        "`from_logits=True`, or thresholds of 0",
    ),
    "no batch in a step": (
        lambda: compiled(steps_per_execution=0),
        "`steps_per_execution` must be an integer of at least 1",
    ),
    "a dataset without batches": (
        lambda: fitted(tf.data.Dataset.from_tensor_slices((X, Y))),
        r"`token_ids` must be batches of rows, \[B, T\]",
    ),
    "tags of another width": (
        lambda: compiled("tagging").fit(X, np.zeros((ROWS, 5), int)),
        r"one per position, shape \(8, 7\). Received: shape \(8, 5\)",
    ),
    "a class that there is not": (
        lambda: fitted(X, Y + 1),
        "`classification` must be at least 0 and below 3",
    ),
    "an unknown name": (
        lambda: fitted(X, np.array(["maybe"] * ROWS)),
        "among .*Received: 'maybe'",
    ),
    "no labels": (lambda: fitted(X), r"must have labels of \['classifi"),
    "labels of another objective": (
        lambda: fitted(X, {"labels": Y}),
        "by objective.*Did you mean 'classification'",
    ),
    "names of Transformers": (
        lambda: fitted(
            {"input_ids": X["token_ids"], "attention_mask": X["padding_mask"]},
            Y,
        ),
        "Give `padding_mask` for `attention_mask`, `token_ids` for `input_ids`",
    ),
    "bare ids": (
        lambda: compiled().fit(X["token_ids"], Y),
        "x must be a dict with `token_ids`",
    ),
    "float ids": (
        lambda: fitted({"token_ids": X["token_ids"] / 2.0}, Y),
        "`token_ids` must be integers. Received: float64",
    ),
    "weights of another shape": (
        lambda: fitted(X, Y, sample_weight=np.ones((ROWS, 3))),
        r"must be \[B\].*Received: shape \(\d, 3\)",
    ),
    "class_weight of numbers": (
        lambda: compiled("regression").fit(
            *labelled.batch("regression")[:2], class_weight={0: 1.0}
        ),
        "needs a task with classes. Received: regression",
    ),
    "class_weight of no class": (
        lambda: fitted(X, Y, class_weight={"maybe": 2.0}),
        "below 3, or names among .*Received: 'maybe'",
    ),
    "probabilities in a loss": (
        lambda: compiled(loss="sparse_categorical_crossentropy"),
        "made with `from_logits=True`",
    ),
    "probabilities in a metric": (
        lambda: compiled("multi_label", metrics=[keras.metrics.AUC()]),
        "`from_logits=True`, or thresholds of 0",
    ),
    "a threshold of a probability": (
        lambda: compiled("multi_label", metrics=[keras.metrics.Recall()]),
        "`from_logits=True`, or thresholds of 0",
    ),
    "a loss that is a mean": (
        lambda: fitted(
            X, Y, compile={"loss": lambda y, z: tf.reduce_mean(hinge(y, z))}
        ),
        r"one value per label, shape \(\d,\).*Received: shape \(\)",
    ),
    "a loss for pairs of a batch": (
        lambda: labelled.create(
            "embedding", "bert", loss="contrastive"
        ).compile("sgd", loss="mse"),
        "cannot replace that of `embedding`",
    ),
    "an unknown metric": (
        lambda: compiled(metrics={"start": ["accuracy"]}),
        "by objective.*Received: 'start'",
    ),
    "two metrics of one name": (
        lambda: compiled(metrics=["accuracy", "accuracy"]),
        "names of their own. Received: another 'accuracy'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses(case: str) -> None:
    run, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as error:
        run()
    assert len(str(error.value).splitlines()) == 1
