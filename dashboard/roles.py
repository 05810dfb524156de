"""Who may do what, as groups: a migration makes them, `bootstrap` adds what is missing."""

from __future__ import annotations

from typing import Any

# The role that holds every permission; being let into the admin (`is_staff`) comes on top.
ADMIN = "admin"
_SOURCES = (
    *("stream", "post", "connection", "gap", "deadletter", "dailyusage", "monthlyusage"),
    *("recentsearch", "watchedfile", "alert"),
)
_MODELS = ("modelversion", "promotion", "trainingrun", "experiment", "qualityreport")
# Role → the permissions it holds, as (action, model) pairs. Whoever has signed in may watch.
ROLES: dict[str, list[tuple[str, str]]] = {
    "viewer": [("view", model) for model in (*_SOURCES, "prediction", *_MODELS)],
    "annotator": [
        ("view", "post"),
        ("view", "prediction"),
        ("view", "annotation"),
        ("add", "annotation"),
        ("change", "annotation"),
    ],
    "model manager": [
        *(
            (action, model)
            for model in ("modelversion", "trainingrun", "experiment", "qualityreport")
            for action in ("view", "add", "change")
        ),
        *(("view", model) for model in ("promotion", "prediction", "annotation", "alert")),
    ],
    "source manager": [
        *((action, "stream") for action in ("view", "add", "change", "delete")),
        *(
            (action, model)
            for model in ("gap", "deadletter", "alert")
            for action in ("view", "change")
        ),
        *(
            ("view", model)
            for model in (
                *("post", "connection", "dailyusage", "monthlyusage"),
                *("recentsearch", "watchedfile"),
            )
        ),
    ],
}


def create(groups: Any, permissions: Any) -> None:
    """Make the roles, and give each what it lacks; what operators added is left alone.

    Takes managers, so that a migration can give those of its time. A permission that is not there
    yet is left out, for the next call. Safe to repeat.
    """
    for name, granted in ROLES.items():
        group, _ = groups.get_or_create(name=name)
        codenames = [f"{action}_{model}" for action, model in granted]
        group.permissions.add(*permissions.filter(codename__in=codenames))
    group, _ = groups.get_or_create(name=ADMIN)
    group.permissions.add(*permissions.all())
