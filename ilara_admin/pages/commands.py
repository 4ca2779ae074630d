"""The pages and actions that the command palette offers, as far as the user's role allows."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from django.urls import reverse

from ilara_admin.core.text import isolated
from ilara_admin.models import Role
from ilara_admin.web.access import environment_url, may
from ilara_admin.web.context_processors import THEMES, Shell
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.matching import START, rank
from ilara_admin.web.routes import SCOPE, all_pages


@dataclass(frozen=True, slots=True)
class PaletteOption:
    """A line of the palette: a link, or without a URL a button.

    The label is ours, the name a key or the text of a client.
    """

    icon: str
    label: str = ""
    name: str = ""
    note: str = ""
    related: str = ""  # further words that find it
    keys: str = ""  # its keyboard shortcut, "g f"
    url: str = ""
    in_dialog: bool = False  # the page opens in the dialog
    form: str = ""  # the id of the form that the button submits
    value: str = ""  # of the theme that it chooses
    opens: str = ""  # the id of the dialog that the button opens

    @property
    def words(self) -> str:
        return f"{self.label} {self.name}".strip()


class Offer(NamedTuple):
    """An action or page with the name of its URL, which also tells the role that it needs."""

    label: str
    page: str
    icon: str
    related: str = ""
    in_dialog: bool = False


# Further words for the pages of the navigation, by their labels.
NAVIGATION_WORDS = {
    "Overview": "home dashboard start",
    "Figures": "statistics active players revenue retention sessions cohorts",
    "Metrics": "measures kpi results guards",
    "Players": "users customers people",
    "Flags": "features toggles switches experiments",
    "Segments": "audiences cohorts groups",
    "Live events": "stream tail log",
    "Experiments": "tests results guarded rollouts a/b",
    "Change requests": "approvals reviews pending waiting second person guard",
    "API keys": "tokens secrets credentials",
    "Audit": "history changes log undo",
    "Staff": "users accounts people roles team members",
    "Developers": "docs clients sdk code",
    "Settings": "environment project personal data currency retention thresholds guard freeze",
}
PAGES = (
    Offer("Event catalogue", "event_names", "list-bullet", "names properties schema"),
    Offer("Rejected events", "event_rejected", "no-symbol", "invalid errors failed"),
    Offer("Stale flags", "flag_stale_list", "archive-box", "unused old cleanup"),
    Offer("Churn model", "churn_model", "chart-bar", "risk prediction"),
    Offer("API reference", "reference", "book-open", "docs endpoints specification"),
    Offer("Notifications", "notification_list", "bell", "alerts inbox messages news unread"),
    Offer("Choose notifications", "notification_choices", "bell", "subscribe mute e-mail"),
    Offer("Channels", "channel_list", "megaphone", "slack discord webhook notifications"),
    Offer("Your account", "account", "user-circle", "profile time zone password"),
)
ACTIONS = (
    Offer("New flag", "flag_new", "plus", "create add feature"),
    Offer("New experiment", "experiment_new", "plus", "create add test measure split"),
    Offer("New segment", "segment_new", "plus", "create add audience"),
    Offer("New metric", "metric_new", "plus", "create add measure figure"),
    Offer("Issue a key", "key_create", "key", "new create add api token", in_dialog=True),
    Offer("Invite a member", "staff_invite", "user-plus", "add staff user link", in_dialog=True),
    Offer("New member", "staff_new", "user-plus", "create add staff user", in_dialog=True),
    Offer("New environment", "environment_new", "plus", "create add", in_dialog=True),
    Offer("New project", "project_new", "plus", "create add game", in_dialog=True),
    Offer("Edit settings", "environment_edit", "pencil-square", "change environment"),
    Offer("Guard changes", "guard_edit", "shield-check", "approval protect second person"),
    Offer("Plan a freeze", "freeze_new", "lock-closed", "window holiday", in_dialog=True),
    Offer("Change password", "account_password", "lock-closed", "account", in_dialog=True),
)
# For one object; its name follows the label.
OBJECT_ACTIONS = {
    "flag": (
        Offer("Edit rules of", "flag_rules", "pencil-square", "change percentage rollout"),
        Offer("Clone", "flag_clone", "document-duplicate", "copy duplicate", in_dialog=True),
    ),
    "player": (
        Offer("Edit", "player_edit", "pencil-square", "change attributes", in_dialog=True),
        Offer("Add a note to", "player_note_add", "plus", "write comment", in_dialog=True),
        Offer("Link an id to", "player_alias_add", "link", "alias", in_dialog=True),
        Offer("Summary of", "player_summary", "clipboard-document", "ticket copy", in_dialog=True),
    ),
    "experiment": (Offer("Edit experiment", "experiment_edit", "pencil-square", "change plan"),),
    "metric": (Offer("Edit", "metric_edit", "pencil-square", "change measure"),),
    "segment": (
        Offer("Edit", "segment_edit", "pencil-square", "change rule"),
        Offer("Add players to", "segment_ids_add", "user-plus", "list ids", in_dialog=True),
    ),
}
THEME_ICONS = {"system": "computer-desktop", "light": "sun", "dark": "moon"}


@lru_cache(maxsize=1)
def _roles() -> dict[str, tuple[Role, bool]]:
    """The lowest role of each page, and whether the page belongs to an environment."""
    return {
        page.name: (page.view.role, page.route.startswith(SCOPE))
        for page in all_pages()
        if hasattr(page.view, "role")
    }


def _allowed(
    request: HtmxHttpRequest, offers: Iterable[Offer], *args: str, name: str = ""
) -> Iterator[PaletteOption]:
    for offer in offers:
        role, in_environment = _roles()[offer.page]
        if not may(request, role):
            continue
        yield PaletteOption(
            icon=offer.icon,
            label=offer.label,
            name=name,
            related=offer.related,
            in_dialog=offer.in_dialog,
            url=environment_url(request, offer.page, *args)
            if in_environment
            else reverse(offer.page),
        )


def navigation(shell: Shell) -> list[PaletteOption]:
    """The pages of the rail, with their shortcuts."""
    return [
        PaletteOption(
            icon=item.icon,
            label=item.label,
            related=NAVIGATION_WORDS.get(item.label, ""),
            keys=f"g {item.shortcut}",
            url=item.url,
        )
        for item in (*shell.navigation, *shell.settings_navigation)
    ]


def pages(request: HtmxHttpRequest) -> list[PaletteOption]:
    """Pages that the rail does not link."""
    return list(_allowed(request, PAGES))


def actions(request: HtmxHttpRequest, shell: Shell) -> list[PaletteOption]:
    """Actions that do not need an object. Switching the environment keeps the page of `shell`."""
    return [
        *_allowed(request, ACTIONS),
        *_switches(shell),
        *(
            PaletteOption(
                icon=THEME_ICONS[theme],
                label=f"{theme.capitalize()} theme",
                related="mode colours appearance",
                form="theme",
                value=theme,
            )
            for theme in THEMES
        ),
        PaletteOption(
            icon="question-mark-circle",
            label="Keyboard shortcuts",
            related="keys help",
            keys="?",
            opens="shortcuts",
        ),
        PaletteOption(
            icon="arrow-right-start-on-rectangle",
            label="Sign out",
            related="log off leave exit",
            form="sign-out",
        ),
    ]


def _switches(shell: Shell) -> Iterator[PaletteOption]:
    switcher = shell.switcher
    assert switcher
    for project, links in switcher.projects:
        for link in links:
            if not link.current:
                elsewhere = "" if project == switcher.project else project
                yield PaletteOption(
                    icon="arrows-right-left",
                    label=f"Switch to {link.slug}",
                    note=elsewhere,
                    related=f"environment project {project}",
                    url=link.url,
                )


def object_actions(
    request: HtmxHttpRequest, kind: str, identifier: str, name: str, state: str
) -> list[PaletteOption]:
    """Actions on one object. `state` is that of a flag: on, off or archived."""
    shown = isolated(name)
    switches = _flag_switches(request, identifier, shown, state) if kind == "flag" else ()
    if state == "archived":
        return list(switches)
    return [
        *_allowed(request, OBJECT_ACTIONS.get(kind, ()), identifier, name=shown),
        *switches,
    ]


def _flag_switches(
    request: HtmxHttpRequest, key: str, name: str, state: str
) -> Iterator[PaletteOption]:
    label, page, target = {
        "on": ("Turn off", "flag_switch", "off"),
        "off": ("Turn on", "flag_switch", "on"),
        "archived": ("Unarchive", "flag_archive", "unarchive"),
    }[state]
    offer = Offer(label, page, "power", "switch disable enable restore", in_dialog=True)
    yield from _allowed(request, [offer], key, target, name=name)


def matching(query: str, options: Iterable[PaletteOption]) -> list[PaletteOption]:
    """The options that match, best first and otherwise in their order."""
    ranked = [(rank(query, each.words, each.related), each) for each in options]
    found = [(place, each) for place, each in ranked if place is not None]
    return [each for _, each in sorted(found, key=lambda pair: pair[0])]


def names_the_action(query: str, option: PaletteOption) -> bool:
    """Whether the query is about the action, not only about its object."""
    return rank(query, option.words) == START or rank(query, option.label) is not None
