"""Predictions over HTTP, beside what else one would run, on the same model in the same run.

`make bench ARGS=http`. The service is started as docs/running.md says for production, with a token;
the peers are FastAPI around a transformers pipeline, BentoML with adaptive batching around the same
int8 ONNX file (in a venv of its own, made once under `VAR_DIR`), and `mlflow models serve`. wrk
(Debian's package) loads one at a time, in turn, on loopback; all use as many workers as there are
cores, of one thread each. The service remembers no judgement, except in the last table, where the
same texts come again and again.
"""

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "sentiment_site.settings")

import django

django.setup()

from django.conf import settings

from modeling import registry
from modeling.models import ModelVersion
from tests.benchmarks import data
from tests.benchmarks.import_posts import clone_champion

SECONDS = float(os.environ.get("BENCH_SECONDS", "5"))
CONNECTIONS = (1, 8, 32, 128)
BATCH = 64
BODIES = 6_000
WORKERS = len(os.sched_getaffinity(0))
BENTO = ("bentoml==1.4.40", "onnxruntime==1.32.0", "tokenizers==0.23.3", "numpy==2.4.6")
HERE = Path(__file__).parent


Bodies = tuple[Callable[[str], Any], Callable[[list[str]], Any]]
TEXT_OR_TEXTS: Bodies = (lambda text: {"text": text}, lambda texts: {"texts": texts})


@dataclass
class Server:
    name: str
    process: subprocess.Popen[bytes]
    single: str
    batch: str
    body_of_one: Callable[[str], Any]
    body_of_many: Callable[[list[str]], Any]
    log: Path
    token: str = ""

    def peak_megabytes(self) -> float:
        """Peak resident memory of the process and all that it started, together."""
        return sum(_kilobytes(pid, "VmHWM") for pid in _tree(self.process.pid)) / 1024


def resident_megabytes(root: int) -> float:
    """Resident memory now of a process and all that it started."""
    return sum(_kilobytes(pid, "VmRSS") for pid in _tree(root)) / 1024


def settle(servers: list[Server]) -> None:
    """Wait, a minute at most, until no server works on what nobody waits for any more: queues
    outlive their callers, and would be paid for by whoever is measured next."""
    deadline = time.monotonic() + 60
    before = _cpu_seconds(servers)
    while time.monotonic() < deadline:
        time.sleep(1)
        now = _cpu_seconds(servers)
        if now - before < 0.1:
            return
        before = now


def _cpu_seconds(servers: list[Server]) -> float:
    ticks = 0
    for pid in {pid for server in servers for pid in _tree(server.process.pid)}:
        with suppress(FileNotFoundError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _tree(root: int) -> list[int]:
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, task.read_text().split())
    return found


def _kilobytes(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next((int(line.split()[1]) for line in status.splitlines() if name in line), 0)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[Any]:
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def begin(
    stack: ExitStack, folder: Path, name: str, command: list[str], environment: dict[str, str],
    paths: tuple[str, str], bodies: Bodies, token: str = "",
) -> Server:  # fmt: skip
    """The server, started on a free port; `paths` take one text and many, made to `bodies`."""
    log = folder / f"{name}.log"
    port = str(free_port())
    process = stack.enter_context(running([*command, "--port", port], environment, log))
    single, batch = (f"http://127.0.0.1:{port}{path}" for path in paths)
    return Server(name, process, single, batch, *bodies, log, token)


def wait_for(server: Server) -> float:
    """Seconds until the first prediction."""
    started = time.monotonic()
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {server.token}"}
    body = json.dumps(server.body_of_one("Is anybody there?")).encode()
    while time.monotonic() - started < 180:
        if server.process.poll() is not None:
            break
        try:
            request = urllib.request.Request(server.single, body, headers)
            with urllib.request.urlopen(request, timeout=60):
                return time.monotonic() - started
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise SystemExit(f"{server.name} does not answer:\n{server.log.read_text()[-2000:]}")


def service(
    stack: ExitStack, folder: Path, version: ModelVersion, workers: int = WORKERS,
    *, remembers: bool = False,
) -> Server:  # fmt: skip
    """This service, as docs/running.md starts it; what it `remembers` it need not judge again."""
    folder.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "VAR_DIR": str(folder / "var"),
        "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        "SECRET_KEY": settings.SECRET_KEY,
        "API_REQUIRE_AUTH": "1",
        "WEB_CONCURRENCY": str(workers),
        "ENV_FILE": os.devnull,
        **({} if remembers else {"PREDICTION_CACHE_SIZE": "0"}),
    }
    clone_champion(version, environment)
    made = subprocess.run(
        [sys.executable, "manage.py", "create_token", "bench", "--json"],
        env=environment,
        check=True,
        capture_output=True,
    )
    command = [
        *(sys.executable, "-m", "uvicorn", "sentiment_site.asgi:application", "--lifespan", "off"),
        "--no-access-log",
    ]
    token = json.loads(made.stdout)["token"]
    paths = ("/predict", "/predict/batch")
    return begin(stack, folder, "this service", command, environment, paths, TEXT_OR_TEXTS, token)


