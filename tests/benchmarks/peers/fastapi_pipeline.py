"""What many people write first: FastAPI around a transformers pipeline."""

import os
from typing import Any

import torch
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

torch.set_num_threads(int(os.environ["PEER_THREADS"]))
classify: Any = pipeline(
    "text-classification", model=os.environ["PEER_MODEL"], top_k=None, device="cpu"
)
app = FastAPI()


class One(BaseModel):
    text: str


class Many(BaseModel):
    texts: list[str]


def judge(texts: list[str]) -> list[dict[str, float]]:
    found = classify(texts, batch_size=32, truncation=True, max_length=80)
    return [{item["label"]: item["score"] for item in scores} for scores in found]


@app.post("/predict")
def predict(body: One) -> dict[str, float]:
    return judge([body.text])[0]


@app.post("/predict/batch")
def predict_batch(body: Many) -> list[dict[str, float]]:
    return judge(body.texts)
