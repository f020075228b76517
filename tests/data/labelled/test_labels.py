"""Tests of tfllm.data.labelled.labels."""

import numpy as np
import pytest

from tfllm.data.bad_records import BadRecord, UnclearRecord
from tfllm.data.labelled import labels
from tfllm.data.labelled.labels import Labels


def test_names_are_sorted_as_numbers_or_text() -> None:
    assert labels.sort_names(["10", "9", "-1", "9"]) == ("-1", "9", "10")
    assert labels.sort_names(["b", "10", "9"]) == ("10", "9", "b")


def test_names_of_json_values() -> None:
    assert labels.label_name(" x ") == "x"
    assert labels.label_name(3) == "3"
    assert labels.label_name(True) == "true"
    for value in (None, "", " ", ["x"]):
        with pytest.raises(BadRecord):
            labels.label_name(value)


def test_several_labels() -> None:
    assert labels.label_names("a, b,", ",") == ("a", "b")
    assert labels.label_names("", ",") == ()
    assert labels.label_names(["a", 1], ",") == ("a", "1")
    with pytest.raises(BadRecord, match="twice"):
        labels.label_names("a|a", "|")
    with pytest.raises(BadRecord):
        labels.label_names("a,,b", ",")


NAMES = ("toxic", "rude", "spam")


@pytest.mark.parametrize(
    "value",
    [
        [1, 0, 1],
        [1.0, 0.0, 1.0],
        [True, False, True],
        ["1", "0", "1"],
        "[1, 0, 1]",
        "1 0 1",
        "[1. 0. 1.]",
        "1,0,1",
        " [true, false, true] ",
        "[True, False, True]",
        "['toxic', 'spam']",
        '["spam", "toxic"]',
        "toxic,spam",
        ["toxic", "spam"],
    ],
)
def test_vectors_are_read_by_the_names_of_the_labels(value: object) -> None:
    assert {*labels.label_names(value, ",", NAMES)} == {"toxic", "spam"}


@pytest.mark.parametrize("value", [[0, 0, 0], "0 0 0", "[0, 0, 0]", [], "[]"])
def test_a_text_may_have_no_label(value: object) -> None:
    assert labels.label_names(value, ",", NAMES) == ()


@pytest.mark.parametrize(
    ("value", "names", "reason"),
    [
        ([0.9, 0.1, 0.2], NAMES, r"no scores .* not \[0\.9, 0\.1, 0\.2\]"),
        ("[0.9, 0.1, 1]", NAMES, "no scores"),
        ([2, 0, 1], NAMES, "0 or 1 per label"),
        (
            [1, 0],
            NAMES,
            r"each of the 3 labels, toxic, rude, spam, not \[1, 0\]",
        ),
        ("1", NAMES, "each of the 3 labels"),
        (["toxic", "toxic"], NAMES, "twice"),
        ([1, 1, 0], (), r"names\. Received: \[1, 1, 0\] and no --labels"),
        ([0.9, 0.1], (), "--labels"),
        ([True, False], (), "--labels"),
        ("[1, 0, 1]", (), "--labels"),
        ("1 0", (), "--labels"),
        ("[1. 0.]", (), "--labels"),
        ([[1, 0]], NAMES, "a name or number"),
    ],
)
def test_vectors_that_are_unclear(
    value: object, names: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        labels.label_names(value, ",", names)


def test_numbers_are_names_where_labels_are_called_so() -> None:
    assert labels.label_names([1, 0], ",", ("0", "1")) == ("1", "0")
    assert labels.label_names("2 5", " ", ("2", "5", "7")) == ("2", "5")
    assert labels.label_names([3, 5], ",") == ("3", "5")
    assert labels.label_names("[3, 5]", ",") == ("3", "5")


def test_one_hot_vectors_of_a_single_label() -> None:
    for value in ([0, 1, 0], "[0, 1, 0]", "0 1 0", [0.0, 1.0, 0.0]):
        assert labels.class_name(value, NAMES) == "rude"
        # A fault of the call, and of no record.
        with pytest.raises(ValueError, match="have names.*--labels=") as caught:
            labels.class_name(value)
        assert isinstance(caught.value, UnclearRecord)
    for value in ([1, 1, 0], [0, 0, 0]):
        with pytest.raises(BadRecord, match="one label.*--task=multi_label"):
            labels.class_name(value, NAMES)
    with pytest.raises(BadRecord, match="no scores"):
        labels.class_name([0.2, 0.7, 0.1], NAMES)
    assert labels.class_name("1,5") == "1,5"
    assert labels.class_name(0.5) == "0.5"


def test_numbers() -> None:
    assert labels.label_number("4.25") == 4.25
    assert labels.label_number(3) == 3.0
    for value in ("nan", "inf", "x", "", None, True):
        with pytest.raises(BadRecord):
            labels.label_number(value)


def test_unknown_labels_name_the_nearest() -> None:
    names = Labels(("positive", "negative"))
    assert names.id_of("negative") == 1
    with pytest.raises(BadRecord, match="did you mean 'negative'"):
        names.id_of("negativ")
    with pytest.raises(BadRecord, match="'1' is unknown.* names, not"):
        names.id_of("1")
    with pytest.raises(ValueError, match="different"):
        Labels(("a", "a"))


def test_class_weights() -> None:
    names = Labels(("a", "b", "c"))
    counts = np.array([6, 2, 0])
    weights = labels.class_weights("balanced", names, counts)
    # Mean one over the examples; a label without examples counts for none.
    np.testing.assert_allclose(weights, [8 / 12, 2.0, 1.0], rtol=1e-6)
    assert (weights * counts).sum() == pytest.approx(8)
    weights = labels.class_weights("b=2.5,c=0", names, counts)
    assert weights.tolist() == [1.0, 2.5, 0.0]
    for setting in ("d=1", "a", "a=x", "a=-1", "a=inf", "a=nan"):
        with pytest.raises(ValueError, match="`class_weights`"):
            labels.class_weights(setting, names, counts)
