"""Notifications as messages: of Slack, of Discord, and e-mails. Imports no Django.

Several notifications make one message. Names in them come from staff and from games, so nothing in
them may format the text, address people, or look like a link of ours.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# Slack cuts a text at 4,000 characters, Discord refuses more than 2,000.
SLACK_CHARACTERS = 3_500
DISCORD_CHARACTERS = 1_900
MAIL_CHARACTERS = 20_000
SUBJECT_CHARACTERS = 150
SUPPRESS_EMBEDS = 4  # a flag of Discord's messages: no preview of links
_MARKDOWN = re.compile(r"([\\`*_~|<>\[\]()#@])")


@dataclass(frozen=True, slots=True)
class Item:
    """A notification. `place` is "Sample Game · live"; without Ilara's address, `url` is ""."""

    title: str
    place: str
    lines: Sequence[str] = ()
    url: str = ""


def slack(items: Sequence[Item]) -> dict[str, Any]:
    """The payload of an incoming webhook of Slack, which Mattermost understands, too."""

    def text_of(item: Item) -> str:
        head = f"*{_for_slack(item.title)}* ({_for_slack(item.place)})"
        link = [f"<{item.url}|Open in Ilara>"] if item.url else []
        return "\n".join([head, *(f"• {_for_slack(line)}" for line in item.lines), *link])

    text = _joined(items, text_of, SLACK_CHARACTERS)
    return {"text": text, "unfurl_links": False, "unfurl_media": False}


def discord(items: Sequence[Item]) -> dict[str, Any]:
    """The payload of a webhook of Discord. It mentions no one."""

    def text_of(item: Item) -> str:
        head = f"**{_for_discord(item.title)}** ({_for_discord(item.place)})"
        link = [f"<{item.url}>"] if item.url else []
        return "\n".join([head, *(f"• {_for_discord(line)}" for line in item.lines), *link])

    text = _joined(items, text_of, DISCORD_CHARACTERS)
    return {"content": text, "allowed_mentions": {"parse": []}, "flags": SUPPRESS_EMBEDS}


def mail(items: Sequence[Item], choices_url: str = "") -> tuple[str, str]:
    """Subject and body of an e-mail."""

    def text_of(item: Item) -> str:
        link = [f"  {item.url}"] if item.url else []
        return "\n".join(
            [item.title, f"  {item.place}", *(f"  - {line}" for line in item.lines), *link]
        )

    first = items[0]
    more = f" and {_more(len(items) - 1)}" if len(items) > 1 else ""
    subject = f"[{first.place}] {first.title}"[:SUBJECT_CHARACTERS] + more
    foot = "You get this because you chose so in Ilara."
    if choices_url:
        foot += f" Change it: {choices_url}"
    body = _joined(items, text_of, MAIL_CHARACTERS)
    return " ".join(subject.split()), f"{body}\n\n-- \n{foot}\n"


def _joined(items: Sequence[Item], text_of: Callable[[Item], str], characters: int) -> str:
    """The texts of as many items as fit, and how many are left out. A single one is cut."""
    texts = [text_of(item)[:characters] for item in items]
    room = characters - len(_left_out(len(items)))
    shown, length = 0, 0
    for text in texts:
        length += len(text) + 2
        if shown and length > room:
            break
        shown += 1
    left = len(items) - shown
    return "\n\n".join([*texts[:shown], *([_left_out(left)] if left else [])])


def _left_out(count: int) -> str:
    return f"… and {_more(count)}"


def _more(count: int) -> str:
    return f"{count:,} more"


def _for_slack(text: str) -> str:
    """These characters begin all links and mentions of Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _for_discord(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", text)
