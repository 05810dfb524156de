"""A fault in a library, for processes that are started with this folder in PYTHONPATH: preparing a
text that holds the word POISON ends the process, as a fault in native code does."""

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

MODULE, WORD = "modeling.ml.text", "POISON"


class Poisoned(importlib.abc.Loader):
    """Loads the module as ever, and puts the fault into it."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        normalise = module.normalise

        def die_of_it(text: str, **options: Any) -> str:
            if WORD in text:
                os.abort()
            return str(normalise(text, **options))

        module.normalise = die_of_it  # type: ignore[attr-defined]


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = Poisoned(spec.loader)
        return spec


sys.meta_path.insert(0, Finder())
