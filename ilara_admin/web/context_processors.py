"""What base.html needs on every page."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from django.http import HttpRequest
from django.urls import get_script_prefix

from ilara_admin.models import Environment, Project, Role, User

THEME_COOKIE = "ilara_theme"
THEMES = ("system", "light", "dark")


@dataclass(frozen=True, slots=True)
class NavItem:
    label: str
    url: str
    icon: str
    shortcut: str  # typed after "g"
    current: bool


# Label, address below /<project>/<environment>/, icon, shortcut.
_WORK = (
    ("Overview", "", "home", "o"),
    ("Players", "players/", "users", "p"),
    ("Flags", "flags/", "flag", "f"),
    ("Segments", "segments/", "funnel", "s"),
    ("Live events", "events/", "bolt", "e"),
)
_SETTINGS = (
    ("API keys", "keys/", "key", "k"),
    ("Audit", "audit/", "clock", "a"),
    ("Staff", "staff/", "identification", "t"),
    ("Developers", "developers/", "code-bracket", "d"),
    ("Settings", "settings/", "cog-6-tooth", "c"),
)


@dataclass(frozen=True, slots=True)
class EnvironmentLink:
    environment: Environment
    url: str
    current: bool


class Shell:
    """The frame around a page. Everything that needs a query is asked for only when drawn."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.project: Project | None = getattr(request, "project", None)
        self.environment: Environment | None = getattr(request, "environment", None)
        self.request_id: str = getattr(request, "id", "")
        theme = request.COOKIES.get(THEME_COOKIE, "")
        self.theme = theme if theme in THEMES else "system"
        self.themes = (
            ("system", "Same as the system", "computer-desktop"),
            ("light", "Light", "sun"),
            ("dark", "Dark", "moon"),
        )

    @property
    def home_url(self) -> str:
        if self.project is None or self.environment is None:
            return get_script_prefix()
        return self._url(self.project, self.environment)

    @property
    def find_url(self) -> str:
        """Where the find box looks; "" on pages outside any environment."""
        return f"{self.home_url}find/" if self.environment else ""

    @cached_property
    def navigation(self) -> list[NavItem]:
        return self._items(_WORK)

    @cached_property
    def settings_navigation(self) -> list[NavItem]:
        return self._items([item for item in _SETTINGS if self.is_admin or item[0] != "Staff"])

    @property
    def is_admin(self) -> bool:
        user = getattr(self._request, "user", None)
        return isinstance(user, User) and user.may(Role.ADMIN)

    @cached_property
    def projects(self) -> list[tuple[Project, list[EnvironmentLink]]]:
        """Every project with links to its environments, leading to the section now in sight."""
        environments = Environment.objects.select_related("project").order_by("project__name", "id")
        return [
            (project, [self._environment_link(project, each) for each in group])
            for project, group in groupby(environments, key=lambda each: each.project)
        ]

    def _environment_link(self, project: Project, environment: Environment) -> EnvironmentLink:
        current = self.environment is not None and environment.pk == self.environment.pk
        url = self._url(project, environment) + self._section
        return EnvironmentLink(environment, url, current)

    @cached_property
    def _section(self) -> str:
        """The first part of the path below the environment: other ids mean nothing elsewhere."""
        below = self._request.path.removeprefix(self.home_url) if self.environment else ""
        tails = (tail for _, tail, _, _ in (*_WORK, *_SETTINGS) if tail)
        return next((tail for tail in tails if below.startswith(tail)), "")

    def _items(self, items: Iterable[tuple[str, str, str, str]]) -> list[NavItem]:
        if self.environment is None:
            return []
        path = self._request.path
        made = []
        for label, tail, icon, key in items:
            current = tail == self._section if tail else path == self.home_url
            made.append(NavItem(label, self.home_url + tail, icon, key, current))
        return made

    @staticmethod
    def _url(project: Project, environment: Environment) -> str:
        return f"{get_script_prefix()}{project.slug}/{environment.slug}/"


def shell(request: HttpRequest) -> dict[str, Shell]:
    return {"shell": Shell(request)}
