"""The masks of personal data."""

import pytest

from players.personal import mask_device, mask_email, masked


@pytest.mark.parametrize(
    ("email", "shown"),
    [
        ("pia@example.com", "p***@example.com"),
        ("a@b@c", "a***@c"),
        ("@", "***@"),
        ("none", "n***"),
        ("", "***"),
        (None, None),
    ],
)
def test_email__keeps_its_first_character_and_domain(email: str | None, shown: str | None) -> None:
    assert mask_email(email) == shown


def test_device__keeps_four_characters() -> None:
    assert (mask_device("abcdefgh"), mask_device(None)) == ("abcd***", None)


def test_marked_values__keep_at_most_a_character() -> None:
    values = {"name": "Pia", "born": 1999, "friends": ["Ada"], "nick": None, "level": 3}
    assert masked(values, ["name", "born", "friends", "nick", "absent"]) == {
        "name": "P***", "born": "***", "friends": "***", "nick": None, "level": 3,
    }  # fmt: skip
