"""Notifications as messages of Slack and Discord, and as e-mails."""

import pytest

from ilara_admin.core.message_texts import (
    DISCORD_CHARACTERS,
    MAIL_CHARACTERS,
    SLACK_CHARACTERS,
    Item,
    discord,
    mail,
    slack,
)

CHANGE = Item(
    "Ana turned on the flag new-shop",
    "Sample Game · live",
    ["Reason: launch"],
    "https://ilara.example.com/sample-game/live/audit/7/",
)


def test_slack__shows_what_where_why_and_a_link() -> None:
    payload = slack([CHANGE])
    assert payload["text"] == (
        "*Ana turned on the flag new-shop* (Sample Game · live)\n"
        "• Reason: launch\n"
        "<https://ilara.example.com/sample-game/live/audit/7/|Open in Ilara>"
    )
    assert payload["unfurl_links"] is False


@pytest.mark.parametrize("text", ["<!channel>", "<@U123>", "<https://evil.example|Ilara>", "a & b"])
def test_slack__a_name_cannot_be_markup(text: str) -> None:
    item = Item(text, text, [text])
    shown = slack([item])["text"]
    assert "<" not in shown
    assert shown.count("&") == 3 * (text.count("<") + text.count(">") + text.count("&"))


@pytest.mark.parametrize(
    "text", ["@everyone", "**bold**", "[Ilara](https://evil.example)", "<@1>", "# big", "`x`", "||"]
)
def test_discord__a_name_cannot_be_markup_or_a_mention(text: str) -> None:
    payload = discord([Item(text, "Game", [text])])
    assert payload["allowed_mentions"] == {"parse": []}
    head, line = payload["content"].split("\n")
    for shown in (head.removeprefix("**").removesuffix("** (Game)"), line.removeprefix("• ")):
        assert shown.replace("\\", "") == text.replace("\\", "")
        assert all(shown[at - 1] == "\\" for at, each in enumerate(shown) if each in "@*[]<>#`|")


def test_mail__subject_names_the_first_and_counts_the_others() -> None:
    subject, body = mail([CHANGE, CHANGE, CHANGE], "https://ilara.example.com/choices/")
    assert subject == "[Sample Game · live] Ana turned on the flag new-shop and 2 more"
    assert body.count("- Reason: launch") == 3
    assert body.endswith("Change it: https://ilara.example.com/choices/\n")


def test_mail__without_an_address_of_ilara_has_no_links() -> None:
    _, body = mail([Item("Stopped", "Game")])
    assert "http" not in body
    assert "Change it" not in body


@pytest.mark.parametrize("length", [1, 150, 5_000])
def test_texts__stay_below_the_limits_and_say_what_is_left_out(length: int) -> None:
    items = [Item("x" * length, "Game · live", ["y" * length] * 3, "https://a.example/b/")] * 100
    texts = {
        slack([*items])["text"]: SLACK_CHARACTERS,
        discord([*items])["content"]: DISCORD_CHARACTERS,
        mail(items)[1].partition("\n\n-- \n")[0]: MAIL_CHARACTERS,
    }
    for text, limit in texts.items():
        assert len(text) <= limit + 20
        assert text.count("Game · live") == 100 or "… and " in text


def test_texts__one_item_is_shown_however_long_it_is() -> None:
    assert slack([Item("x" * 9_000, "Game")])["text"].startswith("*xxx")
