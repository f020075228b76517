"""Tests of tfllm.data.labelled.labels."""

import numpy as np
import pytest

from tfllm.data.bad_records import BadRecord
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
