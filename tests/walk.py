"""Walks the dashboard as a member of staff does: links, filters, fragments, downloads, streams."""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from html.parser import HTMLParser
from itertools import islice
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from django.db import connections
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import Resolver404, resolve

from ilara_admin.models import Role
from tests.factories import World
from tests.pages import PAGES, address

PER_VIEW = 4  # addresses of one view with the same parameters
FRAMES = 2  # of a stream: its settings, and the first event
LINKS = ("href", "hx-get", "sse-connect", "src")
# The tags that the reader needs, and a few more: it takes long to parse whole pages.
TAGS = re.compile(
    rf"""<(?=/?(?:form|select|script)\b|(?:input|option|button)\b|\w[^<]*\s(?:{"|".join(LINKS)})=)
    (?:[^>"']|"[^"]*"|'[^']*')*>""",
    re.VERBOSE,
)


@dataclass
class Form:
    method: str
    action: str
    fields: dict[str, str] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)
    choices: dict[str, list[str]] = field(default_factory=dict)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[Form] = []
        self.form: Form | None = None
        self.select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.links += [given[name] for name in LINKS if given.get(name)]
        if stream := given.get("sse-connect"):
            self.links.append(f"{stream.partition('?')[0]}?after=0")
        name = given.get("name", "")
        if tag == "form":
            self.form = Form(given.get("method", "get").lower(), given.get("action", ""))
            self.forms.append(self.form)
        elif self.form is None:
            return
        elif tag == "input" and given.get("type") == "hidden":
            self.form.fields[name] = given.get("value", "")
        elif tag == "input" and given.get("type", "text") in ("text", "search"):
            self.form.typed.append(name)
        elif tag == "select":
            self.select = name
        elif tag == "option" and self.select:
            self.form.choices.setdefault(self.select, []).append(given.get("value", ""))
        elif tag == "button" and name:
            self.form.buttons.append((name, given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self.form = None
        elif tag == "select":
            self.select = ""


def texts_of(client: Client, world: World, role: Role, typed: Iterable[str]) -> dict[str, str]:
    """The text of everything that this client can reach, by URL: from the address of every page, by
    links, by filters with each choice and each `typed` text, and by buttons that only read."""
    prefix = f"/{world.environment.project.slug}/{world.environment.slug}/"
    pages = (address(page, world)[0] for page in PAGES.values() if "GET" in _methods(page.view))
    waiting = deque(within(prefix, pages))
    seen: Counter[tuple[str, ...]] = Counter()
    asked: set[str] = set()
    filled: set[tuple[str, str, str]] = set()
    found: dict[str, str] = {}
    words = list(typed)
    while waiting:
        url = waiting.popleft().partition("#")[0]
        if url in asked or not _is_new_enough(url, seen, words):
            continue
        asked.add(url)
        found[url] = text = _text(partial(client.get, url, follow=True))
        reader = Reader()
        reader.feed("".join(TAGS.findall(text)))
        waiting.extend(within(prefix, (urljoin(url, link) for link in reader.links)))
        for form in reader.forms:
            target = urljoin(url, form.action or urlsplit(url).path)
            if not target.startswith(prefix):
                continue
            if form.method == "get":
                waiting.extend(within(prefix, _filtered(target, form, words, filled)))
            elif _only_reads(target, role):
                for name, value in form.buttons or [("", "")]:
                    key = f"POST {target} {name}={value}"
                    if key not in found and _is_new_enough(target, seen, [value]):
                        data = {**form.fields, name: value} if name else form.fields
                        found[key] = _text(partial(client.post, target, data))
    return found


def within(prefix: str, urls: Iterable[str]) -> Iterable[str]:
    return (url for url in urls if url.startswith(prefix))


def _methods(view: object) -> tuple[str, ...]:
    return getattr(view, "methods", ())


def _is_new_enough(url: str, seen: Counter[tuple[str, ...]], words: list[str]) -> bool:
    """Whether few addresses of this view with these parameters were asked for. Each typed text
    counts on its own."""
    parts = urlsplit(url)
    try:
        name = resolve(parts.path).url_name or parts.path
    except Resolver404:
        return False
    query = parse_qsl(parts.query)
    kind = (name, *sorted(each for each, _ in query), *(text for _, text in query if text in words))
    seen[kind] += 1
    return seen[kind] <= PER_VIEW


def _filtered(
    target: str, form: Form, words: list[str], filled: set[tuple[str, str, str]]
) -> Iterable[str]:
    """The addresses of the form with one field filled in, each once for a view."""
    path = target.partition("?")[0]
    try:
        view = resolve(path).url_name or path
    except Resolver404:
        return
    pairs = [(name, text) for name in form.typed for text in words]
    pairs += [(name, value) for name, values in form.choices.items() for value in values]
    for name, value in pairs:
        if (view, name, value) not in filled:
            filled.add((view, name, value))
            yield f"{path}?{urlencode({**form.fields, name: value})}"


def _only_reads(target: str, role: Role) -> bool:
    """Whether this is a download: a view without GET whose name says so, open to this role."""
    try:
        match = resolve(urlsplit(target).path)
    except Resolver404:
        return False
    view = match.func
    downloads = ("export", "download", "csv", "json")
    return (
        "GET" not in _methods(view)
        and role.rank >= getattr(view, "role", Role.OWNER).rank
        and any(each in (match.url_name or "") for each in downloads)
    )


def _text(ask: Callable[[], Any]) -> str:
    """The text of a response, of a stream the first frames. A stream closes its connection."""
    with patch.object(connections["default"], "close"):
        response = ask()
        if not isinstance(response, StreamingHttpResponse):
            return str(response.content.decode())
        chunks = iter(response)
        is_stream = response.headers["Content-Type"].startswith("text/event-stream")
        text = b"".join(islice(chunks, FRAMES) if is_stream else chunks).decode()
        response.close()
    return text
