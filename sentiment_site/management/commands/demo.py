"""The main job on embedded defaults: one command, one process tree."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ingestion import embedded
from sentiment_site import demo


class Command(BaseCommand):
    help = (
        "Prepares everything and starts web, worker, beat and a replayed live stream in this "
        "process. Ctrl-C stops it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Default: this machine only.")
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--rate", type=float, default=3.0, help="Replayed posts a second.")
        parser.add_argument("--no-replay", action="store_true", help="Start without sample posts.")

    def handle(self, *args: Any, **options: Any) -> None:
        host, port = options["host"], options["port"]
        if options["rate"] <= 0:
            raise CommandError("--rate must be above 0", returncode=2)
        try:
            demo.check_port(host, port)
            demo.prepare(self.stderr)
        except demo.PreparationFailed as error:
            raise CommandError(str(error)) from error
        demo.open_on_loopback(host)
        username, password = demo.create_login()
        self.stdout.write("==> Loading the model")
        demo.warm_up()
        replay = None if options["no_replay"] else demo.Replay(options["rate"])
        with embedded.start_worker(beat=True):
            if replay is not None:
                self.stdout.write("==> Replaying sample posts")
                replay.start()
            self.stdout.write(
                f"\n    Live sentiment   http://{host}:{port}/\n"
                f"    Admin            http://{host}:{port}/admin/   "
                f"user {username}, password {password}\n"
                f"    API              http://{host}:{port}/docs\n\n"
                "    Ctrl-C stops it.\n"
            )
            self.stdout.flush()
            try:
                demo.serve(host, port)
            finally:
                if replay is not None:
                    replay.stop()
        self.stdout.write("Stopped.")
