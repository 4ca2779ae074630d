"""The summary of a player for a ticket."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from ilara_admin.pages.player_summary import MOST, Facts, FlagFact, PurchaseFact, summary_text

AT = datetime(2026, 6, 1, 12, 30, tzinfo=timezone(timedelta(hours=2)))
FACTS = Facts(
    external_id="player_123",
    permalink="https://ilara.example/game/live/players/1/",
    stage="Active",
    first_seen_at=datetime(2026, 5, 1, tzinfo=UTC),
    last_seen_at=AT,
    attributes={"country": "PT", "os": "ios", "app_version": "1.4.2", "level": 45},
    sessions=1_234,
    active_days=1,
    purchases=2,
    revenue="9.98 USD",
    unverified="4.99 USD",
    last_purchases=[
        PurchaseFact(AT, "4.99 USD", "gems", "t-2", False, None),
        PurchaseFact(AT, "4.99 USD", "", "", True, AT),
    ],
    segments=["payers", "whales"],
    flags=[FlagFact("new-shop", "true", "Rule 1: in segment payers.")],
    more_flags=0,
    notes=2,
    at=AT,
)


def test_summary__is_one_fact_a_line() -> None:
    assert summary_text(FACTS).splitlines() == [
        "Player: player_123",
        "Page: https://ilara.example/game/live/players/1/",
        "Stage: Active",
        "First seen: 2026-05-01 00:00 UTC",
        "Last seen: 2026-06-01 10:30 UTC",
        "Country: PT",
        "Platform: ios",
        "App version: 1.4.2",
        "Sessions: 1,234 on 1 day",
        "Purchases: 2, revenue 9.98 USD (4.99 USD not verified)",
        "- 2026-06-01 10:30 UTC, 4.99 USD, gems, t-2, not verified",
        "- 2026-06-01 10:30 UTC, 4.99 USD, verified, refunded 2026-06-01 10:30 UTC",
        "Segments: payers, whales",
        "Flags that differ from the default:",
        "- new-shop = true: Rule 1: in segment payers.",
        "Notes: 2",
        "As of 2026-06-01 10:30 UTC",
    ]


def test_summary_without_anything__says_none() -> None:
    nothing = replace(
        FACTS, attributes={"country": ["PT"]}, last_purchases=[], segments=[], flags=[],
        unverified="",
    )  # fmt: skip
    text = summary_text(nothing)
    for line in (
        "Segments: none", "Flags that differ from the default: none",
        "Purchases: 2, revenue 9.98 USD",
    ):  # fmt: skip
        assert line in text.splitlines()
    assert "Country" not in text


def test_long_lists__are_cut_with_the_number_of_the_rest() -> None:
    many = replace(FACTS, segments=[f"s-{number}" for number in range(MOST + 3)], more_flags=1_200)
    lines = summary_text(many).splitlines()
    assert any(line.endswith(f"s-{MOST - 1}, and 3 more") for line in lines)
    assert "- and 1,200 more" in lines


def test_text_of_a_game__stays_on_its_line() -> None:
    strange = "x\nNotes: 9\u202e\u2028" + "w" * 999
    hostile = replace(
        FACTS,
        external_id=strange,
        attributes={"country": strange},
        last_purchases=[PurchaseFact(AT, "1.00 USD", strange, strange, True, None)],
        flags=[FlagFact("f", strange, strange)],
    )
    lines = summary_text(hostile).splitlines()
    assert len(lines) == len(summary_text(FACTS).splitlines()) - 3
    assert lines.count("Notes: 2") == 1
    assert "Notes: 9" not in lines
    assert "\u202e" not in "".join(lines)
    assert max(map(len, lines)) < 1_000
