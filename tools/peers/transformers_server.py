"""Transformers' BERT behind FastAPI, as its users would write it.

    TFLLM_PEER_MODEL=FOLDER python -m uvicorn --factory \
        tools.peers.transformers_server:create --port 8000 --workers 1

The endpoint is a plain function, which FastAPI runs in its thread pool, so that
requests overlap. As in most such programs, requests are not batched.
"""

import os

import torch
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

MODEL_VARIABLE = "TFLLM_PEER_MODEL"


class Query(BaseModel):
    """A request."""

    text: str


class Answer(BaseModel):
    """An answer."""

    label: str
    scores: list[float]


def create() -> FastAPI:
    """Returns the application, with the model loaded."""
    folder = os.environ[MODEL_VARIABLE]
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.is_fast
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, attn_implementation="sdpa"
    ).eval()
    labels = model.config.id2label
    app = FastAPI()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/predict")
    def predict(query: Query) -> Answer:
        with torch.inference_mode():
            inputs = tokenizer(query.text, truncation=True, return_tensors="pt")
            scores = model(**inputs).logits.softmax(-1)[0]
        best = int(scores.argmax())
        return Answer(label=labels[best], scores=scores.tolist())

    return app
