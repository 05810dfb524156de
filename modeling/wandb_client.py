"""The process that talks to Weights & Biases: `python -m modeling.wandb_client < message.json`.

The only importer of wandb. It knows nothing of Django: `modeling.tracking` tells it all.
"""

from __future__ import annotations

import json
import sys
from typing import Any

INIT_SECONDS = 45


def main() -> None:
    """Log one training; an exception ends the process with its reason as the last line."""
    message = json.load(sys.stdin)
    import wandb

    run = wandb.init(
        project=message["project"],
        name=message["name"],
        group=message["group"],
        dir=message["folder"],
        mode=message["mode"],
        config=message["config"],
        # Nothing leaves with the figures: no code, output, host name, load of the machine.
        settings=wandb.Settings(
            init_timeout=INIT_SECONDS,
            silent=True,
            console="off",
            save_code=False,
            disable_git=True,
            x_disable_meta=True,
            x_disable_stats=True,
        ),
    )
    _log(run, wandb, message)
    run.finish()


def _log(run: Any, wandb: Any, message: dict[str, Any]) -> None:
    for step, epoch in enumerate(message["history"], start=1):
        run.log({**epoch, "epoch": step}, step=step)
    if message["images"]:
        run.log({name: wandb.Image(path) for name, path in message["images"].items()})
    run.summary.update(message["summary"])


if __name__ == "__main__":
    main()
