"""What turns a trained folder into an MLflow model that works outside this project."""

from __future__ import annotations

import shutil
from pathlib import Path

import modeling
from modeling.ml import environment
from modeling.ml.artifact import ArtifactSettings

LOADER = "modeling.mlflow_model"
# What the loader needs to classify; torch and Django stay at home.
REQUIREMENTS = ("mlflow", "pandas", "numpy", "onnxruntime", "tokenizers", "nltk", "emoji", "ftfy")
EXAMPLES = ["I love this amazing product!", "The meeting is on Tuesday.", "Worst service ever :("]


def write(folder: Path, temporary: Path, run_id: str, artifact_path: str) -> Path:
    """A folder with MLmodel, signature, input example, requirements and code, made in `temporary`.

    Together with the files of `folder` it is the model: the loader reads them from where MLmodel
    lies, so that the weights are stored once.
    """
    import mlflow
    import pandas as pd
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Map

    target = temporary / "wrapping"
    about = ArtifactSettings.read(folder)
    mlflow.pyfunc.save_model(
        target,
        loader_module=LOADER,
        code_paths=[str(_code(temporary))],
        signature=ModelSignature(
            inputs=Schema([ColSpec("string", "text")]),
            outputs=Schema(
                [
                    ColSpec("string", "label"),
                    ColSpec("double", "confidence"),
                    ColSpec(Map(DataType.double), "scores"),
                ]
            ),
        ),
        input_example=pd.DataFrame({"text": EXAMPLES}),
        pip_requirements=[
            f"{name}=={version}" for name, version in environment.versions(REQUIREMENTS).items()
        ],
        metadata={"labels": list(about.labels), "base_model": about.base_model},
        mlflow_model=Model(artifact_path=artifact_path, run_id=run_id),
    )
    return target


def _code(temporary: Path) -> Path:
    """A copy of the package, cut down to the loader and the code of the model."""
    source = Path(modeling.__file__).parent
    package = temporary / "modeling"
    package.mkdir()
    (package / "__init__.py").write_text("", encoding="utf-8")
    shutil.copy(source / "mlflow_model.py", package)
    shutil.copytree(
        source / "ml", package / "ml", ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
    )
    return package
