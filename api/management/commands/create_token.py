"""Makes a token for a program."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from api import tokens
from api.models import ApiToken
from ingestion.services.audit import by_command


class Command(BaseCommand):
    help = "Makes an API token and prints it, this once. The admin lists and revokes tokens."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="What will use it.")
        parser.add_argument(
            "--scopes",
            nargs="+",
            choices=ApiToken.Scope.values,
            default=[ApiToken.Scope.READ.value, ApiToken.Scope.PREDICT.value],
            help="What it may do; default: read predict. admin means everything.",
        )
        parser.add_argument("--days", type=int, default=365, help="Until it expires; 0: never.")
        parser.add_argument("--user", help="Whose name its labels bear; default: its own.")
        parser.add_argument("--json", action="store_true", help="Print one JSON object.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["days"] < 0:
            raise CommandError("--days is 0 or more.")
        user = None
        if options["user"]:
            user = User.objects.filter(username=options["user"]).first()
            if user is None:
                raise CommandError(f"There is no user {options['user']!r}.")
        token, secret = tokens.issue(
            options["name"],
            options["scopes"],
            days=options["days"],
            user=user,
            by=by_command("create_token"),
        )
        if options["json"]:
            expires = token.expires_at.isoformat() if token.expires_at else None
            said = {"token": secret, "name": token.name, "scopes": token.scopes.split()}
            self.stdout.write(json.dumps({**said, "expires_at": expires}))
            return
        until = f"until {token.expires_at:%Y-%m-%d}" if token.expires_at else "for ever"
        self.stderr.write(f"{token.name}: {token.scopes}, {until}. Keep it, it is not shown again:")
        self.stdout.write(secret)
