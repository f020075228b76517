"""Small files laid out as those that the flag files of fine-tuning read."""

import json
import pathlib
import random
from collections.abc import Callable

WORDS = ["the", "river", "tree", "house", "old", "man", "little", "water"]
LABELS = ("ABBR", "HUM", "LOC")


def sentence(rng: random.Random, count: int = 6) -> str:
    return " ".join(rng.choices(WORDS, k=count))


def trec(count: int, rng: random.Random) -> str:
    """Each question says its label, in the first window and in the last."""
    return "".join(
        f"{label}:x {label.lower()} {sentence(rng)} {label.lower()} ?\n"
        for label in (LABELS[i % 3] for i in range(count))
    )


def sick(count: int, rng: random.Random) -> str:
    kinds = ("NEUTRAL", "ENTAILMENT", "CONTRADICTION")
    rows = [
        f"{i}\t{sentence(rng)}\t{sentence(rng)}\t3.5\t{kinds[i % 3]}\n"
        for i in range(count)
    ]
    header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\t"
    return header + "entailment_judgment\n" + "".join(rows)


def stsb(count: int, rng: random.Random) -> str:
    return "".join(
        f"main\tfile\t2012\t{i}\t{i % 6}.000\t"
        f"{sentence(rng)}\t{sentence(rng)}\n"
        for i in range(count)
    )


def wnut17(count: int, rng: random.Random) -> str:
    tags = ("B-person", "I-person", "O", "O", "B-place", "O")
    return "".join(
        "".join(
            f"{word}\t{tag}\n"
            for word, tag in zip(sentence(rng).split(), tags, strict=True)
        )
        + "\n"
        for _ in range(count)
    )


def squad(count: int, rng: random.Random) -> str:
    questions = []
    for i in range(count):
        context = sentence(rng, 12)
        word = context.split()[3]
        answer = {"text": word, "answer_start": context.index(word)}
        question = {
            "id": str(i),
            "question": sentence(rng) + " ?",
            "answers": [] if i % 3 == 0 else [answer],
            "is_impossible": i % 3 == 0,
        }
        questions.append({"context": context, "qas": [question]})
    article = {"title": "a", "paragraphs": questions}
    return json.dumps({"version": "v2.0", "data": [article]})


def relations(count: int, rng: random.Random) -> str:
    kinds = ([], ["related"], ["entails", "related"])
    rows = [
        {
            "text": sentence(rng),
            "other": sentence(rng),
            "label": kinds[i % 3],
        }
        for i in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def continuation(count: int, rng: random.Random) -> str:
    rows = [
        {
            "text": sentence(rng),
            "choices": [sentence(rng) for _ in range(4)],
            "label": i % 4,
        }
        for i in range(count)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


# Name in the names of the flag files -> what its files look like.
SETS: dict[str, Callable[[int, random.Random], str]] = {
    "trec": trec,
    "sick": sick,
    "stsb": stsb,
    "wnut17": wnut17,
    "squad": squad,
    "relations": relations,
    "continuation": continuation,
}
_SUFFIXES = {"squad": ".json", "relations": ".jsonl", "continuation": ".jsonl"}


def write(
    name: str, folder: pathlib.Path, count: int = 24
) -> dict[str, pathlib.Path]:
    """Writes files of a set; returns them by flag."""
    suffix = _SUFFIXES.get(name, ".txt")
    found = {
        "train_files": folder / f"{name}_train{suffix}",
        "eval_files": folder / f"{name}_test{suffix}",
    }
    for seed, path in enumerate(found.values()):
        path.write_text(SETS[name](count, random.Random(seed)))
    return found
