"""Predictions and figures of every kind of task, against numpy."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.prediction.labelled_examples import (
    EXAMPLES,
    Example,
    FixedRows,
    Gold,
    example_of,
)
from tests.tasks.tiny_task import model_config
from tfllm import tasks
from tfllm.outputs.answers import Answers
from tfllm.prediction.forward import (
    Forward,
    predict,
)
from tfllm.prediction.kinds import labelled_kind
from tfllm.prediction.measure import (
    evaluate_labelled,
    measure,
    metric_names,
)
from tfllm.prediction.results import results
from tfllm.runs import held_out
from tfllm.training import trainer

# Where a processor multiplies matrices block by block, a row's place in the
# batch decides the order of its sums. Float32 logits between 2 and 4 are
# multiples of 2.4e-7; this is 20 of them, for the sums of all layers.
ROUNDING = 5e-6


@pytest.fixture(params=EXAMPLES)
def example(request: pytest.FixtureRequest) -> Example:
    return example_of(request.param)


def assert_same_answers(ours: Answers, theirs: Answers) -> None:
    """Same places of the context, and the same logits up to rounding."""
    assert [(a.text, a.start, a.end) for a in ours.best] == [
        (a.text, a.start, a.end) for a in theirs.best
    ]
    for one, other in zip(ours.best, theirs.best, strict=True):
        assert one.logit == pytest.approx(other.logit, rel=0, abs=ROUNDING)
    assert ours.null_logit == pytest.approx(
        theirs.null_logit, rel=0, abs=ROUNDING
    )


def test_every_task_of_labels_is_here() -> None:
    kinds = {k for k, task in tasks.TASKS.items() if task.is_labelled}
    assert set(EXAMPLES) == kinds


def test_a_record_has_one_output(example: Example) -> None:
    found = predict(example.task, example.data)
    assert list(found.records) == example.data.records
    assert len(found.outputs) == len(example.data.records)
    # Rows in another order, and with others that fill up the batch.
    other = predict(example.task, example.data.shuffled())
    for ours, theirs in zip(found.outputs, other.outputs, strict=True):
        if example.task.kind == "question_answering":
            assert_same_answers(ours, theirs)
        else:
            np.testing.assert_allclose(ours, theirs, atol=ROUNDING)
    if example.task.kind != "embedding":
        # There the other rows of a batch are candidates.
        assert other.means == pytest.approx(found.means, rel=1e-5)


def test_means_are_those_of_the_task(example: Example) -> None:
    example.task.compile("sgd")
    expected = example.task.evaluate(
        example.data.dataset(), return_dict=True, verbose=0
    )
    means = predict(example.task, example.data).means
    assert means == pytest.approx(expected, rel=1e-5)


def test_names_are_known_beforehand(example: Example) -> None:
    values = evaluate_labelled(example.task, example.data)
    # A best metric may be each of these.
    names = metric_names(example.task, example.data.records)
    assert list(names) == sorted(values)
    assert all(isinstance(value, float) for value in values.values())
    # Some of them are printed.
    assert {*labelled_kind(example.task).main} & {*names}


@pytest.mark.parametrize("answered", [True, False])
def test_names_of_questions_of_one_kind(answered: bool) -> None:
    example = example_of("question_answering")
    gold = (Gold("bb"),) if answered else ()
    records = [dataclasses.replace(r, gold=gold) for r in example.data.records]
    data = FixedRows(records, example.data.batches)
    names = metric_names(example.task, records)
    assert ("null_threshold" in names) == ("no_answer_f1" in names)
    assert ("null_threshold" in names) == (not answered)
    assert "has_answer_f1" not in names
    assert list(names) == sorted(evaluate_labelled(example.task, data))


def test_names_of_pairs_with_similarities() -> None:
    pairs = example_of("embedding").data
    numbers = np.linspace(-1.0, 1.0, len(pairs.records), dtype="float32")
    records = [
        dataclasses.replace(record, gold=float(number))
        for record, number in zip(pairs.records, numbers, strict=True)
    ]
    batches = [
        (x, {"embedding": numbers[n]}, weights, n, marks)
        for x, _, weights, n, marks in pairs.batches
    ]
    task = tasks.create("embedding", model_config(), loss="similarity")
    names = metric_names(task, records)
    assert {"pearson", "spearman"} < set(names)
    assert not any(name.startswith(("recall", "mrr")) for name in names)
    values = evaluate_labelled(task, FixedRows(records, batches))
    assert list(names) == sorted(values)


def test_pairs_without_the_similarities_of_a_training() -> None:
    pairs = example_of("embedding").data
    task = tasks.create("embedding", model_config(), loss="similarity")
    values = evaluate_labelled(task, pairs)
    assert set(values) == {"recall_at_1", "recall_at_5", "recall_at_10", "mrr"}
    assert list(metric_names(task, pairs.records)) == sorted(values)
    vectors = np.concatenate(
        [task(x, training=False)["embedding"] for x, *_ in pairs.batches]
    )
    cosines = vectors[:, 0] @ vectors[:, 1].T
    ranks = 1 + (cosines > np.diag(cosines)[:, None]).sum(axis=1)
    assert values["mrr"] == pytest.approx(np.mean(1.0 / ranks))


def test_a_run_is_refused_before_its_first_step() -> None:
    example = example_of("embedding")
    names = held_out.metric_names(example.task, example.data)
    trainer.check_metric("mrr", names)
    with pytest.raises(ValueError, match="'mrr'.* Received: 'spearman'"):
        trainer.check_metric("spearman", names)


def test_a_sample_of_all_is_all(example: Example) -> None:
    found = measure(example.task, example.data)
    assert found.num_records == len(example.data.records)
    sample = found.figures.sample(np.arange(found.num_records))
    assert sample
    assert sample == pytest.approx({n: found.values[n] for n in sample})


def test_twice_the_same(example: Example) -> None:
    calls: list[int] = []
    first = evaluate_labelled(
        example.task, example.data, before_batch=lambda: calls.append(1)
    )
    # A stop is noticed before each batch.
    assert len(calls) == len(list(example.data.evaluation_rows()))
    traces = [f.experimental_get_tracing_count() for f in functions(example)]
    assert evaluate_labelled(example.task, example.data) == first
    assert traces == [1]
    assert [
        f.experimental_get_tracing_count() for f in functions(example)
    ] == traces


def functions(example: Example) -> list[Any]:
    return list(Forward.of(example.task)._functions.values())


def test_without_gold_labels(example: Example) -> None:
    bare = example.data.without_gold()
    found = predict(example.task, bare)
    assert found.means == {}
    lines = results(found)
    assert [line["id"] for line in lines] == [r.id for r in bare.records]


def test_the_first_batches_only(example: Example) -> None:
    found = predict(example.task, example.data, max_steps=1)
    assert 0 < len(found.records) < len(example.data.records)


def logits_of(example: Example) -> Iterator[tuple[int, np.ndarray]]:
    """(record, output of a row) of all rows that are real."""
    for x, _, _, numbers, _ in example.data.evaluation_rows():
        outputs = example.task(x, training=False)[example.task.kind].numpy()
        yield from (
            (n, o) for n, o in zip(numbers, outputs, strict=True) if n >= 0
        )


@pytest.mark.parametrize(
    "kind", ["classification", "multi_label", "regression"]
)
def test_windows_are_averaged(kind: str) -> None:
    example = example_of(kind)
    rows: dict[int, list[np.ndarray]] = {}
    for number, output in logits_of(example):
        rows.setdefault(number, []).append(output)
    assert max(map(len, rows.values())) > 1
    for number, output in enumerate(
        predict(example.task, example.data).outputs
    ):
        np.testing.assert_allclose(
            output, np.mean(rows[number], 0), atol=ROUNDING
        )


def test_accuracy_is_that_of_the_records() -> None:
    example = example_of("classification")
    found = predict(example.task, example.data)
    right = [
        example.task.labels[int(np.argmax(output))] == record.gold
        for output, record in zip(found.outputs, found.records, strict=True)
    ]
    values = evaluate_labelled(example.task, example.data)
    assert values["accuracy"] == pytest.approx(np.mean(right))


def test_a_word_that_was_cut_is_outside() -> None:
    example = example_of("tagging")
    record = example.data.records[0]
    longer = dataclasses.replace(
        record,
        words=(*record.words, (0, 1)),
        gold=(*record.gold, "B-X"),
    )
    records = [longer, *example.data.records[1:]]
    data = FixedRows(records, example.data.batches)
    line = results(predict(example.task, data))[0]
    assert line["words"][-1]["label"] == "O"
    assert line["words"][-1]["score"] == 0.0
    values = evaluate_labelled(example.task, data)
    assert values["accuracy"] <= 1 - 1 / sum(len(r.gold) for r in records)


def test_the_null_threshold_is_tuned_once() -> None:
    example = example_of("question_answering")
    values = evaluate_labelled(example.task, example.data)
    threshold = example.task.null_threshold
    assert values["null_threshold"] == threshold
    assert evaluate_labelled(example.task, example.data, tune=False) == values
    example.task.null_threshold = -1e9
    never = evaluate_labelled(example.task, example.data, tune=False)
    assert never["no_answer_f1"] == 1.0
    assert never["has_answer_f1"] == 0.0
    assert values["f1"] >= never["f1"]


def test_what_others_wrote_is_not_changed() -> None:
    """The means of a training stay as they are."""
    example = example_of("classification")
    example.task.compile("sgd")
    example.task.fit(example.data.dataset(), verbose=0, shuffle=False)
    before = [v.numpy() for m in example.task.metrics for v in m.variables]
    evaluate_labelled(example.task, example.data)
    after = [v.numpy() for m in example.task.metrics for v in m.variables]
    assert before == after
    assert any(before)
