"""transformers as this program uses it: silent where the program itself says how far it is."""

from __future__ import annotations

from types import ModuleType


def transformers() -> ModuleType:
    """The library, imported late, without its bars and tables on the terminal.

    Bars of downloads from the hub stay: those take minutes.
    """
    import transformers as library
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging

    silent = are_progress_bars_disabled()
    logging.disable_progress_bar()
    if not silent:
        enable_progress_bars()
    # Below errors it reports each head that is new, which every fine-tuning begins with.
    logging.set_verbosity_error()
    return library
