"""What runs the network: int8 and float on the CPU, torch on a GPU where there is one."""

from __future__ import annotations

import importlib.util
import threading
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from modeling.ml import hub
from modeling.ml.artifact import (
    ONNX_FILE,
    ONNX_INT8_FILE,
    OPENVINO_FILE,
    WEIGHTS_FILE,
    ArtifactError,
)

BACKENDS = ("openvino-int8", "onnx-int8", "onnx", "torch")
# OpenVINO does a quarter more in big batches, no more in small ones, and holds kernels for each
# shape that it has met: 800 MB more after some hundred batches of real posts.
DEFAULT_BACKEND = "onnx-int8"
FILES = {"openvino-int8": OPENVINO_FILE, "onnx-int8": ONNX_INT8_FILE, "onnx": ONNX_FILE}

Ids = NDArray[np.int64]


class Backend(Protocol):
    """Runs the network, for several threads at once."""

    # Whether calls from several threads run side by side; else one call uses all threads itself.
    is_parallel: bool

    def logits(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        """Token ids and attention mask, each (n, length), to logits (n, labels)."""
        ...


class OnnxBackend:
    """ONNX Runtime on the CPU."""

    is_parallel = True

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Spinning threads steal the second core from whoever shares the machine.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                # Fused with the addition before it, the normalisation takes longer than both.
                disabled_optimizers=["SkipLayerNormFusion"],
            )
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise ArtifactError(f"{path} cannot be loaded: {error}") from error

    def logits(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        result: NDArray[np.float32] = self._session.run(
            ["logits"], {"input_ids": ids, "attention_mask": mask}
        )[0]
        return result


class OpenVinoBackend:
    """OpenVINO on the CPU, an inference request for each thread that calls."""

    is_parallel = True

    def __init__(self, path: Path, threads: int, streams: int) -> None:
        import openvino

        options = {
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            # Whoever shares the machine would be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        try:
            core = openvino.Core()
            self._model = core.compile_model(core.read_model(path), "CPU", options)
        except Exception as error:  # besides RuntimeError whatever its bindings let through
            raise ArtifactError(f"{path} cannot be loaded: {error}") from error
        self._requests = threading.local()

    def logits(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        request = getattr(self._requests, "own", None)
        if request is None:
            request = self._requests.own = self._model.create_infer_request()
        request.infer({"input_ids": ids, "attention_mask": mask}, share_inputs=True)
        result: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
        return result


class TorchBackend:
    """PyTorch: half precision on a GPU where there is one, else float on the CPU."""

    is_parallel = False

    def __init__(self, folder: Path, threads: int) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._torch = torch
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        library = hub.transformers()
        try:
            self._model: Any = (
                library.AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype)
                .to(self._device)
                .eval()
            )
        except Exception as error:  # OSError to SafetensorError, and a GPU without memory
            raise ArtifactError(
                f"{folder / WEIGHTS_FILE} cannot be loaded: {type(error).__name__}: {error}"
            ) from error

    def logits(self, ids: Ids, mask: Ids) -> NDArray[np.float32]:
        with self._torch.inference_mode():
            output = self._model(
                input_ids=self._torch.from_numpy(ids).to(self._device),
                attention_mask=self._torch.from_numpy(mask).to(self._device),
            )
        result: NDArray[np.float32] = output.logits.float().cpu().numpy()
        return result


def load(folder: Path, name: str, threads: int, streams: int = 1) -> Backend:
    """The backend called `name` with the model in `folder`.

    `threads` of each call, 0 for as many as there are cores; up to `streams` calls at a time.
    Raises ArtifactError when the folder lacks its file or holds one that cannot be loaded, or its
    package is not installed.
    """
    if name == "torch":
        return TorchBackend(folder, threads * streams)
    if name not in FILES:
        raise ArtifactError(f"no backend is called {name!r}: choose one of {', '.join(BACKENDS)}")
    path = folder / FILES[name]
    if not path.is_file():
        hint = ""
        if name == "openvino-int8":
            hint = "; set INFERENCE_BACKEND to openvino-int8 where trainings run, and train one"
        raise ArtifactError(f"{path} is missing: the version was registered without it{hint}")
    if name != "openvino-int8":
        return OnnxBackend(path, threads)
    if importlib.util.find_spec("openvino") is None:
        raise ArtifactError(
            "INFERENCE_BACKEND is openvino-int8: run `pip install -r requirements-openvino.txt`"
        )
    return OpenVinoBackend(path, threads, streams)
