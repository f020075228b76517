"""The tasks with labels in torch, on the classes of Transformers."""

import pathlib
from typing import Any

import numpy as np

from tfllm.models import FAMILIES, Family

# Task -> key of `Family.architectures`.
ARCHITECTURES = {
    **dict.fromkeys(
        ("classification", "multi_label", "regression"),
        "sequence_classification",
    ),
    "tagging": "token_classification",
    "question_answering": "question_answering",
    "embedding": "encoder",
    "multiple_choice": "multiple_choice",
}


def architecture(name: str, family: Family) -> str:
    """Returns the class of a task in Transformers."""
    return family.architectures[ARCHITECTURES[name]]


def from_folder(
    name: str, family: str, folder: pathlib.Path
) -> tuple[Any, dict[str, Any]]:
    """Returns the model of a folder, and what did not fit."""
    import transformers

    spec = FAMILIES[family]
    cls = getattr(transformers, architecture(name, spec))
    options = {}
    if name == "embedding" and not spec.config().generates:
        options = {"add_pooling_layer": False}
    return cls.from_pretrained(
        folder,
        output_loading_info=True,
        attn_implementation="eager",
        **options,
    )


def run(name: str, model: Any, x: dict[str, Any], **labels: Any) -> Any:
    """Calls the model on one of our batches."""
    import torch

    found = {
        "input_ids": x["token_ids"],
        "attention_mask": x["padding_mask"],
        "token_type_ids": x["segment_ids"],
    }
    if name == "embedding":
        found = {k: v.reshape(-1, v.shape[-1]) for k, v in found.items()}
    found = {k: torch.tensor(v).long() for k, v in found.items()}
    family = FAMILIES[model.config.model_type]
    if not family.tokenizer.template.has_segments:
        # GPT-2 would look them up in the token table.
        del found["token_type_ids"]
        if architecture(name, family).endswith("DoubleHeadsModel"):
            found["mc_token_ids"] = found["attention_mask"].sum(-1) - 1
    return model(**found, **labels)


def outputs_of(name: str, model: Any, x: dict[str, Any]) -> dict[str, Any]:
    """Returns torch tensors named and shaped as our outputs."""
    import torch

    outputs = run(name, model, x)
    if name == "embedding":
        mask = torch.tensor(x["padding_mask"]).reshape(
            -1, x["token_ids"].shape[-1]
        )
        hidden = outputs.last_hidden_state * mask[..., None]
        vectors = hidden.sum(1) / mask.sum(1, keepdim=True)
        vectors = torch.nn.functional.normalize(vectors, dim=-1)
        return {name: vectors.reshape(*x["token_ids"].shape[:2], -1)}
    if name == "question_answering":
        return {"start": outputs.start_logits, "end": outputs.end_logits}
    if name == "multiple_choice":
        # Of the language model beside it the logits are another thing.
        logits = getattr(outputs, "mc_logits", None)
        return {name: outputs.logits if logits is None else logits}
    logits = outputs.logits
    return {name: logits[:, 0] if name == "regression" else logits}


def loss_of(
    name: str, model: Any, x: dict[str, Any], y: dict[str, Any], w: Any
) -> Any:
    """Returns the loss: the class' own, where it has one.

    Embeddings have those of sentence-transformers:
    MultipleNegativesRankingLoss for whole numbers in y, else
    CosineSimilarityLoss. With an answer mask, the two cross-entropies are
    those over what it leaves.
    """
    import torch

    if name == "embedding":
        vectors = outputs_of(name, model, x)[name]
        anchors, candidates = vectors[:, 0], vectors[:, 1:]
        if y[name].dtype.kind == "f":
            cosines = (anchors * candidates[:, 0]).sum(-1)
            targets = torch.tensor(y[name])
            return torch.nn.functional.mse_loss(cosines, targets)
        rows, count = candidates.shape[:2]
        scores = anchors @ candidates.reshape(rows * count, -1).T / 0.05
        own = torch.arange(rows) * count
        return torch.nn.functional.cross_entropy(scores, own)
    if name == "question_answering" and "answer_mask" in x:
        hidden = torch.tensor(x["answer_mask"]) == 0
        losses = [
            torch.nn.functional.cross_entropy(
                logits.masked_fill(hidden, -1e9), torch.tensor(y[key]).long()
            )
            for key, logits in outputs_of(name, model, x).items()
        ]
        return sum(losses) / 2
    if name == "question_answering":
        labels = {
            f"{k}_positions": torch.tensor(v).long() for k, v in y.items()
        }
        return run(name, model, x, **labels).loss
    target = y[name]
    if name == "tagging":
        target = np.where(w[name] > 0, target, -100)
    target = torch.tensor(target)
    if name not in ("multi_label", "regression"):
        target = target.long()
    if name == "multiple_choice" and model.config.model_type == "gpt2":
        return run(name, model, x, mc_labels=target).mc_loss
    return run(name, model, x, labels=target).loss


def train(
    name: str,
    model: Any,
    found: list[Any],
    rate: float,
    decay: float,
    epsilon: float,
    clip: float,
) -> list[float]:
    """Returns the loss of every step of AdamW; matrices and tables decay."""
    import torch

    model.train()
    parts: dict[bool, list[Any]] = {True: [], False: []}
    for parameter in model.parameters():
        parts[parameter.ndim > 1].append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": parts[True], "weight_decay": decay},
            {"params": parts[False], "weight_decay": 0.0},
        ],
        lr=rate,
        betas=(0.9, 0.999),
        eps=epsilon,
    )
    losses = []
    for x, y, w in found:
        optimizer.zero_grad()
        loss = loss_of(name, model, x, y, w)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        losses.append(loss.item())
    return losses
