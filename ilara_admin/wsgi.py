"""The WSGI entry point: `gunicorn ilara_admin.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ilara_admin.settings")
application = get_wsgi_application()