def peer_environment(model: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PEER_MODEL": str(model),
        "PEER_THREADS": "1",
        "PEER_WORKERS": str(WORKERS),
        "OMP_NUM_THREADS": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "PYTHONPATH": os.getcwd(),
    }


def fastapi(stack: ExitStack, folder: Path, model: Path) -> Server:
    command = [
        *(sys.executable, "-m", "uvicorn", "tests.benchmarks.peers.fastapi_pipeline:app"),
        *("--workers", str(WORKERS), "--no-access-log"),
    ]
    paths = ("/predict", "/predict/batch")
    environment = peer_environment(model)
    return begin(stack, folder, "FastAPI + pipeline", command, environment, paths, TEXT_OR_TEXTS)


def bento(stack: ExitStack, folder: Path, model: Path) -> Server | None:
    venv = settings.VAR_DIR / "bench-bentoml"
    if not (venv / "bin" / "bentoml").exists():
        print("installing BentoML (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        pip = [str(venv / "bin" / "pip"), "install", "--quiet", *BENTO]
        if subprocess.run(pip).returncode:
            print("SKIPPED: BentoML cannot be installed")
            return None
    command = [
        *(str(venv / "bin" / "bentoml"), "serve", "bento_service:Sentiment"),
        *("--working-dir", str(HERE / "peers")),
    ]
    bodies: Bodies = (lambda text: {"texts": [text]}, lambda texts: {"texts": texts})
    paths = ("/predict", "/predict_many")
    environment = peer_environment(model)
    return begin(stack, folder, "BentoML, int8 ONNX", command, environment, paths, bodies)


def mlflow(stack: ExitStack, folder: Path, model: Path) -> Server:
    packed = folder / "mlflow-model"
    code = (
        "import mlflow, sys\n"
        "from transformers import pipeline\n"
        "mlflow.transformers.save_model(pipeline('text-classification', model=sys.argv[1]),"
        " sys.argv[2], input_example=['a text'], pip_requirements=[])\n"
    )
    environment = {
        **peer_environment(model),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow-peer.sqlite3",
    }
    subprocess.run(
        [sys.executable, "-c", code, str(model), str(packed)],
        env=environment,
        check=True,
        capture_output=True,
    )
    command = [
        *(sys.executable, "-m", "mlflow", "models", "serve", "-m", str(packed)),
        *("--env-manager", "local", "--workers", str(WORKERS)),
    ]
    bodies: Bodies = (lambda text: {"inputs": [text]}, lambda texts: {"inputs": texts})
    paths = ("/invocations", "/invocations")
    return begin(stack, folder, "mlflow models serve", command, environment, paths, bodies)


class Texts:
    """Real posts, each once before any comes again."""

    def __init__(self) -> None:
        found = list(data.tweeteval("train").texts)
        for name in ("positive.txt", "negative.txt"):
            path = data.folder() / "sentiment140" / name
            found += path.read_text(encoding="utf-8").splitlines()
        self.all = list(dict.fromkeys(text for text in found if text.strip()))
        self._next = itertools.cycle(self.all)

    def take(self, count: int) -> list[str]:
        return list(itertools.islice(self._next, count))


def measure(
    server: Server, texts: list[str], connections: int, size: int, folder: Path
) -> dict[str, float]:
    groups = [texts[start : start + size] for start in range(0, len(texts), size)]
    bodies = [
        server.body_of_one(group[0]) if size == 1 else server.body_of_many(group)
        for group in groups
    ]
    path = folder / "bodies.txt"
    path.write_text("".join(json.dumps(body) + "\n" for body in bodies), encoding="utf-8")
    command = [
        *("wrk", "--threads", "1", "--connections", str(connections), "--timeout", "60s"),
        *("--duration", f"{SECONDS:.0f}s", "--script", str(HERE / "peers" / "load.lua")),
        *(server.single if size == 1 else server.batch, "--", str(path), server.token),
    ]
    if not server.token:
        command.pop()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, float] = json.loads(line.removeprefix("RESULT "))
    found["rate"] = (found["requests"] - found["refused"]) / found["seconds"]
    return found


