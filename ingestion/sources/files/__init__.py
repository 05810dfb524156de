"""Posts in files: JSONL, JSON arrays and archives of X, CSV, TSV and Parquet, packed or not.

Rows are of any shape, in any mixture: objects of X's API v2 and v1.1, messages of Jetstream, or
flat ones. A row that cannot become a post is told with its line number and the reason; the file
goes on.
"""

from ingestion.sources.files.columns import Columns, derive_id
from ingestion.sources.files.file import PostFile, Row, read_message
from ingestion.sources.files.folders import files_in, is_meant
from ingestion.sources.files.formats import FORMATS
from ingestion.sources.files.identity import Identities
from ingestion.sources.files.packed import STANDARD_INPUT, UnreadableFile
from ingestion.sources.files.records import MAX_LINE, Record

__all__ = [
    "FORMATS",
    "MAX_LINE",
    "STANDARD_INPUT",
    "Columns",
    "Identities",
    "PostFile",
    "Record",
    "Row",
    "UnreadableFile",
    "derive_id",
    "files_in",
    "is_meant",
    "read_message",
]
