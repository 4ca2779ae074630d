"""`/metrics` of real servers: the sums of two web processes, and requests through nginx."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api_client import EVENTS, FLAGS, HttpApi
from tests.factories import make_environment, make_key
from tests.homes import wait_until
from tests.processes import families
from tests.running import free_port
from tests.serving import Gunicorn, gunicorns

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

COUNT = "ilara_http_request_duration_seconds_count"


def value(server: Gunicorn, name: str, **labels: str) -> float:
    reply = server.api(None).get("/metrics")
    assert reply.status == 200
    return sum(
        sample.value
        for family in text_string_to_metric_families(reply.body.decode())
        for sample in family.samples
        if sample.name == name and sample.labels.items() >= labels.items()
    )


def workers(server: Gunicorn) -> set[int]:
    return families(server.process.pid) - {server.process.pid}


def test_numbers__are_those_of_all_web_processes_and_outlive_them() -> None:
    key = make_key(make_environment())
    with gunicorns(1, ILARA_WORKERS="2", ILARA_THREADS="4") as (server,):
        api = server.api(key.token)
        body = {"player_id": api.register()["id"]}
        event = {**body, "event_name": "x"}

        def send() -> None:
            for number in range(40):
                assert api.post(f"{FLAGS}/new_tutorial/evaluate", body).status == 200
                assert api.post(EVENTS, {**event, "event_id": f"e-{number}"}).status == 201

        def numbers() -> list[float]:
            return [
                value(server, COUNT, route=f"{FLAGS}/{{key}}/evaluate", status="200"),
                value(server, COUNT, route=EVENTS, status="201"),
                value(server, "ilara_flag_evaluations_total"),
                value(server, "ilara_events_total", verdict="accepted"),
                value(server, "ilara_events_total", verdict="duplicate"),
            ]

        send()
        assert numbers() == [40, 40, 40, 40, 0]
        send()
        assert numbers() == [80, 80, 80, 40, 40]
        before = workers(server)
        os.kill(min(before), signal.SIGKILL)
        wait_until(lambda: len(workers(server)) == 2 and workers(server) != before)
        assert numbers() == [80, 80, 80, 40, 40]
        send()
        assert numbers() == [120, 120, 120, 40, 80]


NGINX = """
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ {headers} proxy_pass http://127.0.0.1:{server}; }}
    }}
}}
"""
FORWARDED_FOR = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
MODERN = 'proxy_http_version 1.1; proxy_set_header Connection "";'


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[[Gunicorn, str], HttpApi]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(server: Gunicorn, headers: str) -> HttpApi:
        folder, port = tmp_path / str(len(started)), free_port()
        folder.mkdir()
        conf = folder / "nginx.conf"
        conf.write_text(NGINX.format(folder=folder, port=port, server=server.port, headers=headers))
        command = ["nginx", "-c", str(conf), "-e", str(folder / "error.log"), "-g", "daemon off;"]
        started.append(subprocess.Popen(command))
        api = HttpApi(f"http://127.0.0.1:{port}", None)
        wait_until(lambda: answers(api))
        return api

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(30)


def answers(api: HttpApi) -> bool:
    try:
        return api.get("/healthz").status == 200
    except OSError:
        return False


def test_nginx__does_not_show_the_metrics(
    gunicorn: Gunicorn, nginx: Callable[[Gunicorn, str], HttpApi]
) -> None:
    assert gunicorn.api(None).get("/metrics").status == 200
    for headers in ("", FORWARDED_FOR, MODERN + "proxy_set_header X-Forwarded-Proto $scheme;"):
        proxy = nginx(gunicorn, headers)
        assert proxy.get("/metrics").status == 404
        assert proxy.get("/metrics", x_forwarded_for="127.0.0.1").status == 404
        assert proxy.get("//metrics").status == 404


def test_nginx_that_is_counted__shows_them_to_allowed_clients_only(
    nginx: Callable[[Gunicorn, str], HttpApi],
) -> None:
    with gunicorns(1, ILARA_PROXIES="1", ILARA_METRICS_NETWORKS="10.0.0.0/8") as (server,):
        proxy = nginx(server, FORWARDED_FOR)
        assert proxy.get("/metrics").status == 404
        assert proxy.get("/metrics", x_forwarded_for="10.0.0.1").status == 404
        allowed = nginx(server, "proxy_set_header X-Forwarded-For 10.0.0.1;")
        assert allowed.get("/metrics").status == 200
