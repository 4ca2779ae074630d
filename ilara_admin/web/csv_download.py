"""CSV files of the dashboard."""

import csv
from collections.abc import Iterable

from django.http import HttpResponse

from ilara_admin.core.spreadsheet import cell
from ilara_admin.web.htmx import HtmxHttpRequest


def csv_download(
    request: HtmxHttpRequest, kind: str, header: Iterable[str], rows: Iterable[Iterable[str]],
    *about: str,
) -> HttpResponse:  # fmt: skip
    """A file to save, named after its kind, the environment and what it is about."""
    name = "-".join([kind, request.project.slug, request.environment.slug, *about])
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    response = HttpResponse(content_type="text/csv; charset=utf-8", headers=headers)
    writer = csv.writer(response)
    writer.writerow(header)
    writer.writerows(map(cell, row) for row in rows)
    return response
