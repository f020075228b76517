"""Fine-tunes in Transformers with a recipe of `tools.compare_fine_tuning`.

    python -m tools.peers.transformers_recipe RECIPE.json OUT.json THREADS

Written as users of Transformers would: the library's tokenizer and classes,
batches of about one length padded to the longest row, torch's AdamW, and
predictions as in its example scripts. With `mixed_bfloat16` it trains under
torch's autocast and predicts in float32: autocast would round the logits, which
tfllm does not.
"""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from transformers.trainer_pt_utils import LengthGroupedSampler

Row = dict[str, Any]

# Label that the library's losses ignore.
_IGNORED = -100
_EVAL_BATCH_SIZE = 64
_MAX_ANSWER_TOKENS = 30


class Sequences:
    """Classification and regression of texts and pairs of texts.

    Args:
        recipe: Result of `recipes.from_run`.
        tokenizer: Tokenizer of Transformers.
    """

    model_class = transformers.BertForSequenceClassification

    def __init__(self, recipe: dict[str, Any], tokenizer: Any) -> None:
        self.recipe, self.tokenizer = recipe, tokenizer

    def make_model(self) -> Any:
        """Returns the model of the folder, with a fresh head."""
        options = {}
        if self.recipe["task"] == "regression":
            options = {"num_labels": 1, "problem_type": "regression"}
        elif self.recipe["labels"]:
            options = {"num_labels": len(self.recipe["labels"])}
        return self.model_class.from_pretrained(
            self.recipe["init_from"], dtype=torch.float32, **options
        )

    def rows(self, records: Sequence[Row]) -> list[Row]:
        """Returns the rows of the records."""
        return [
            {**self._encode(*r["texts"]), "labels": self._label(r["gold"])}
            for r in records
        ]

    def _encode(self, *texts: str) -> Row:
        return dict(
            self.tokenizer(
                *texts, truncation=True, max_length=self.recipe["seq_length"]
            )
        )

    def _label(self, gold: Any) -> int | float:
        if self.recipe["task"] == "regression":
            return float(gold)
        return int(self.recipe["labels"].index(gold))

    def loss(self, model: Any, batch: Row) -> torch.Tensor:
        """Returns the loss of a batch."""
        loss: torch.Tensor = model(**batch).loss
        return loss

    def predict(
        self, model: Any, records: Sequence[Row], batches: Iterator[Row]
    ) -> list[Any]:
        """Returns a prediction per record; see `recipes.figures`."""
        logits = torch.cat([model(**batch).logits for batch in batches])
        if self.recipe["task"] == "regression":
            return list(logits[:, 0].tolist())
        return list(logits.double().softmax(-1).tolist())


class Embeddings(Sequences):
    """Cosine similarity of pairs of mean-pooled texts."""

    model_class = transformers.BertModel

    def rows(self, records: Sequence[Row]) -> list[Row]:
        """Returns a row per pair, with both texts and the similarity."""
        return [
            {
                **{f"first_{k}": v for k, v in self._encode(first).items()},
                **{f"second_{k}": v for k, v in self._encode(second).items()},
                "labels": r["gold"] / self.recipe["label_scale"],
            }
            for r in records
            for first, second in [r["texts"]]
        ]

    def _cosines(self, model: Any, batch: Row) -> torch.Tensor:
        vectors = []
        for side in ("first_", "second_"):
            inputs = {
                name.removeprefix(side): value
                for name, value in batch.items()
                if name.startswith(side)
            }
            mask = inputs["attention_mask"][..., None].float()  # [B, T, 1]
            hidden = model(**inputs).last_hidden_state * mask
            vectors.append(hidden.sum(1) / mask.sum(1))  # [B, T, D] -> [B, D]
        return torch.nn.functional.cosine_similarity(*vectors)

    def loss(self, model: Any, batch: Row) -> torch.Tensor:
        """Returns the CosineSimilarityLoss of sentence-transformers."""
        return torch.nn.functional.mse_loss(
            self._cosines(model, batch), batch["labels"]
        )

    def predict(
        self, model: Any, records: Sequence[Row], batches: Iterator[Row]
    ) -> list[Any]:
        """Returns the similarity of each pair."""
        return [
            value
            for batch in batches
            for value in self._cosines(model, batch).tolist()
        ]


