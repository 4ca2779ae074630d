import argparse
import sys
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from events import partitions
from ilara_admin import supervisor
from ilara_admin.audit import Actor
from ilara_admin.bootstrap import ADMIN_NAME, FirstStart, first_start
from ilara_admin.demo import Bar, demo_fill
from ilara_admin.models import Environment, Project, Tier
from ilara_admin.services import project_update
from players.models import player_id_for

ACTOR = Actor.of_command("serve")
EXAMPLE_PLAYER = "player_123"


class Command(BaseCommand):
    help = "Run Ilara: the database if there is none, the web server and the job worker."
    requires_system_checks: list[str] = []  # Django reads it from the class

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--demo", action="store_true", help="fill a sample game to look at")
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=int, default=18000, help="port to listen on")
        parser.add_argument("--workers", type=int, help="web processes; one per core if not given")
        parser.add_argument("--tier", choices=Tier.values, help="rate limits of the project")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            code = self.serve(**options)
        except supervisor.ServeError as error:
            raise CommandError(str(error)) from None
        sys.exit(code)

    def serve(
        self, *, host: str, port: int, workers: int | None, demo: bool, tier: str | None, **_: Any
    ) -> int:
        with supervisor.only_one(settings.ILARA_HOME):
            supervisor.check_port(host, port)
            self.prepare_database()
            first = self.prepare_content(demo=demo, tier=Tier(tier) if tier else None)
            connection.close()
            children = self.start(host, port, workers)
            try:
                supervisor.wait_for_port(host, port, children[0])
                self.greet(first, f"http://{host}:{port}")
            except BaseException:
                supervisor.end(children)
                raise
            code = supervisor.run_until_stopped(children)
            self.say("Stopped." if code == 0 else "Stopped, because a process above ended.")
            return code

    def prepare_database(self) -> None:
        try:
            connection.ensure_connection()
        except DatabaseError as error:
            reason = str(error).strip().splitlines()[-1]
            raise CommandError(f"The database cannot be reached: {reason}") from None
        self.say("Ilara", "is starting", heading=True)
        self.say("data", self.where())
        call_command("migrate", verbosity=0, interactive=False)
        partitions.ensure()

    def where(self) -> str:
        if settings.DATABASE_URL:
            name = connection.settings_dict
            return f"PostgreSQL at {name['HOST'] or 'the local socket'}, database {name['NAME']}"
        return f"PostgreSQL of its own in {settings.ILARA_HOME}"

    def prepare_content(self, *, demo: bool, tier: Tier | None) -> FirstStart | None:
        name, slug = ("Sample game", "sample-game") if demo else ("My game", "my-game")
        try:
            first = first_start(name=name, slug=slug, tier=tier or Tier.ENTERPRISE, actor=ACTOR)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        project = first.project if first else Project.objects.order_by("id")[0]
        if tier and not first:
            project_update(project, tier=tier, actor=ACTOR)
        if demo:
            self.say("demo", str(demo_fill(project, ACTOR, Bar())))
        return first

    def start(self, host: str, port: int, workers: int | None) -> list[Any]:
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        environment = {"DJANGO_SETTINGS_MODULE": "ilara_admin.settings", "ILARA_BIND": address}
        if workers:
            environment["ILARA_WORKERS"] = str(workers)
        supervisor.note_address(settings.ILARA_HOME, f"http://{address}")
        gunicorn = [
            "-m",
            "gunicorn",
            "-c",
            "ilara_admin/gunicorn_conf.py",
            "--log-level",
            "warning",
        ]
        return [
            supervisor.start([*gunicorn, "ilara_admin.wsgi"], environment, settings.BASE_DIR),
            supervisor.start(["manage.py", "worker"], environment, settings.BASE_DIR),
        ]

    # --- What it says ---------------------------------------------------------------------------

    def greet(self, first: FirstStart | None, address: str) -> None:
        self.say("address", address)
        if first:
            self.say("sign in", f"{ADMIN_NAME} / {first.password}")
            for (environment, kind), token in first.tokens.items():
                self.say(f"{environment} {kind} key", token)
            self.say("", "The password and the keys are shown this once. Keep them.")
            self.try_it(first.project.environments.get(slug="live"), first.tokens, address)
        else:
            environments = ", ".join(
                str(item) for item in Environment.objects.select_related("project")
            )
            self.say("found", environments)
            self.say("new key", "uv run manage.py api_key_create PROJECT/ENV public --name NAME")
            self.say("password", f"uv run manage.py staff_password {ADMIN_NAME}")
        self.say("stop", "Ctrl-C")

    def try_it(
        self, environment: Environment, tokens: dict[tuple[str, str], str], address: str
    ) -> None:
        """Three lines to paste. The id is known before the player is: it follows from the name."""
        player_id = player_id_for(environment.namespace, EXAMPLE_PLAYER)
        calls = [
            (
                "players/players",
                f'{{"external_id": "{EXAMPLE_PLAYER}", "attributes": {{"level": 45}}}}',
            ),
            ("events/events", f'{{"player_id": "{player_id}", "event_name": "level_complete"}}'),
            ("flags/flags/new_tutorial/evaluate", f'{{"player_id": "{player_id}"}}'),
        ]
        self.stdout.write("\n  Try it:\n\n")
        key = tokens["live", "public"]
        for path, body in calls:
            self.stdout.write(
                f"  curl {address}/v1/{path} -H 'X-API-Key: {key}' "
                f"-H 'Content-Type: application/json' -d '{body}'\n"
            )
        self.stdout.write("\n")

    def say(self, label: str, text: str = "", *, heading: bool = False) -> None:
        line = f"{label} {text}".rstrip() if heading or not text else f"  {label:<16}{text}"
        self.stdout.write(line)
        self.stdout.flush()
