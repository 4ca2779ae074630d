"""Health probes."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DatabaseError, InterfaceError, connection
from django.test import Client
from pytest_django.fixtures import Settings

from events import partitions


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probe_by_ip_address_over_http__is_allowed(
    path: str, client: Client, settings: Settings, db: None
) -> None:
    settings.ALLOWED_HOSTS = ["ilara.example.com"]
    settings.SECURE_SSL_REDIRECT = True
    partitions.ensure()
    response = client.get(path, headers={"host": "10.1.2.3:18000"})
    assert response.status_code == 200
    assert response["X-Request-Id"]


@pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
def test_database_away__is_not_ready(
    error: type[Exception], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> None:
        raise error

    monkeypatch.setattr(connection, "cursor", away)
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json() == {"database": False, "partitions": False, "worker": False}
    assert client.get("/healthz").status_code == 200


def test_event_in_the_default_partition__is_reported(client: Client, db: None) -> None:
    assert client.get("/readyz").json()["partitions"] is True
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO event (player_id, received_at, environment_id, event_id, name,
                                  properties, occurred_at)
               VALUES (gen_random_uuid(), '2091-01-01', 1, 'e', 'x', '{}', now())"""
        )
    response = client.get("/readyz")
    assert (response.status_code, response.json()["partitions"]) == (200, False)


def test_partition_of_tomorrow_missing__is_reported(client: Client, db: None) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE event_{tomorrow:%Y%m%d}")
    response = client.get("/readyz")
    assert (response.status_code, response.json()["partitions"]) == (200, False)


def test_post__is_not_allowed(client: Client) -> None:
    assert client.post("/healthz").status_code == 405
