"""Nudges that modeling sends upwards."""

from django.dispatch import Signal

# Serving predictions were written. Sent inside their transaction, so that a roll-up commits or
# rolls back with them. Argument: `predictions`, a list of saved `Prediction`.
predictions_created = Signal()

# A training run was taken, moved on or ended. Argument: `run`, a `TrainingRun` as it is now.
training_moved = Signal()

# After commit: a version became champion. Argument: `version`, a `ModelVersion`.
version_promoted = Signal()