def _ratio(rate: float, ours: float) -> str:
    return f"{rate / ours:.2f}" if ours else "-"


def table(
    title: str, servers: list[Server], take: Callable[[int], list[str]], size: int, folder: Path
) -> None:
    print(f"\n{title}\n")
    print("| connections | server | requests/s | texts/s | of ours | p50 ms | p95 | p99 | failed |")
    print("|---|---|---|---|---|---|---|---|---|")
    for connections in CONNECTIONS:
        ours = 0.0
        for server in servers:
            settle(servers)
            found = measure(server, take(BODIES * min(size, 4)), connections, size, folder)
            ours = ours or found["rate"]
            print(
                f"| {connections} | {server.name} | {found['rate']:.0f} "
                f"| {found['rate'] * size:.0f} | {_ratio(found['rate'], ours)} "
                f"| {found['p50']:.1f} | {found['p95']:.1f} | {found['p99']:.1f} "
                f"| {found['refused'] + found['broken']:.0f} |",
                flush=True,
            )


def main() -> None:
    if shutil.which("wrk") is None:
        print("SKIPPED: wrk is not installed (apt-get install wrk)")
        return
    version = ModelVersion.objects.champions().first()
    if version is None:
        print("SKIPPED: no champion under VAR_DIR; `make run` builds one")
        return
    model = registry.local_folder(version.artifact_uri, version.artifact_digests)
    texts = Texts()
    # So that a benchmark that is stopped leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="sentiment-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        servers = []
        for start in (
            lambda: service(stack, folder, version),
            lambda: fastapi(stack, folder, model),
            lambda: bento(stack, folder, model),
            lambda: mlflow(stack, folder, model),
        ):
            server = start()
            if server is None:
                continue
            seconds = wait_for(server)
            print(f"{server.name}: first prediction after {seconds:.1f} s", flush=True)
            servers.append(server)
        for server in servers:
            measure(server, texts.take(200), 8, 1, folder)
        print(f"{WORKERS} workers of one thread each, {SECONDS:.0f} s a row")
        table("Single texts", servers, texts.take, 1, folder)
        table(f"Batches of {BATCH}", servers, texts.take, BATCH, folder)
        again = texts.take(500)
        remembering = service(stack, folder / "again", version, remembers=True)
        wait_for(remembering)
        table(
            "Single texts, of which there are 500",
            [remembering],
            lambda count: list(itertools.islice(itertools.cycle(again), count)),
            1,
            folder,
        )
        print("\n| server | peak memory, MB |\n|---|---|")
        for server in servers:
            print(f"| {server.name} | {server.peak_megabytes():.0f} |")


if __name__ == "__main__":
    main()
