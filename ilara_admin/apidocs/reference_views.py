"""The API reference: a searchable list, and a page per operation."""

from django.http import Http404, HttpResponse

from ilara_admin.api.curl import KEY_VARIABLE, api_root, api_url, key_shown
from ilara_admin.apidocs.reference import entries, groups
from ilara_admin.apidocs.samples import LANGUAGES, curl_of, samples
from ilara_admin.models import KeyKind, Role
from ilara_admin.web.access import staff_view
from ilara_admin.web.filters import render_list, searched
from ilara_admin.web.htmx import HtmxHttpRequest, render_partial

LANGUAGE_COOKIE = "ilara_language"
LANGUAGE_COOKIE_SECONDS = 365 * 24 * 3600
MAX_QUERY = 100


@staff_view(Role.VIEWER)
def reference(request: HtmxHttpRequest) -> HttpResponse:
    """All operations, or those that match `?q=`."""
    q = searched(request, "q")[:MAX_QUERY]
    found = groups(q)
    context = {
        "q": q,
        "groups": found,
        "count": sum(len(hits) for _, _, hits in found),
        "base_url": api_url(request, ""),
    }
    return render_list(request, "ilara_admin/reference.html", context)


@staff_view(Role.VIEWER)
def reference_operation(request: HtmxHttpRequest, operation_id: str) -> HttpResponse:
    """One operation. `?lang=` sets the language of the samples, which is stored in a cookie."""
    found = entries()
    entry = found.get(operation_id)
    if entry is None:
        raise Http404("No such operation.")
    root = api_root(request)
    written = samples(entry.operation, root)
    language = _language(request)
    secret = entry.operation.endpoint.secret
    _, prefix = key_shown(request.environment, KeyKind.SECRET if secret else KeyKind.PUBLIC)
    order = list(found.values())
    place = list(found).index(operation_id)
    context = {
        "entry": entry,
        "operation": entry.operation,
        "languages": [(each, LANGUAGES[each]) for each in written],
        "language": language if language in written else "curl",
        "sample": written.get(language, written["curl"]),
        "more": [
            (answer, curl_of(entry.operation, answer.example, root)) for answer in entry.answers[1:]
        ],
        "root": root,
        "export": f'export {KEY_VARIABLE}="{prefix}"',
        "before": order[place - 1] if place else None,
        "after": order[place + 1] if place + 1 < len(order) else None,
    }
    response = render_partial(
        request, "ilara_admin/reference_operation.html", context, partial="sample"
    )
    if request.GET.get("lang") in LANGUAGES:
        response.set_cookie(
            LANGUAGE_COOKIE,
            language,
            max_age=LANGUAGE_COOKIE_SECONDS,
            secure=request.is_secure(),
            httponly=True,
            samesite="Lax",
        )
    return response


def _language(request: HtmxHttpRequest) -> str:
    for choice in (request.GET.get("lang"), request.COOKIES.get(LANGUAGE_COOKIE)):
        if choice in LANGUAGES:
            return choice
    return "curl"
