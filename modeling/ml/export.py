"""A trained model folder as ONNX, in float and in int8."""

import logging
import os
import warnings
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np

from modeling.ml import hub
from modeling.ml.artifact import ONNX_FILE, ONNX_INT8_FILE, OPENVINO_FILE, ArtifactError

# The largest difference of logits that rounding explains.
_TOLERANCE = 1e-3
# Of which quantisation learns the ranges of values; more take longer and change nothing.
CALIBRATION_TEXTS = 128


def export_onnx(folder: Path) -> None:
    """Write `model.onnx` and `model.int8.onnx` beside the weights, with dynamic axes.

    The float graph is run against torch before it is trusted: ArtifactError when they disagree.
    """
    _export_float(folder)
    _quantise(folder)


def export_openvino(folder: Path, texts: Sequence[str]) -> None:
    """Write `openvino.int8.xml`, calibrated on some of `texts`.

    That fixes the scales, so that a text's scores do not depend on the others of its batch.

    Raises ArtifactError where openvino or nncf is not installed.
    """
    # Else it tells its makers of each use.
    os.environ["NNCF_CI"] = "1"
    try:
        import nncf
        import openvino
    except ImportError as error:
        raise ArtifactError(
            "openvino-int8 needs two packages: run `pip install -r requirements-openvino.txt`"
        ) from error
    from modeling.ml.classifier import SentimentClassifier, pad

    classifier = SentimentClassifier(folder, "onnx", threads=1)
    chosen = np.random.default_rng(0).permutation(len(texts))[:CALIBRATION_TEXTS]
    rows = [item.ids for item in classifier.encode([texts[index] for index in chosen])]
    inputs = [
        dict(zip(("input_ids", "attention_mask"), pad([row], classifier.pad_id), strict=True))
        for row in rows
    ]
    nncf.set_log_level(logging.ERROR)
    # Four bars for a few seconds, in the middle of the training's own.
    with redirect_stdout(StringIO()):
        quantised = nncf.quantize(
            openvino.Core().read_model(folder / ONNX_FILE),
            nncf.Dataset(inputs),
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(inputs),
            # Seven bits, as below.
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                overflow_fix=nncf.OverflowFix.ENABLE
            ),
        )
    openvino.save_model(quantised, folder / OPENVINO_FILE, compress_to_fp16=False)


def _export_float(folder: Path) -> None:
    import torch

    # Eager attention keeps the mask in the graph; fused attention drops it when it is all ones.
    model = (
        hub.transformers()
        .AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager")
        .eval()
    )
    ids = torch.full((2, 12), 5, dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[1, 7:] = 0
    axes = {0: "batch", 1: "sequence"}
    with warnings.catch_warnings():
        # The tracing exporter is six times faster here than the one that replaces it.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _logits_only(model),
            (ids, mask),
            str(folder / ONNX_FILE),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "logits": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    _compare(folder, model)


def _logits_only(model: Any) -> Any:
    import torch

    class LogitsOnly(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    return LogitsOnly().eval()


def _compare(folder: Path, model: Any) -> None:
    import torch

    from modeling.ml.backends import OnnxBackend

    generator = np.random.default_rng(0)
    ids = generator.integers(5, model.config.vocab_size, size=(3, 20), dtype=np.int64)
    mask = np.ones_like(ids)
    mask[1, 9:] = 0
    with torch.inference_mode():
        expected = model(
            input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)
        ).logits.numpy()
    actual = OnnxBackend(folder / ONNX_FILE, threads=1).logits(ids, mask)
    difference = float(np.abs(actual - expected).max())
    if difference > _TOLERANCE:
        raise ArtifactError(f"the ONNX graph differs from the model by {difference:.4f}")


def _quantise(folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    level = root.level
    # onnxruntime tells the root logger to pre-process the graph, which changes nothing here.
    root.setLevel(logging.ERROR)
    try:
        quantize_dynamic(
            folder / ONNX_FILE,
            folder / ONNX_INT8_FILE,
            # Embeddings stay float: they cost no time and int8 there costs accuracy.
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            # Seven bits: without VNNI the eighth overflows the 16-bit sums.
            reduce_range=True,
        )
    finally:
        root.setLevel(level)
