"""The least that a Django view with one statement costs, to compare the API with: a WSGI
application with Django's own handler, no middleware, and the table that INSERT and COPY write.

gunicorn loads it with its plain gthread workers; DATABASE_URL names the database.
"""

import os

import django
import msgspec
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path
from environ import Env

if not settings.configured:
    database = Env.db_url_config(os.environ["DATABASE_URL"])
    database |= {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": None}
    # With Django's defaults, psycopg prepares nothing.
    prepared = {"prepare_threshold": 5, "server_side_binding": True}
    database["OPTIONS"] = {**database.get("OPTIONS", {}), **prepared}
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        LOGGING_CONFIG=None,  # errors go to stderr
        DATABASES={"default": database},
    )

TABLE = """
CREATE TABLE IF NOT EXISTS bench_event
    (LIKE event INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)"""
SELECT = "SELECT * FROM player WHERE id = %s"
INSERT = """
INSERT INTO bench_event (player_id, received_at, environment_id, event_id, name, properties,
    occurred_at)
VALUES (%s, now(), 1, %s, %s, %s, now())"""
COPY = """
COPY bench_event (player_id, received_at, environment_id, event_id, name, properties, occurred_at)
FROM STDIN"""


def select(request: HttpRequest) -> HttpResponse:
    body = msgspec.json.decode(request.body)
    with connection.cursor() as cursor:
        cursor.execute(SELECT, [body["player_id"]])
        cursor.fetchone()
    return _done()


def insert(request: HttpRequest) -> HttpResponse:
    body = msgspec.json.decode(request.body)
    properties = msgspec.json.encode(body["properties"]).decode()
    values = [body["player_id"], body["event_id"], body["event_name"], properties]
    with connection.cursor() as cursor:
        cursor.execute(INSERT, values)
    return _done()


def copy(request: HttpRequest) -> HttpResponse:
    """The body is what COPY reads: nothing is checked or converted."""
    with connection.cursor() as cursor, cursor.copy(COPY) as copying:
        copying.write(request.body)
    return _done()


def _done() -> HttpResponse:
    body = b'{"success":true}'
    headers = {"Content-Length": str(len(body))}
    return HttpResponse(body, content_type="application/json", headers=headers)


def ready(request: HttpRequest) -> HttpResponse:
    return _done()


urlpatterns = [
    path("v1/", ready),
    path("select", select),
    path("insert", insert),
    path("copy", copy),
]


def application() -> WSGIHandler:
    django.setup()
    return WSGIHandler()
