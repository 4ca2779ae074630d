import argparse
import sys
from contextlib import ExitStack, suppress
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import OperationalError, connection, transaction

from events import partitions
from ilara_admin.bootstrap import (
    ADMIN_NAME,
    FirstStart,
    Tokens,
    credential_lines,
    first_start,
    missing_migrations,
)
from ilara_admin.checks import database_problem
from ilara_admin.core import db
from ilara_admin.core.api_keys import api_key_create, api_key_revoke
from ilara_admin.core.audit import Actor
from ilara_admin.core.projects import project_update
from ilara_admin.core.variables import METRICS_FOLDER
from ilara_admin.demo import play
from ilara_admin.demo.fill import demo_fill
from ilara_admin.management.bar import ProgressBar
from ilara_admin.management.base import manage
from ilara_admin.models import ApiKey, Environment, KeyKind, Project, Tier, User
from ilara_admin.runtime import embedded_postgres, metrics_folder, servers, sizing, supervisor
from ilara_admin.runtime.supervisor import Child, ServeError, Stop
from ilara_admin.starter import project_open
from players.models import player_id_for

ACTOR = Actor.of_command("serve")
SAMPLE = ("Sample game", "sample-game")  # name and slug
EXAMPLE_PLAYER = "player_123"
# After a `kill -9` of this command, its web server still finishes its requests. Without a lock in
# ILARA_HOME, another program may be using the port just as well.
PATIENCE_SECONDS = 30
PATIENCE_WITHOUT_LOCK_SECONDS = 10


