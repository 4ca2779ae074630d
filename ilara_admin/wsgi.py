"""The WSGI entry point: `gunicorn ilara_admin.wsgi`."""

from ilara_admin.runtime.web_application import web_application

application = web_application()
