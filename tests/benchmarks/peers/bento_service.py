"""BentoML with adaptive batching around the same int8 ONNX file; runs in a venv of its own."""

import os

import bentoml
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FOLDER = os.environ["PEER_MODEL"]
THREADS = int(os.environ["PEER_THREADS"])
LABELS = ("negative", "neutral", "positive")


@bentoml.service(workers=int(os.environ["PEER_WORKERS"]), traffic={"timeout": 60})
class Sentiment:
    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        self.session = onnxruntime.InferenceSession(
            f"{FOLDER}/model.int8.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.tokenizer = Tokenizer.from_file(f"{FOLDER}/tokenizer.json")
        self.tokenizer.enable_truncation(80)
        self.tokenizer.enable_padding()

    def judge(self, texts: list[str]) -> list[dict[str, float]]:
        encoded = self.tokenizer.encode_batch(texts)
        (logits,) = self.session.run(
            ["logits"],
            {
                "input_ids": np.array([item.ids for item in encoded], dtype=np.int64),
                "attention_mask": np.array(
                    [item.attention_mask for item in encoded], dtype=np.int64
                ),
            },
        )
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares = odds / odds.sum(axis=1, keepdims=True)
        return [dict(zip(LABELS, map(float, row), strict=True)) for row in shares]

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=10_000)
    def predict(self, texts: list[str]) -> list[dict[str, float]]:
        return self.judge(texts)

    @bentoml.api
    def predict_many(self, texts: list[str]) -> list[dict[str, float]]:
        return self.judge(texts)
