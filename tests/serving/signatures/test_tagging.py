"""Tests of tfllm.serving.signatures.tagging that need no export."""

import random

import numpy as np
import pytest

from tfllm.data.labelled.tag_schemes import as_bioes
from tfllm.outputs.entities import entities
from tfllm.serving.signatures.tagging import _entity_tables


@pytest.mark.parametrize(
    "labels",
    [
        ("O", "B-X", "I-X", "B-Y", "I-Y"),
        ("O", "B-X", "I-X", "L-X", "U-X", "U-Y"),
        ("O", "X_I", "X_E", "Y_I", "Y_E"),
        ("B", "M", "E", "S"),
    ],
)
def test_the_graph_makes_the_entities_of_the_figures(
    labels: tuple[str, ...],
) -> None:
    opens, inside, kinds = _entity_tables(labels)
    rng = random.Random(0)
    tags = as_bioes(labels)
    for _ in range(50):
        ids = [rng.randrange(len(labels)) for _ in range(8)]
        found: list[list] = []
        for place, (before, own) in enumerate(
            zip([len(labels), *ids[:-1]], ids, strict=True)
        ):
            if opens[before, own]:
                found.append([kinds[own], place, place])
            elif inside[own]:
                found[-1][2] = place
        expected = entities([tags[labels[i]] for i in ids])
        assert [tuple(one) for one in found] == expected
    assert not np.isin(len(labels), np.flatnonzero(inside))
