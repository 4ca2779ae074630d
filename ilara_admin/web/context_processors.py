"""Context of base.html on every page: navigation, theme, current environment."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.urls import get_script_prefix
from django.utils import timezone
from django.utils.functional import SimpleLazyObject

from ilara_admin.core.guard import Freeze
from ilara_admin.models import Environment, Project, Role, User
from ilara_admin.web.access import environments_of

THEME_COOKIE = "ilara_theme"
THEMES = ("system", "light", "dark")


@dataclass(frozen=True, slots=True)
class NavItem:
    label: str
    url: str
    icon: str
    shortcut: str  # typed after "g"
    current: bool


# Label, path below /<project>/<environment>/, icon, shortcut.
WORK = (
    ("Overview", "", "home", "o"),
    ("Figures", "figures/", "presentation-chart-line", "i"),
    ("Players", "players/", "users", "p"),
    ("Flags", "flags/", "flag", "f"),
    ("Experiments", "experiments/", "beaker", "x"),
    ("Segments", "segments/", "funnel", "s"),
    ("Metrics", "metrics/", "chart-bar", "m"),
    ("Live events", "events/", "bolt", "e"),
    ("Change requests", "requests/", "clipboard-document-check", "r"),
)
SETTINGS = (
    ("API keys", "keys/", "key", "k"),
    ("Audit", "audit/", "clock", "a"),
    ("Staff", "staff/", "identification", "t"),
    ("Developers", "developers/", "code-bracket", "d"),
    ("Settings", "settings/", "cog-6-tooth", "c"),
)

# Sections whose objects have the same keys in all environments of a project.
_SHARED = ("flags/", "segments/")
_CURSORS = ("after", "before")


@dataclass(frozen=True, slots=True)
class EnvironmentLink:
    slug: str
    url: str
    current: bool


class Switcher(NamedTuple):
    """The current project and environment, and links to all that the user may see: each project's
    name with links to the current page in its environments, or to its section. `settings_url` is ""
    for those who cannot add environments; owners can add projects."""

    project: str
    environment: str
    projects: tuple[tuple[str, tuple[EnvironmentLink, ...]], ...]
    settings_url: str
    adds_projects: bool


class Shell:
    """The frame around a page. Values that need a query are computed only when rendered."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self.project: Project | None = getattr(request, "project", None)
        self.environment: Environment | None = getattr(request, "environment", None)
        self.request_id: str = getattr(request, "id", "")
        theme = request.COOKIES.get(THEME_COOKIE, "")
        self.theme = theme if theme in THEMES else "system"

    @cached_property
    def home_url(self) -> str:
        if self.project is None or self.environment is None:
            return get_script_prefix()
        return self._url(self.project, self.environment)

    @property
    def find_url(self) -> str:
        """The URL of the find box; "" on pages outside an environment."""
        return f"{self.home_url}find/" if self.environment else ""

    @property
    def palette_url(self) -> str:
        """The URL of the options of the find box; "" on pages outside an environment."""
        return f"{self.home_url}palette/" if self.environment else ""

    @property
    def freezes(self) -> list[tuple[Freeze, bool]]:
        """Those of the environment that begin within a day or are active, and which it is."""
        found: Sequence[Freeze] = getattr(self.environment, "freezes", ())
        now = timezone.now()
        return [(freeze, freeze.covers(now)) for freeze in found]

    @cached_property
    def navigation(self) -> tuple[NavItem, ...]:
        return self._items(WORK)

    @cached_property
    def settings_navigation(self) -> tuple[NavItem, ...]:
        return self._items([item for item in SETTINGS if self.is_admin or item[0] != "Staff"])

    @property
    def shortcuts(self) -> tuple[tuple[str, str], ...]:
        """The letter after "g" and the label of each page of the navigation."""
        return tuple(
            (item.shortcut, item.label) for item in (*self.navigation, *self.settings_navigation)
        )

    @property
    def openid_name(self) -> str:
        """The name of the OpenID provider, "" if none is configured."""
        return settings.OPENID.name if settings.OPENID else ""

    @property
    def unread(self) -> int:
        """Unread notifications of the project."""
        found: dict[int, int] = getattr(self._user, "unread", {})
        return found.get(self.project.pk, 0) if self.project else 0

    @cached_property
    def role(self) -> Role | None:
        """The role in the current project."""
        return self._user.role_in(self.project) if self._user else None

    @property
    def is_admin(self) -> bool:
        return self.role is not None and self.role.rank >= Role.ADMIN.rank

    @property
    def _user(self) -> User | None:
        user = getattr(self._request, "user", None)
        return user if isinstance(user, User) else None

    @property
    def switcher(self) -> Switcher | None:
        if self.project is None or self.environment is None:
            return None
        environments: list[Environment] | None = getattr(self._request, "environments", None)
        if environments is None:
            environments = environments_of(self._user) if self._user else []
        projects = tuple(
            (project.name, tuple(self._environment_link(project, each) for each in group))
            for project, group in groupby(environments, key=lambda each: each.project)
        )
        settings_url = f"{self.home_url}settings/" if self.is_admin else ""
        adds_projects = self.role is Role.OWNER
        return Switcher(
            self.project.name, self.environment.slug, projects, settings_url, adds_projects
        )

    def _environment_link(self, project: Project, environment: Environment) -> EnvironmentLink:
        current = self.environment is not None and environment.pk == self.environment.pk
        url = self._url(project, environment)
        place = self._place if project == self.project else self._section
        return EnvironmentLink(environment.slug, url + place + self._filters, current)

    @cached_property
    def _below(self) -> str:
        """The path below the environment."""
        return self._request.path.removeprefix(self.home_url) if self.environment else ""

    @cached_property
    def _section(self) -> str:
        """The first part of the path below the environment."""
        tails = (tail for _, tail, _, _ in (*WORK, *SETTINGS) if tail)
        return next((tail for tail in tails if self._below.startswith(tail)), "")

    @cached_property
    def _place(self) -> str:
        """The section, in those of _SHARED with the object that the page is about. Ids of other
        objects are not valid in other environments."""
        if self._section not in _SHARED:
            return self._section
        key = self._below.removeprefix(self._section).partition("/")[0]
        return f"{self._section}{quote(key)}/" if key and key[0] != "+" else self._section

    @cached_property
    def _filters(self) -> str:
        """The query of a list, without its page."""
        if self._below != self._section:
            return ""
        query = self._request.GET.copy()
        for name in _CURSORS:
            query.pop(name, None)
        return f"?{query.urlencode()}" if query else ""

    @property
    def is_placed(self) -> bool:
        """Whether the links of the switcher name an object or have filters."""
        return self._place != self._section or bool(self._filters)

    def _items(self, items: Iterable[tuple[str, str, str, str]]) -> tuple[NavItem, ...]:
        if self.environment is None:
            return ()
        path, home = self._request.path, self.home_url
        return tuple(
            NavItem(label, home + tail, icon, key, tail == self._section if tail else path == home)
            for label, tail, icon, key in items
        )

    @staticmethod
    def _url(project: Project, environment: Environment) -> str:
        return f"{get_script_prefix()}{project.slug}/{environment.slug}/"


def shell(request: HttpRequest) -> dict[str, object]:
    # Django's own csrf_token is another one at each use, also within one tag.
    token = SimpleLazyObject(lambda: get_token(request))
    return {"shell": Shell(request), "csrf_token": token}