class Tags(Sequences):
    """Tagging: a tag per word, at its first token."""

    model_class = transformers.BertForTokenClassification

    def rows(self, records: Sequence[Row]) -> list[Row]:
        """Returns a row per record, with labels at first tokens."""
        rows = []
        for record in records:
            encoded = self.tokenizer(
                record["words"],
                is_split_into_words=True,
                truncation=True,
                max_length=self.recipe["seq_length"],
            )
            labels, before = [], None
            for word in encoded.word_ids():
                first = word is not None and word != before
                labels.append(
                    self._label(record["gold"][word]) if first else _IGNORED
                )
                before = word
            rows.append({**encoded, "labels": labels})
        return rows

    def predict(
        self, model: Any, records: Sequence[Row], batches: Iterator[Row]
    ) -> list[Any]:
        """Returns the tags of each record; O for words that were cut off."""
        predictions = []
        for batch in batches:
            best = model(**batch).logits.argmax(-1)
            for tags, labels in zip(best, batch["labels"], strict=True):
                kept = tags[labels != _IGNORED].tolist()
                predictions.append([self.recipe["labels"][tag] for tag in kept])
        return [
            tags + ["O"] * (len(record["words"]) - len(tags))
            for tags, record in zip(predictions, records, strict=True)
        ]


class Answers(Sequences):
    """Question answering with windows over a context.

    Reference: the library's examples/pytorch/question-answering.
    """

    model_class = transformers.BertForQuestionAnswering

    def rows(self, records: Sequence[Row]) -> list[Row]:
        """Returns a row per window; `keep` holds record number and offsets."""
        rows = []
        for number, record in enumerate(records):
            question, context = record["texts"]
            for encoded in self._windows(question, context):
                offsets = [
                    span if part == 1 else (-1, -1)
                    for span, part in zip(
                        encoded.offsets, encoded.sequence_ids, strict=True
                    )
                ]
                start, end = _answer_tokens(offsets, record["gold"])
                rows.append(
                    {
                        "input_ids": encoded.ids,
                        "attention_mask": encoded.attention_mask,
                        "token_type_ids": encoded.type_ids,
                        "start_positions": start,
                        "end_positions": end,
                        "keep": (number, offsets),
                    }
                )
        return rows

    def _windows(self, question: str, context: str) -> Sequence[Any]:
        recipe = self.recipe
        ids = self.tokenizer(question, add_special_tokens=False)
        length = min(len(ids["input_ids"]), recipe["question_length"])
        if length < len(ids["input_ids"]):
            question = question[: ids.encodings[0].offsets[length - 1][1]]
        room = recipe["seq_length"] - length - 3
        encodings: Sequence[Any] = self.tokenizer(
            question,
            context,
            truncation="only_second",
            max_length=recipe["seq_length"],
            # In Transformers the stride is the overlap of two windows.
            stride=max(room - recipe["stride"], 0),
            return_overflowing_tokens=True,
        ).encodings
        return encodings

    def predict(
        self, model: Any, records: Sequence[Row], batches: Iterator[Row]
    ) -> list[Any]:
        """Returns the best span over the windows of each question."""
        nulls = [math.inf] * len(records)
        best: list[tuple[float, int, int]] = [(-math.inf, 0, 0)] * len(records)
        for batch in batches:
            keep = batch.pop("keep")
            outputs = model(**batch)
            for (number, offsets), start, end in zip(
                keep,
                outputs.start_logits.numpy(),
                outputs.end_logits.numpy(),
                strict=True,
            ):
                nulls[number] = min(nulls[number], float(start[0] + end[0]))
                best[number] = max(
                    best[number], _best_span(offsets, start, end)
                )
        return [
            {
                "answer": record["texts"][1][first:last],
                "null_difference": null - logit,
            }
            for record, null, (logit, first, last) in zip(
                records, nulls, best, strict=True
            )
        ]


def _answer_tokens(
    offsets: Sequence[tuple[int, int]], gold: Sequence[tuple[str, int]]
) -> tuple[int, int]:
    """Returns first and last token of the first answer; 0, 0 without one."""
    if not gold:
        return 0, 0
    text, begin = gold[0]
    inside = [
        i
        for i, (start, end) in enumerate(offsets)
        if start >= 0 and end > begin and start < begin + len(text)
    ]
    shown = [span for span in offsets if span[0] >= 0]
    if not inside or shown[0][0] > begin or shown[-1][1] < begin + len(text):
        return 0, 0
    return inside[0], inside[-1]


