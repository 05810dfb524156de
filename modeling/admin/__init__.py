"""Where people label posts and promote models."""

from modeling.admin import labelling, runs, schemes, versions

__all__ = ["labelling", "runs", "schemes", "versions"]
