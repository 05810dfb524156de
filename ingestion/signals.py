"""Nudges that ingestion sends upwards."""

from django.dispatch import Signal

# Posts were committed. Argument: `post_ids`, a list of int in insertion order.
posts_ingested = Signal()

# Posts no longer count: deleted at their source, or replaced by a later edit. Sent inside the
# transaction that does it, so that roll-ups change with them. Arguments: `post_ids`, a list of
# int; `counted_ids`, those of them that counted until now (a deleted post may have been edited
# before); `reason`, "deleted" or "edited".
posts_withdrawn = Signal()

# Known posts were found by more streams. Sent inside the transaction, with the posts held.
# Argument: `links`, a list of (post id, stream id) that were not there before.
posts_joined = Signal()

# After commit: something needs a human. Arguments: `kind` (drift, model, stream, budget),
# `message` (one line), `active` (False when it is over), `alert_id`. Sent by services.alerts.
alert_raised = Signal()