def _best_span(
    offsets: Sequence[tuple[int, int]], start: np.ndarray, end: np.ndarray
) -> tuple[float, int, int]:
    """Returns logit, first character and end of the best span."""
    tokens = [i for i, span in enumerate(offsets) if span[0] >= 0]
    logits = start[tokens][:, None] + end[tokens][None, :]
    band = np.triu(np.ones_like(logits)) - np.triu(
        np.ones_like(logits), _MAX_ANSWER_TOKENS
    )
    logits = np.where(band > 0, logits, -np.inf)
    first, last = np.unravel_index(int(logits.argmax()), logits.shape)
    return (
        float(logits[first, last]),
        offsets[tokens[int(first)]][0],
        offsets[tokens[int(last)]][1],
    )


PROBLEMS = {
    "classification": Sequences,
    "regression": Sequences,
    "embedding": Embeddings,
    "tagging": Tags,
    "question_answering": Answers,
}


def collate(rows: Sequence[Row]) -> Row:
    """Returns a batch of rows, padded to the longest."""
    batch: Row = {}
    for name in rows[0]:
        column = [row[name] for row in rows]
        if name == "keep":
            batch[name] = column
            continue
        if isinstance(column[0], list):
            width = max(map(len, column))
            fill = _IGNORED if name == "labels" else 0
            column = [ids + [fill] * (width - len(ids)) for ids in column]
        batch[name] = torch.tensor(column)
    return batch


class GroupedBatches:
    """Full batches of rows of about one length, in random order.

    The library's sampler alone would go repeatedly from long to short rows.

    Args:
        lengths: Number of tokens of each row.
        batch_size: Rows per batch.
    """

    def __init__(self, lengths: list[int], batch_size: int) -> None:
        self._sampler = LengthGroupedSampler(batch_size, lengths=lengths)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields the rows of each batch of an epoch."""
        order, size = list(self._sampler), self._sampler.batch_size
        starts = range(0, len(order) - size + 1, size)
        for number in torch.randperm(len(starts)).tolist():
            yield order[starts[number] :][:size]


def _length(row: Row) -> int:
    """Returns the number of tokens of the longest text in a row."""
    return max(len(v) for k, v in row.items() if k.endswith("input_ids"))


def train(
    model: Any, problem: Sequences, rows: Sequence[Row], recipe: dict[str, Any]
) -> None:
    """Takes all steps of a recipe."""
    loader = torch.utils.data.DataLoader(
        [{k: v for k, v in row.items() if k != "keep"} for row in rows],
        batch_sampler=GroupedBatches(
            [_length(row) for row in rows], recipe["batch_size"]
        ),
        collate_fn=collate,
    )
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1]},
            {
                "params": [p for p in model.parameters() if p.ndim <= 1],
                "weight_decay": 0.0,
            },
        ],
        lr=recipe["learning_rate"],
        betas=tuple(recipe["betas"]),
        eps=recipe["epsilon"],
        weight_decay=recipe["weight_decay"],
    )
    schedule = transformers.get_linear_schedule_with_warmup(
        optimizer, recipe["warmup_steps"], recipe["steps"]
    )
    mixed = recipe["precision"] == "mixed_bfloat16"
    model.train()
    step = 0
    while step < recipe["steps"]:
        for batch in loader:
            with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                loss = problem.loss(model, batch)
            loss.backward()
            if recipe["clip_norm"]:
                torch.nn.utils.clip_grad_norm_(
                    model.parameters(), recipe["clip_norm"]
                )
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step % 50 == 0 or step == recipe["steps"]:
                print(f"step {step}, loss {loss.item():.4f}", flush=True)
            if step == recipe["steps"]:
                break


def main(recipe_path: str, output_path: str, threads: str) -> None:
    """Trains and predicts.

    Args:
        recipe_path: JSON file with the result of `recipes.from_run`.
        output_path: JSON file to write the predictions to.
        threads: Cores that may be used.
    """
    with open(recipe_path, encoding="utf-8") as file:
        recipe = json.load(file)
    torch.set_num_threads(int(threads))
    torch.manual_seed(recipe["seed"])
    tokenizer = transformers.AutoTokenizer.from_pretrained(recipe["init_from"])
    problem = PROBLEMS[recipe["task"]](recipe, tokenizer)
    model = problem.make_model()
    train(model, problem, problem.rows(recipe["train"]), recipe)
    model.eval()
    loader = torch.utils.data.DataLoader(
        problem.rows(recipe["eval"]), _EVAL_BATCH_SIZE, collate_fn=collate
    )
    with torch.no_grad():
        predictions = problem.predict(model, recipe["eval"], iter(loader))
    with open(output_path, "w", encoding="utf-8") as file:
        json.dump(predictions, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
