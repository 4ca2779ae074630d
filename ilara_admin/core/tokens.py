"""API tokens: `pk_<env>_` or `sk_<env>_`, 30 random base62 characters, 6 characters of checksum.

The checksum is that of GitHub's tokens: the CRC-32 of the 30 random characters, in base 62 with the
digits 0-9A-Za-z, padded with zeros. Secret scanners can verify it, and a mistyped token is refused
without a query. Imports no Django.
"""

import re
import secrets
from hashlib import sha256
from zlib import crc32

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH = 30
CHECKSUM_LENGTH = 6
# The part before the random characters.
KIND = re.compile(r"(pk|sk)_([a-z0-9](?:[a-z0-9-]{0,19}))_")
PATTERN = re.compile(KIND.pattern + r"([0-9A-Za-z]{30})([0-9A-Za-z]{6})")


def checksum(text: str) -> str:
    number, digits = crc32(text.encode()), ""
    while number:
        number, rest = divmod(number, len(ALPHABET))
        digits = ALPHABET[rest] + digits
    return digits.rjust(CHECKSUM_LENGTH, ALPHABET[0])


def new_token(kind_prefix: str, environment_slug: str) -> str:
    """A new random token; `kind_prefix` is `pk` or `sk`."""
    random = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return f"{kind_prefix}_{environment_slug}_{random}{checksum(random)}"


def is_well_formed(token: str) -> bool:
    match = PATTERN.fullmatch(token)
    return match is not None and checksum(match[3]) == match[4]


def digest(token: str) -> bytes:
    """The stored form of a token. A plain hash is enough for 178 random bits."""
    return sha256(token.encode()).digest()
