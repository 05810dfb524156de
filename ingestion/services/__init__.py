"""What ingestion does; commands, tasks, the admin and the apps above call these."""

from ingestion.services.posts import Stored, forget, forget_author, store
from ingestion.services.streaming import run_stream
from ingestion.services.streams import (
    Verdict,
    delete_streams,
    follow_query,
    judge_stream,
    save_stream,
    switch_streams,
    sync_streams,
)
from ingestion.services.supervise import ensure_streams, stop_streams
from ingestion.services.tally import Tally

__all__ = [
    "Stored",
    "Tally",
    "Verdict",
    "delete_streams",
    "ensure_streams",
    "follow_query",
    "forget",
    "forget_author",
    "judge_stream",
    "run_stream",
    "save_stream",
    "stop_streams",
    "store",
    "switch_streams",
    "sync_streams",
]
