"""What a model's last layer sees of a text: the vector that its head decides by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from modeling.ml.artifact import ONNX_FILE, ArtifactError
from modeling.ml.classifier import SentimentClassifier, pad

_BATCH = 32


class Embedder:
    """Runs the float graph up to its head. The int8 graph will not do: its rounding depends on
    what else is in a batch, and a test of distributions would see that."""

    def __init__(self, folder: Path, classifier: SentimentClassifier, threads: int = 1) -> None:
        """Raises ArtifactError when the graph is missing, unreadable or ends in no linear layer."""
        path = folder / ONNX_FILE
        if not path.is_file():
            raise ArtifactError(f"{path} is missing")
        self._classifier = classifier
        model = _read(path)
        self._output = _input_of_head(model.graph)
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(self._output, onnx.TensorProto.FLOAT, None)
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise ArtifactError(f"{path} cannot be loaded: {error}") from error

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (n, hidden); n must not be 0."""
        rows = [item.ids for item in self._classifier.encode(texts)]
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        parts = []
        for start in range(0, len(order), _BATCH):
            ids, mask = pad(
                [rows[index] for index in order[start : start + _BATCH]], self._classifier.pad_id
            )
            fed = {"input_ids": ids, "attention_mask": mask}
            parts.append(self._session.run([self._output], fed)[0])
        result = np.empty_like(np.concatenate(parts))
        result[order] = np.concatenate(parts)
        return result.astype(np.float32)


def _read(path: Path) -> Any:
    try:
        return onnx.load(str(path))
    except Exception as error:  # protobuf's errors share no base with onnx's
        raise ArtifactError(f"{path} cannot be read: {error}") from error


def _input_of_head(graph: Any) -> str:
    """The tensor that the last linear layer reads; every classification head ends in one."""
    producers = {output: node for node in graph.node for output in node.output}
    name = "logits"
    while (node := producers.get(name)) is not None:
        if node.op_type in {"Gemm", "MatMul"}:
            return str(node.input[0])
        # A bias may stand on either side of its addition.
        name = next((each for each in node.input if each in producers), "")
    raise ArtifactError("the ONNX graph ends in no linear layer: it gives no embeddings")
