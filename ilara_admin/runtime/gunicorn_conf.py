"""Gunicorn settings: `gunicorn -c ilara_admin/runtime/gunicorn_conf.py ilara_admin.wsgi`."""

import ctypes
import os
from typing import Any

from ilara_admin.core import shutdown
from ilara_admin.core.variables import METRICS_FOLDER
from ilara_admin.runtime import metrics_folder, protocol_errors, sizing

bind = os.environ.get("ILARA_BIND", "127.0.0.1:18000")

# An open event stream occupies a thread, so processes alone are not enough.
worker_class = "ilara_admin.runtime.gunicorn_worker.RequestWorker"
workers = sizing.web_workers()
threads = sizing.web_threads(workers)
# Loading the application before the fork would save memory, but a reload would keep the old code.
preload_app = False

# At this number of clients, the one that is silent for the longest time is dropped.
worker_connections = sizing.web_connections()

# A request takes milliseconds; one that takes 30 seconds is stuck.
timeout = 30
# A stop ends the streams, so only responses being written remain.
graceful_timeout = 10
# Longer than the idle timeout of common load balancers, so that they close first and never send a
# request on a connection that is being closed here.
keepalive = 75

# Two servers would collide on the control socket in the home folder.
control_socket_disable = True

logger_class = "ilara_admin.runtime.server_logger.ServerLogger"

# An external id in a path has up to 255 characters of at most 12 bytes each.
limit_request_line = 8190
limit_request_field_size = 8190

# By default, a client behind a local proxy could change the path of its request with the headers
# SCRIPT_NAME and PATH_INFO. Ilara is served from the root of its host and needs neither.
forwarder_headers = ""


def on_starting(server: Any) -> None:
    os.environ[METRICS_FOLDER] = metrics_folder.create()


def on_exit(server: Any) -> None:
    metrics_folder.remove(os.environ.pop(METRICS_FOLDER))


def post_fork(server: Any, worker: Any) -> None:
    # Otherwise a worker of a killed server holds the port until its open streams end.
    shutdown.end_with_parent(worker.ppid, ctypes.CDLL(None))


def post_worker_init(worker: Any) -> None:
    shutdown.install()
    protocol_errors.install()
    if worker.age == 1:  # all are configured alike
        warn_of_too_many_connections(worker)


def warn_of_too_many_connections(worker: Any) -> None:
    from ilara_admin.core import db  # needs Django, which this process has now set up

    allowed = db.max_connections()
    cfg = worker.cfg  # the command line may differ from the values above
    problem = allowed and sizing.too_many_connections(cfg.workers, cfg.threads, allowed)
    if problem:
        worker.log.warning(problem)
