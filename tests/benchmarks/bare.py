"""The minimal server that stores an event: one view, one INSERT, one COMMIT."""

import os

import django
import msgspec
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
settings.MIDDLEWARE, settings.ROOT_URLCONF = [], __name__
django.setup()

TABLE = """CREATE TABLE bare (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, player_id uuid,
                              name text, properties jsonb, received_at timestamptz DEFAULT now())"""


def track(request: HttpRequest) -> HttpResponse:
    event = msgspec.json.decode(request.body)
    with connection.cursor() as cursor:
        properties = msgspec.json.encode(event["properties"]).decode()
        cursor.execute(
            "INSERT INTO bare (player_id, name, properties) VALUES (%s, %s, %s)",
            [event["player_id"], event["event_name"], properties],
        )
    body = b'{"success":true}'
    headers = {"Content-Length": str(len(body))}
    return HttpResponse(body, status=201, content_type="application/json", headers=headers)


urlpatterns = [path("track", track)]
application = WSGIHandler()
