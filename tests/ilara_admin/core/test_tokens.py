import pytest

from ilara_admin.core import tokens


def test_checksum__matches_the_documented_example() -> None:
    assert tokens.checksum("0123456789abcdefghijklmnopqrst") == "3j70pI"


def test_small_checksum__is_padded_with_zeros() -> None:
    assert tokens.checksum("") == "000000"


@pytest.mark.parametrize("slug", ["live", "test", "a", "eu-west-2", "x" * 20])
def test_new_token__is_well_formed_and_names_its_environment(slug: str) -> None:
    token = tokens.new_token("pk", slug)
    assert token.startswith(f"pk_{slug}_")
    assert len(token) == len(f"pk_{slug}_") + 36
    assert tokens.is_well_formed(token)


def test_new_tokens__differ() -> None:
    assert len({tokens.new_token("sk", "live") for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "token",
    [
        "",
        "pk_live_xxxxxxxxxxxx",
        "pk_live_0123456789abcdefghijklmnopqrst3j70pJ",
        "pk_live_1123456789abcdefghijklmnopqrst3j70pI",
        "xk_live_0123456789abcdefghijklmnopqrst3j70pI",
        "pk_Live_0123456789abcdefghijklmnopqrst3j70pI",
        "pk__0123456789abcdefghijklmnopqrst3j70pI",
        "pk_live_0123456789abcdefghijklmnopqrst3j70pI\n",
        " pk_live_0123456789abcdefghijklmnopqrst3j70pI",
        "pk_live_0123456789abcdefghijklmnopqrs\u00e93j70pI",
    ],
)
def test_anything_else__is_not(token: str) -> None:
    assert not tokens.is_well_formed(token)


def test_vector__is_well_formed() -> None:
    assert tokens.is_well_formed("pk_live_0123456789abcdefghijklmnopqrst3j70pI")


def test_digest__is_sha_256_of_the_whole_token() -> None:
    digest = tokens.digest("pk_live_0123456789abcdefghijklmnopqrst3j70pI")
    assert digest.hex().startswith("04a8580c5da88f01")
    assert len(digest) == 32
