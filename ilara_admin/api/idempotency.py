"""Ids that clients give to what they send, so that sending it twice counts once."""

from hashlib import blake2b
from secrets import token_bytes

from ilara_admin.api.dispatch import ApiRequest
from ilara_admin.api.errors import invalid


def idempotency_key(request: ApiRequest) -> str | None:
    """The Idempotency-Key header, which stands in for a missing id in the body."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= 128:
        raise invalid("Idempotency-Key must have 1 to 128 characters", "Idempotency-Key")
    return key


def client_id(request: ApiRequest, in_body: str | None) -> str | None:
    """The id in the body, else the header. A faulty header is refused even where it is not used."""
    key = idempotency_key(request)
    return in_body or key


def digest_of(client_id: str | None) -> bytes:
    """What makes a client's id unique in a ledger; without one, something that never repeats."""
    if client_id is None:
        return token_bytes(16)
    return blake2b(client_id.encode(), digest_size=16).digest()
