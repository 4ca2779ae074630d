"""Parse command-line arguments: objects by name, and time spans. All raise CommandError."""

from datetime import timedelta

from django.core.management.base import CommandError
from django.db.models import Q

from ilara_admin.core import tokens
from ilara_admin.models import ApiKey, Environment, Project, User
from players.aliases import player_id_named
from players.models import Player
from segments.language import values


def project_of(slug: str) -> Project:
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        raise CommandError(f"No project “{slug}”. {_known_projects()}")
    return project


def environment_of(path: str) -> Environment:
    """The environment of `PROJECT/ENV`, such as `my-game/live`."""
    project_slug, slash, slug = path.partition("/")
    if not (project_slug and slash and slug):
        raise CommandError(f"“{path}” is not PROJECT/ENV, for example my-game/live.")
    project = project_of(project_slug)
    environment = project.environments.filter(slug=slug).select_related("project").first()
    if environment is None:
        known = ", ".join(project.environments.values_list("slug", flat=True))
        raise CommandError(f"{project.slug} has no environment “{slug}”. It has: {known}.")
    return environment


def duration(text: str) -> timedelta:
    """A time span: `90m`, `24h`, `30d`, `2w` or `0`."""
    if text == "0":
        return timedelta()
    try:
        return values.duration(text)
    except ValueError:
        raise CommandError(f"“{text}” is not a time span. Write 90m, 24h, 30d or 2w.") from None


def api_key_of(text: str) -> ApiKey:
    """The key with this id, masked form, visible prefix, last four characters or whole token."""
    keys = list(ApiKey.objects.filter(_key_query(text)).select_related("environment__project")[:6])
    if not keys:
        raise CommandError("No key matches. `api_key_list` shows the keys with their ids.")
    if len(keys) > 1:
        found = ", ".join(f"{key.pk} ({key.environment}, {key})" for key in keys)
        raise CommandError(f"Several keys match; pass the id of one: {found}.")
    return keys[0]


def staff_of(username: str) -> User:
    user = User.objects.filter(username=username).first()
    if user is None:
        raise CommandError(f"No staff account “{username}”.")
    return user


def player_in(environment: Environment, text: str) -> Player:
    """The player with this external id or alias, else with this player id."""
    players = Player.objects.of(environment).select_related("environment__project")
    player = players.filter(pk=player_id_named(environment, text)).first()
    if player is None:
        raise CommandError(f"{environment} has no player “{text}”.")
    return player


def _key_query(text: str) -> Q:
    if tokens.is_well_formed(text):
        return Q(digest=tokens.digest(text))
    prefix, dots, last_four = text.replace("...", "…").partition("…")
    if dots:
        return Q(prefix=prefix, last_four=last_four)
    query = Q(last_four=text) | Q(prefix=text)
    if text.isascii() and text.isdigit() and len(text) <= 18:
        query |= Q(pk=int(text))
    return query


def _known_projects() -> str:
    slugs = list(Project.objects.values_list("slug", flat=True)[:20])
    return f"Projects: {', '.join(slugs)}." if slugs else "No projects yet: `serve` creates one."
