"""The predict and evaluate verbs on a folder that the train verb wrote."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests import verbs
from tests.verbs import Workplace
from tfllm.interop import model_folder
from tfllm.tasks.fill_mask import FillMask
from tfllm.tokenizers import WordPieceTokenizer

pytestmark = pytest.mark.slow

TEXTS = ["ba [MASK] ki lo.", "de de [MASK] [MASK] po, su."]


@pytest.fixture(scope="module")
def work() -> Workplace:
    finished = verbs.reference_run()
    assert finished.status == 0, finished.stderr
    return verbs.workplace()


def expected(work: Workplace, text: str) -> list[list[tuple[int, float]]]:
    """Ids and probabilities of all tokens by mask, best first, in numpy."""
    task = model_folder.load(work.path("reference"))
    tokenizer = WordPieceTokenizer.from_file(work.path("vocab.txt"))
    ids = [tokenizer.special.cls]
    for i, part in enumerate(text.split("[MASK]")):
        ids += [tokenizer.special.mask] if i else []
        ids += tokenizer.tokenize(tf.constant([part])).to_list()[0]
    ids.append(tokenizer.special.sep)
    logits = task({"token_ids": tf.constant([ids])})["mlm"].numpy()[0]
    found = []
    for place in np.flatnonzero(np.array(ids) == tokenizer.special.mask):
        row = np.exp(logits[place].astype("float64") - logits[place].max())
        row /= row.sum()
        found.append([(int(i), row[i]) for i in np.argsort(-row)])
    return found


def test_candidates_are_the_softmax_of_the_logits(work: Workplace) -> None:
    (work.folder / "texts.txt").write_text("\n\n".join(TEXTS) + "\n")
    done = verbs.run(
        "predict",
        f"--model_dir={work.path('reference')}",
        f"--input_files={work.path('texts.txt')}",
        f"--output_file={work.path('filled.jsonl')}",
        "--batch_size=1",
        "--top_k=3",
    )
    assert done.status == 0, done.stderr
    lines = (work.folder / "filled.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["text"] for record in records] == TEXTS
    vocabulary = verbs.vocabulary()
    for record, text in zip(records, TEXTS, strict=True):
        masks = expected(work, text)
        assert len(record["masks"]) == text.count("[MASK]")
        for found, candidates in zip(record["masks"], masks, strict=True):
            assert [c["token_id"] for c in found] == [
                i for i, _ in candidates[:3]
            ]
            for one, (token_id, probability) in zip(found, candidates):  # noqa: B905
                assert one["token"] == vocabulary[token_id]
                assert one["score"] == pytest.approx(probability, abs=1e-5)


def test_standard_input_to_readable_text(work: Workplace) -> None:
    done = verbs.run(
        "predict",
        f"--model_dir={work.path('reference')}",
        stdin="\n".join(TEXTS),
    )
    assert done.status == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [lines[0], lines[2]] == TEXTS
    assert len(lines) == 5
    assert lines[1].startswith("    [MASK]: ")
    # Five tokens and their probabilities.
    assert len(lines[1].split()) == 1 + 2 * 5


def test_a_dash_is_standard_input(work: Workplace) -> None:
    done = verbs.run(
        "predict",
        f"--model_dir={work.path('reference')}",
        "--input_files=-",
        f"--output_file={work.path('dash.jsonl')}",
        stdin="\n".join(TEXTS),
    )
    assert done.status == 0, done.stderr
    lines = (work.folder / "dash.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == TEXTS


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        (b"no mask here", "needs at least one [MASK]. Received: 'no mask"),
        (b"ba " * 40 + b"[MASK]", "longer than the model's 32 tokens"),
        (b"\n \n", "only blank text in standard input"),
        (b"\xff\xfe [MASK]", "standard input, line 1 is not UTF-8"),
    ],
)
def test_texts_that_cannot_be_filled(
    work: Workplace, stdin: bytes, message: str
) -> None:
    done = verbs.run(
        "predict", f"--model_dir={work.path('reference')}", stdin=stdin
    )
    assert done.status == 1
    (line,) = done.errors
    assert message in line


def test_a_failed_prediction_leaves_no_file(work: Workplace) -> None:
    output = work.folder / "failed.jsonl"
    done = verbs.run(
        "predict",
        f"--model_dir={work.path('reference')}",
        f"--output_file={output}",
        stdin="ba [MASK]\nnone",
    )
    assert done.status == 1
    assert not list(work.folder.glob("failed.jsonl*"))


def test_more_candidates_than_tokens(work: Workplace) -> None:
    folder = work.path("reference")
    tokenizer = WordPieceTokenizer.from_file(
        folder, special_tokens_in_text=("[MASK]",)
    )
    fill = FillMask(model_folder.load(folder), tokenizer, top_k=10**6)
    ((slot,),) = fill(["ba [MASK]"])
    assert len(slot) == tokenizer.vocab_size
    assert sum(c["score"] for c in slot) == pytest.approx(1.0, abs=1e-5)


def test_evaluate_reproduces_the_last_figures(work: Workplace) -> None:
    done = verbs.run(
        "evaluate",
        f"--model_dir={work.path('reference')}",
        f"--output_dir={work.path('evaluated')}",
    )
    assert done.status == 0, done.stderr
    before = work.json("reference/eval_results.json")
    after = work.json("evaluated/eval_results.json")
    names = {"loss", "mlm_loss", "mlm_accuracy", "nsp_loss", "perplexity"}
    assert {n: after[n] for n in names} == {n: before[n] for n in names}
    printed = [line.split() for line in done.stdout.splitlines()[:-1]]
    main = ("perplexity", "mlm_accuracy", "nsp_accuracy", "loss")
    assert printed == [
        ["figure", "value"],
        *([name, f"{before[name]:.4f}"] for name in main),
    ]
    # Another batch size: the same means, up to rounding.
    other = verbs.run(
        "evaluate",
        f"--model_dir={work.path('reference')}",
        f"--output_dir={work.path('evaluated')}",
        f"--eval_files={work.path('heldout.txt')}",
        "--batch_size=7",
    )
    assert other.status == 0, other.stderr
    again = work.json("evaluated/eval_results.json")
    assert again["loss"] == pytest.approx(before["loss"], rel=1e-5)


def test_figures_of_other_files_leave_those_of_the_run(work: Workplace) -> None:
    before = work.json("reference/eval_results.json")
    done = verbs.run(
        "evaluate",
        f"--model_dir={work.path('reference')}",
        f"--eval_files={work.path('train.txt')}",
    )
    assert done.status == 0, done.stderr
    assert work.json("reference/eval_results.json") == before
    path = "reference/eval_other/eval_results.json"
    assert work.path(path) in done.stdout
    other = work.json(path)
    assert other["eval_files"] == work.path("train.txt")
    assert other["loss"] != before["loss"]
