"""Times as the standard libraries of common runtimes write them."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from django.db import connection

from ilara_admin.core.times import read_time, sql_time
from tests.inputs import inputs

TIMES = inputs("times")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def text_of(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


@pytest.mark.parametrize("example", TIMES, ids=lambda example: example["text"])
def test_time__is_read_as_its_writer_meant_it(example: dict[str, Any]) -> None:
    assert text_of(read_time(example["text"])) == example["instant"], example["by"]


@pytest.mark.parametrize("value", [None, 0, 1.5, True, [], {}])
def test_other_types__are_no_times(value: object) -> None:
    assert read_time(value) is None


def test_instant_outside_the_years__keeps_its_offset() -> None:
    last = read_time("9999-12-31T23:00:00-05:00")
    assert last is not None
    assert last > datetime.max.replace(tzinfo=UTC)
    assert text_of(read_time("0001-01-01T00:00:00+02:00")) == "0001-01-01T00:00:00+02:00"


def test_long_text__is_no_time() -> None:
    for text in ("2" * 60_000, "2026-05-31T12:00:00." + "1" * 60_000 + "x", "2026-05-31T12:00Z["):
        assert read_time(text) is None


# --- In SQL -------------------------------------------------------------------------------------


def generated(random: Random) -> str:
    """A text that is a time, nearly is one, or is none."""

    def digits(low: int, high: int, width: int = 2) -> str:
        return str(random.randint(low, high)).zfill(width)

    dash, colon = random.choice(["-", "-", ""]), random.choice([":", ":", ""])
    year = random.choice([digits(0, 9999, 4), digits(1990, 2030, 4), "0001", "9999", "2024"])
    text = year + dash + digits(0, 13) + dash + digits(0, 32)
    text = random.choice([text] * 4 + ["9999-12-31", "0001-01-01", "2024-02-29", "2023-02-29"])
    clock = digits(0, 24) + colon + digits(0, 60)
    clock += random.choice(["", colon + digits(0, 61), colon + "00"])
    clock = random.choice([clock] * 4 + ["24:00", "24:00:00", "23:59:60", "18:59:60", "120000"])
    fraction = random.choice(["", "", *(mark + digits(0, 10**9, 1) for mark in ".,"), ".000"])
    offset = (
        random.choice("+-")
        + digits(0, 24)
        + random.choice(["", colon + digits(0, 60), ":00", ":00:00", ":30:" + digits(0, 60)])
    )
    zone = random.choice(
        ["", "Z", "z", "UTC", " UTC", " Z", "-05:00", "+05:30", offset, " " + offset]
    )
    name = random.choice(
        ["", "", "", "[Europe/Berlin]", "[UTC][u-ca=x]", " CET", " CET m=+0.5", "["]
    )
    return text + random.choice(["T", " ", "t", ""]) + clock + fraction + zone + name


def mutated(random: Random, text: str) -> str:
    place = random.randrange(len(text) + 1)
    inserted = random.choice(["", random.choice("0123456789-:+.,TtZz [](é\n")])
    return text[:place] + inserted + text[place + random.randrange(2) :]


def microseconds(at: datetime | None) -> int | None:
    return None if at is None else (at - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns"])
def test_sql__reads_the_same_texts_as_the_same_times(db: None, zone: str) -> None:
    random = Random(11)
    texts = [example["text"] for example in TIMES]
    texts += [mutated(random, random.choice(texts)) for _ in range(10_000) if texts]
    texts += [generated(random) for _ in range(20_000)]
    texts = list(dict.fromkeys(texts))
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('TimeZone', %s, true)", [zone])
        cursor.execute(
            f"""SELECT text, (extract(epoch FROM {sql_time("text")}) * 1000000)::bigint
            FROM unnest(%s::text[]) text""",
            [texts],
        )
        found = dict(cursor.fetchall())
    expected = {text: microseconds(read_time(text)) for text in texts}
    assert {text: (found[text], at) for text, at in expected.items() if found[text] != at} == {}
    times = sum(at is not None for at in expected.values())
    assert times > 3_000
    assert len(texts) - times > 3_000
