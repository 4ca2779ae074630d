"""The details of a flag: what staff write about it and games never see. Imports no Django.

    {"name": "New shop", "description": "", "owner": "Ada", "expected_end": "2026-12-31",
     "tags": ["economy", "shop"],
     "links": [{"label": "Ticket", "url": "https://tracker.example/GAME-12"}]}

`expected_end` is "" for a permanent flag. Tags are sorted. This is the shape of `Flag.details`, the
audit log and an exported configuration.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ilara_admin.core.names import name_problem
from ilara_admin.core.path_error import PathError
from ilara_admin.core.text import trim, visible

type Details = dict[str, Any]
type Link = dict[str, str]

MAX_TAGS, MAX_TAG = 20, 50
MAX_LINKS, MAX_LABEL, MAX_URL = 20, 100, 500
URL_FORM = "Give an address that begins with https:// or http://."


def read_tags(tags: Any) -> list[str]:
    """The tags sorted, each once. Raises PathError."""
    if not isinstance(tags, Sequence) or isinstance(tags, str):
        raise PathError("", "Must be a list of texts.")
    for index, tag in enumerate(tags):
        if problem := _tag_problem(tag):
            raise PathError(f"[{index}]", problem)
    found = sorted(set(tags))
    if len(found) > MAX_TAGS:
        raise PathError("", f"A flag has {MAX_TAGS} tags at most.")
    return found


def _tag_problem(tag: Any) -> str:
    if not isinstance(tag, str) or not 1 <= len(tag) <= MAX_TAG:
        return f"A tag is a text of 1 to {MAX_TAG} characters."
    if "," in tag or visible(tag) != tag:
        return "A tag has no commas, line breaks or control characters."
    problem = name_problem(tag)
    return f"A tag {problem}." if problem else ""


def read_links(links: Any) -> list[Link]:
    """The links, each with a label and an address. Raises PathError."""
    if not isinstance(links, Sequence) or isinstance(links, str):
        raise PathError("", "Must be a list of objects with label and url.")
    if len(links) > MAX_LINKS:
        raise PathError("", f"A flag has {MAX_LINKS} links at most.")
    for index, link in enumerate(links):
        if not isinstance(link, Mapping) or link.keys() != {"label", "url"}:
            raise PathError(f"[{index}]", "Must be an object with label and url.")
        if problem := _label_problem(link["label"]):
            raise PathError(f"[{index}].label", problem)
        if not _is_web_address(link["url"]):
            raise PathError(f"[{index}].url", f"{URL_FORM} It has {MAX_URL} characters at most.")
    return [{"label": link["label"], "url": link["url"]} for link in links]


def _label_problem(label: Any) -> str:
    if not isinstance(label, str) or not 1 <= len(label) <= MAX_LABEL:
        return f"A label is a text of 1 to {MAX_LABEL} characters."
    if visible(label) != label:
        return "A label has no line breaks or control characters."
    problem = name_problem(label)
    return f"A label {problem}." if problem else ""


def _is_web_address(url: Any) -> bool:
    if (
        not isinstance(url, str)
        or len(url) > MAX_URL
        or visible(url) != url
        or url.split() != [url]
    ):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


# --- As typed in a form ---------------------------------------------------------------------------


def tags_text(tags: Iterable[str]) -> str:
    """`economy, shop`."""
    return ", ".join(tags)


def typed_tags(text: str) -> list[str]:
    """The tags in `economy, shop`, on one or several lines. Raises PathError."""
    parts = (trim(part) for line in text.splitlines() for part in line.split(","))
    return read_tags([part for part in parts if part])


def links_text(links: Iterable[Link]) -> str:
    """One link per line: `Ticket https://tracker.example/GAME-12`."""
    return "\n".join(f"{link['label']} {link['url']}" for link in links)


def typed_links(text: str) -> list[Link]:
    """The links of `links_text`. A line with only an address has its host as the label. Raises
    PathError, whose message names the line."""
    lines = [line for line in map(trim, text.splitlines()) if line]
    links = []
    for number, line in enumerate(lines, start=1):
        *label, url = line.rsplit(maxsplit=1)
        if not _is_web_address(url):
            raise PathError(
                "", f"Line {number}: write a label and an address: Ticket https://example.com/12"
            )
        links.append({"label": label[0] if label else str(urlsplit(url).hostname), "url": url})
    try:
        return read_links(links)
    except PathError as error:
        raise PathError("", error.message) from None