class Command(BaseCommand):
    help = "Run Ilara: the web server, the job worker and, without DATABASE_URL, the database."
    requires_system_checks: list[str] = []  # Django reads it from the class

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--demo", action="store_true", help="add a sample game with data")
        parser.add_argument(
            "--no-play", action="store_true", help="without simulated players in the sample game"
        )
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
        parser.add_argument("--port", type=port, default=18000, help="port to listen on")
        parser.add_argument("--workers", type=positive, help="web processes; default: one per core")
        parser.add_argument(
            "--server",
            choices=servers.SERVERS,
            default=servers.GUNICORN,
            help="web server; granian is an extra and needs a buffering proxy in front",
        )
        parser.add_argument("--tier", choices=Tier.values, help="rate limits of the project")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with supervisor.stoppable():
                self.serve(**options)
        except Stop:
            where = "" if settings.DATABASE_URL else f" The data stays in {settings.ILARA_HOME}."
            self.line(f"Ilara has stopped.{where}")
        except OperationalError as error:
            self.fail(f"The database cannot be used: {db.reason(error)}")
        except (ServeError, ImproperlyConfigured) as error:
            self.fail(str(error))
        except ValidationError as error:
            self.fail(" ".join(error.messages))

    def serve(
        self,
        *,
        host: str,
        port: int,
        workers: int | None,
        server: str,
        demo: bool,
        no_play: bool,
        tier: str | None,
        **_: Any,
    ) -> None:
        if not servers.is_installed(server):
            raise ServeError(f"{server} is not installed: run `uv sync --extra {server}` first.")
        address = supervisor.url(host, port)
        with ExitStack() as stack:
            if settings.DATABASE_URL:
                supervisor.check_port(host, port, patience=PATIENCE_WITHOUT_LOCK_SECONDS)
            else:
                killed = stack.enter_context(supervisor.only_one(settings.ILARA_HOME, address))
                supervisor.check_port(host, port, patience=PATIENCE_SECONDS if killed else 0)
            self.line("Ilara is starting.")
            self.prepare_database(stack)
            first = self.prepare_content(demo=demo, tier=Tier(tier) if tier else None)
            web = servers.web_command(server, host, port, workers)
            children = self.children(web, host, port, workers)
            if server == servers.GRANIAN:  # gunicorn's configuration does both itself
                folder = metrics_folder.create()
                stack.callback(metrics_folder.remove, folder)
                children[0].environment[METRICS_FOLDER] = folder
                if problem := connections_problem(workers):
                    self.say("connections", problem)
            stack.callback(supervisor.end, children, self.line)
            if demo and not no_play:
                children.append(self.simulated_players(address))
            web_server, *others = children
            web_server.start()
            supervisor.wait_until_it_answers(address, web_server)
            for child in others:  # before, they would compete with the web server for the cores
                child.start()
            self.line("Ilara is running.")
            if advice := servers.proxy_advice(server, host):
                self.say("proxy", advice)
            self.greet(first, address)
            connection.close()
            supervisor.watch(children, self.line)

    # --- Steps ----------------------------------------------------------------------------------

    def prepare_database(self, stack: ExitStack) -> None:
        if settings.DATABASE_URL:
            place = connection.settings_dict
            where = place["HOST"] or "the local socket"
            found = f"PostgreSQL at {where}, database {place['NAME']}"
        else:
            # This process leaves last and then stops the server.
            stack.callback(embedded_postgres.release, settings.ILARA_HOME)
            stack.callback(connection.close)
            server = embedded_postgres.lease(settings.ILARA_HOME)
            found = {
                embedded_postgres.Found.CREATED: "embedded PostgreSQL, created in",
                embedded_postgres.Found.STARTED: "embedded PostgreSQL, started in",
                embedded_postgres.Found.RUNNING: "embedded PostgreSQL, already running in",
            }[server.found] + f" {settings.ILARA_HOME}"
        connection.ensure_connection()
        self.say("database", found)
        if problem := database_problem():
            raise ServeError(problem)
        missing = missing_migrations()
        if missing:
            call_command("migrate", verbosity=0, interactive=False)
        partitions.ensure()
        self.say("tables", f"{missing} migrations applied" if missing else "up to date")

    def prepare_content(self, *, demo: bool, tier: Tier | None) -> FirstStart | None:
        name, slug = SAMPLE if demo else ("My game", "my-game")
        with transaction.atomic():
            first = first_start(name=name, slug=slug, tier=tier or Tier.ENTERPRISE, actor=ACTOR)
            if tier and not first:
                project_update(Project.objects.order_by("id")[0], tier=tier, actor=ACTOR)
            # Never in an existing game: sample data could not be separated from real players.
            sample = sample_project() if demo else None
            done = "created" if first else "found"
            for project in Project.objects.prefetch_related("environments"):
                environments = ", ".join(item.slug for item in project.environments.all())
                self.say("project", f"{project.slug} {done}, tier {project.tier}: {environments}")
            if first:
                for label, text in credential_lines(ADMIN_NAME, first.password, first.tokens):
                    self.say(label, text)
        if sample:
            self.say("demo", str(demo_fill(sample, ACTOR, ProgressBar())))
        return first

    def children(self, web: list[str], host: str, port: int, workers: int | None) -> list[Child]:
        environment = {"DJANGO_SETTINGS_MODULE": "ilara_admin.settings"}
        if workers:
            environment["ILARA_WORKERS"] = str(workers)  # decides the number of threads
        name = f"[{host}]" if ":" in host else host
        if not set(settings.ALLOWED_HOSTS) & {name, "*"}:
            # The printed address must open in a browser.
            environment["ALLOWED_HOSTS"] = ",".join([*settings.ALLOWED_HOSTS, name])
        worker = [sys.executable, "manage.py", "worker"]

        def port_is_free() -> bool:
            """Workers of a killed web server hold the port until their requests are done."""
            return not supervisor.bind_error(host, port)

        folder = settings.BASE_DIR
        return [
            Child("web server", web, {**environment}, folder, may_start=port_is_free),
            Child("job worker", worker, environment, folder),
        ]

    def simulated_players(self, address: str) -> Child:
        """They play with a key of their own, which replaces that of the last start."""
        environment = sample_project().environments.get(slug="live")
        old = ApiKey.objects.filter(environment=environment, name=play.KEY_NAME, revoked_at=None)
        reason = "The sample game has started"
        for key in old:
            api_key_revoke(key, actor=ACTOR, reason=reason)
        new = api_key_create(
            environment=environment,
            kind=KeyKind.PUBLIC,
            name=play.KEY_NAME,
            actor=ACTOR,
            reason=reason,
        )
        self.say(
            "players", f"{len(play.PLAYERS)} simulated players play; --no-play leaves them out"
        )
        # In the environment, since all users may read the arguments of a process.
        given = {play.ADDRESS: address, play.KEY: new.token}
        command = [sys.executable, "-m", play.__name__]
        return Child("sample game", command, given, settings.BASE_DIR)

    # --- Output ---------------------------------------------------------------------------------

    def greet(self, first: FirstStart | None, address: str) -> None:
        self.say("address", address)
        if not first:
            example = Environment.objects.select_related("project")[0]
            self.say("sign in", "with your password; set a new one with")
            self.say("", f"{manage()} staff_password {admin()}")
            self.say("keys", "unchanged; issue another one with")
            self.say("", f"{manage()} api_key_create {example} public --name NAME")
        self.say("stop", "Ctrl-C; the data stays")
        if first:
            self.try_it(first.project.environments.get(slug="live"), first.tokens, address)

    def try_it(self, environment: Environment, tokens: Tokens, address: str) -> None:
        """Print three example calls. The player's id is derived from its external id, so it is
        known before the player is registered."""
        player_id = player_id_for(environment.namespace, EXAMPLE_PLAYER)
        calls = {
            "players/players": (
                f'{{"external_id": "{EXAMPLE_PLAYER}", "attributes": {{"level": 45}}}}'
            ),
            "events/events": f'{{"player_id": "{player_id}", "event_name": "level_complete"}}',
            "flags/flags/new_tutorial/evaluate": f'{{"player_id": "{player_id}"}}',
        }
        key = tokens["live", "public"]
        self.line("")
        self.line("Try it: register a player, track an event, evaluate a flag.")
        for path, body in calls.items():
            self.line("")
            self.line(
                f"curl {address}/v1/{path} -H 'X-API-Key: {key}' "
                f"-H 'Content-Type: application/json' -d '{body}'"
            )
        self.line("")

    def say(self, label: str, text: str) -> None:
        self.line(f"  {label:<13}{text}")

    def line(self, text: str) -> None:
        # A closed terminal must not stop the server.
        with suppress(OSError):
            self.stdout.write(text)
            self.stdout.flush()

    def fail(self, reason: str) -> None:
        self.stderr.write(f"ilara: {reason}")
        sys.exit(1)


def port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return number


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def connections_problem(workers: int | None) -> str | None:
    count, allowed = workers or sizing.web_workers(), db.max_connections()
    if allowed is None:
        return None
    return sizing.too_many_connections(count, sizing.web_threads(count), allowed)


def sample_project() -> Project:
    name, slug = SAMPLE
    found = Project.objects.filter(slug=slug).first()
    return found or project_open(name=name, slug=slug, tier=Tier.ENTERPRISE, actor=ACTOR)


def admin() -> str:
    """The username of an active owner, for an example."""
    people = User.objects.filter(is_owner=True, is_active=True)
    return people.order_by("id").values_list("username", flat=True).first() or ADMIN_NAME
