"""A pytest plugin that loads before the settings: tests never see a user's `.env` or `var/`."""

import os
import tempfile

import pytest

# Kept for the session, and removed with it.
_folder = tempfile.TemporaryDirectory(prefix="sentiment-tests-", ignore_cleanup_errors=True)

for name in list(os.environ):
    if name.startswith(
        (
            "ALERT_",
            "EMAIL_",
            "TWITTER_",
            "BLUESKY_",
            "MASTODON_",
            "RSS_",
            "SOURCES_",
            "WANDB_",
            "MODEL_",
            "MLFLOW_",
        )
    ):
        del os.environ[name]
os.environ.update(
    {
        "ENV_FILE": os.devnull,
        "VAR_DIR": _folder.name,
        "SECRET_KEY": "only-for-tests-" + "x" * 50,
        "API_REQUIRE_AUTH": "0",
        "SECURE_SITE": "0",
        "INFERENCE_THREADS": "1",
        # Several processes test at once: each keeps to its own core.
        "OMP_NUM_THREADS": "1",
    }
)

# Workers of pytest-xdist share one Redis: each has a database of its own, counted down from the
# one that is given.
if (worker := os.environ.get("PYTEST_XDIST_WORKER")) and (address := os.environ.get("REDIS_URL")):
    server, _, number = address.rpartition("/")
    os.environ["REDIS_URL"] = f"{server}/{int(number) - int(worker.removeprefix('gw'))}"


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: tests wait for sockets, browsers and processes of their own."""
    return (os.cpu_count() or 1) + 1
