"""Gunicorn settings: `gunicorn -c ilara_admin/runtime/gunicorn_conf.py ilara_admin.wsgi`."""

import os
import socket
import struct
from typing import Any

from ilara_admin.core import shutdown
from ilara_admin.runtime import protocol_errors, sizing

bind = os.environ.get("ILARA_BIND", "127.0.0.1:18000")

# An open event stream occupies a thread, so processes alone are not enough.
worker_class = "gthread"
# More than one process per core would compete for the cores.
workers = sizing.WORKERS
# Each thread keeps its database connection open.
threads = sizing.THREADS

# A request takes milliseconds; one that takes 30 seconds is stuck.
timeout = 30
# A stop ends the streams, so only responses being written remain.
graceful_timeout = 10
# Longer than the idle timeout of common load balancers, so that they close first and never send a
# request on a connection that is being closed here.
keepalive = 75

# Two servers would collide on the control socket in the home folder.
control_socket_disable = True

# An external id in a path has up to 255 characters of at most 12 bytes each.
limit_request_line = 8190
limit_request_field_size = 8190

# By default, a client behind a local proxy could change the path of its request with the headers
# SCRIPT_NAME and PATH_INFO. Ilara is served from the root of its host and needs neither.
forwarder_headers = ""

# A client that stalls in the middle of a request is dropped after this time. Otherwise a few dozen
# such clients would occupy all threads.
SILENCE_SECONDS = 10


def when_ready(server: Any) -> None:
    limit = struct.pack("ll", SILENCE_SECONDS, 0)
    for listener in server.LISTENERS:
        # Accepted connections inherit the limit. gunicorn sets no socket timeout.
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def post_worker_init(worker: Any) -> None:
    shutdown.install()
    protocol_errors.install()
    if worker.age == 1:  # the first one speaks for all
        warn_of_too_many_connections(worker)


def warn_of_too_many_connections(worker: Any) -> None:
    from ilara_admin.core import db  # needs Django, which this process has now set up

    allowed = db.max_connections()
    problem = allowed and sizing.too_many_connections(workers, threads, allowed)
    if problem:
        worker.log.warning(problem)
