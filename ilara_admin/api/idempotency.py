"""Client-supplied ids, which make a repeated request count once."""

from hashlib import blake2b
from secrets import token_bytes

from ilara_admin.api.dispatch import ApiRequest
from ilara_admin.api.errors import invalid


def idempotency_key(request: ApiRequest) -> str | None:
    """The Idempotency-Key header, used when the body has no id."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= 128:
        raise invalid("Idempotency-Key must have 1 to 128 characters", "Idempotency-Key")
    return key


def client_id(request: ApiRequest, in_body: str | None) -> str | None:
    """The id in the body, else the header. An invalid header is refused even if it is not used."""
    key = idempotency_key(request)
    return in_body or key


def digest_of(client_id: str | None) -> bytes:
    """The 16 bytes that identify a client's id in a ledger; random bytes if there is no id."""
    if client_id is None:
        return token_bytes(16)
    return blake2b(client_id.encode(), digest_size=16).digest()
