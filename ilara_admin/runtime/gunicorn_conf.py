"""How gunicorn runs Ilara: `gunicorn -c ilara_admin/runtime/gunicorn_conf.py ilara_admin.wsgi`."""

import os
import socket
import struct
from typing import Any

from ilara_admin.core import shutdown

bind = os.environ.get("ILARA_BIND", "127.0.0.1:18000")

# Threads, not processes alone: an event stream holds one for as long as it is open.
worker_class = "gthread"
# One process per core keeps the cores busy; more would only compete for them.
workers = int(os.environ.get("ILARA_WORKERS") or min(os.cpu_count() or 1, 8))
# Each thread keeps a database connection once it used one: workers x threads must stay well
# below PostgreSQL's max_connections.
threads = int(os.environ.get("ILARA_THREADS") or 32)

# A request is over in milliseconds; one that takes half a minute is stuck.
timeout = 30
# A stop wakes the streams, so that what remains is the answer being written.
graceful_timeout = 10
# Longer than the idle time of usual load balancers, so that they close first and never send a
# request into a connection that is just being closed here.
keepalive = 75

# The control socket would lie in the home folder, where two servers collide.
control_socket_disable = True

# Headers of 8 KiB are generous; an external id in a path is 255 characters, 12 bytes each at worst.
limit_request_line = 8190
limit_request_field_size = 8190

# By default a client behind a proxy on this machine could move the address of its request with the
# headers SCRIPT_NAME and PATH_INFO. Ilara lives at the root of its host and needs neither.
forwarder_headers = ""

# A client that falls silent in the middle of a request gives its thread back after this time. Else
# a few dozen such clients would hold all threads for ever.
SILENCE_SECONDS = 10


def when_ready(server: Any) -> None:
    limit = struct.pack("ll", SILENCE_SECONDS, 0)
    for listener in server.LISTENERS:
        # The kernel hands the limit on to each connection. gunicorn sets no timeout of its own.
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)


def post_worker_init(worker: Any) -> None:
    shutdown.install()
