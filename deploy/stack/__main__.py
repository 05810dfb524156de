"""`python -m deploy.stack`: the stack in the foreground."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from deploy.stack import ROOT, Stack, StackError


def main() -> None:
    """Until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m deploy.stack", description=main.__doc__)
    parser.add_argument("--port", type=int, default=8000, help="Of the site.")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "stack")
    parser.add_argument(
        "--scale", action="append", default=[], metavar="SERVICE=N", help="As compose's --scale."
    )
    options = parser.parse_args()

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _interrupt())
    scale = {name: int(count) for name, count in (item.split("=") for item in options.scale)}
    try:
        with Stack(options.folder.resolve(), port=options.port, scale=scale, say=say) as stack:
            say("")
            for name, address in stack.addresses().items():
                say(f"{name:<12} {re.sub(r':[^:@/]+@', ':…@', address)}")
            say(f"passwords    {options.folder}/secrets")
            for service in stack.skipped:
                say(f"left out: {service}")
            say(f"\nLogs are in {options.folder}/logs. Ctrl-C stops everything.")
            with suppress(KeyboardInterrupt):
                while True:
                    time.sleep(3600)
            say("Stopping.")
    except StackError as error:
        sys.exit(f"stack: {error}")
    except KeyboardInterrupt:
        sys.exit("Stopped.")


def _interrupt() -> None:
    """The first one ends the wait; more are ignored while everything stops."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
