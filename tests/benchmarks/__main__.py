"""`make bench`: runs every benchmark, or those named: `make bench ARGS='starter import'`."""

import runpy
import sys

BENCHMARKS = {
    "active": "tests.benchmarks.active",
    "accuracy": "tests.benchmarks.accuracy",
    "backup": "tests.benchmarks.backup",
    "drift": "tests.benchmarks.drift",
    "starter": "tests.benchmarks.starter",
    "import": "tests.benchmarks.import_posts",
    "jetstream": "tests.benchmarks.jetstream",
    "engine": "tests.benchmarks.engine",
    "http": "tests.benchmarks.http",
    "overload": "tests.benchmarks.overload",
    "refusals": "tests.benchmarks.refusals",
    "pages": "tests.benchmarks.pages",
    "plans": "tests.benchmarks.plans",
    "retention": "tests.benchmarks.retention",
    "scale": "tests.benchmarks.scale",
    "viewers": "tests.benchmarks.viewers",
    "throughput": "tests.benchmarks.throughput",
    "soak": "tests.benchmarks.soak",
}


def main() -> None:
    names = sys.argv[1:] or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark is called {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    for name in names:
        print(f"=== {name}", flush=True)
        sys.argv = [name]
        runpy.run_module(BENCHMARKS[name], run_name="__main__")


if __name__ == "__main__":
    main()
