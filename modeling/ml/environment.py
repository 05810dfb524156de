"""Where a model was made: versions and hardware."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "onnx",
    "onnxruntime",
    "openvino",
    "numpy",
    "scikit-learn",
    "emoji",
    "ftfy",
    "nltk",
    "mlflow",
    "Django",
)


def versions(names: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Installed versions; what is not installed is left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def describe() -> dict[str, str]:
    """Python, packages, machine and accelerator of this process, as plain words."""
    import torch

    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": str(os.cpu_count() or 1),
        "memory_gib": _memory(),
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }
    return {**facts, **versions()}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # Not Linux: the standard library's word is all there is.
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return "unknown"
    return f"{size / 2**30:.1f}"
