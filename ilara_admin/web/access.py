"""Access to dashboard pages, and the project and environment of a request.

Every dashboard view has one decorator, which names its role and methods. Below
/<project>/<environment>/ it turns the two slugs into `request.project` and `request.environment`.
"""

import json
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import lru_cache, partial, wraps
from typing import Any, cast

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.db import DEFAULT_DB_ALIAS, connection, models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from ilara_admin.core.audit import Actor
from ilara_admin.core.changes import MAX_REASON
from ilara_admin.core.guard import Confirmation, Freeze, GuardRequired
from ilara_admin.models import Environment, Project, Role, User
from ilara_admin.web import guarding, recent
from ilara_admin.web.htmx import HtmxHttpRequest, redirect_to, wants_partial
from ilara_admin.web.second_factor import lacks_second_factor

SESSION_KEY = "environment"

type DashboardView = Callable[..., HttpResponseBase]


def staff_view(
    role: Role, *methods: str, before_second_factor: bool = False
) -> Callable[[DashboardView], DashboardView]:
    """Allow staff who have this role in the project of the address, for GET or for the given
    methods. Without a project in it `Role.VIEWER` allows every account.

    Other methods get 405, a project or environment that is unknown or not theirs 404, and other
    staff 403 with the missing role. Staff who need a second factor must show or add it first,
    except for pages with `before_second_factor`. `view.role` and `view.methods` hold the
    declaration.
    """
    allowed = methods or ("GET",)

    def decorate(view: DashboardView) -> DashboardView:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            staff = cast(HtmxHttpRequest, request)
            if request.method not in (*allowed, *(("HEAD",) if "GET" in allowed else ())):
                return _not_allowed(staff, allowed)
            if "\0" in request.path:
                raise Http404("PostgreSQL cannot store NUL in text.")
            if "project" in kwargs:
                _set_environment(staff, kwargs.pop("project"), kwargs.pop("environment"))
            needed = settings.ILARA_SECOND_FACTOR and not before_second_factor
            if needed and lacks_second_factor(staff):
                return redirect_to(staff, reverse("second_factor_needed"))
            if not may(staff, role):
                raise PermissionDenied(f"This needs the role {role.label.lower()}.")
            response = _answer(staff, partial(view, staff, *args, **kwargs))
            if (
                staff.resolver_match
                and staff.resolver_match.url_name in recent.OBJECT_PAGES
                and response.status_code == 200
                and not wants_partial(staff)
            ):
                recent.remember(staff)
            return response

        guarded.role, guarded.methods = role, allowed  # type: ignore[attr-defined]
        return guarded

    return decorate


def _answer(request: HtmxHttpRequest, view: Callable[[], HttpResponseBase]) -> HttpResponseBase:
    """The view's response, or the page that asks for what the environment's guard needs."""
    if request.method != "POST":
        return view()
    back = _referrer(request) or request.path
    if request.POST.get(guarding.ACT, "").startswith(guarding.REVIEW):
        return guarding.submit(request, view, may_break=may(request, Role.ADMIN), back=back)
    try:
        return view()
    except GuardRequired as required:
        may_break = may(request, Role.ADMIN)
        return guarding.ask(request, view, required, may_break=may_break, back=back)


# --- Refusals -------------------------------------------------------------------------------------

BASE, BARE = "base.html", "base_bare.html"
SHOWN_PEOPLE = 5


def refusal(request: HttpRequest, status: int, reason: str = "") -> HttpResponse:
    """The page of a 400, 403, 404 or 405. It keeps the navigation for staff in an environment. htmx
    gets the reason as text, which it shows as a toast."""
    if reason and getattr(request, "htmx", None):
        return HttpResponse(reason, status=status, content_type="text/plain; charset=utf-8")
    user = getattr(request, "user", None)
    signed_in = isinstance(user, User) and user.is_authenticated
    context: dict[str, Any] = {"reason": reason, "frame": BARE, "back": _referrer(request)}
    if signed_in and _find_environment(request):
        context["frame"] = BASE
    if signed_in and status == 403:
        context |= _who_can_help(cast(HtmxHttpRequest, request))
    return render(request, f"{status}.html", context, status=status)


def _who_can_help(request: HtmxHttpRequest) -> dict[str, Any]:
    """`helpers`, the names of admins of the project or of owners, and `helper`, what they are."""
    people = User.objects.filter(is_active=True).order_by("pk")
    project: Project | None = getattr(request, "project", None)
    needed = getattr(request.resolver_match and request.resolver_match.func, "role", None)
    admins = people.none()
    if project is not None and needed is not Role.OWNER:
        admins = people.filter(memberships__project=project, memberships__role=Role.ADMIN)
    found = names_of(admins[:SHOWN_PEOPLE])
    if found:
        return {"helper": f"An admin of {project}", "helpers": found}
    owners = people.filter(is_owner=True)
    return {"helper": "An owner", "helpers": names_of(owners[:SHOWN_PEOPLE])}


def names_of(people: Iterable[User]) -> list[str]:
    return [each.get_full_name() or each.username for each in people]


def _not_allowed(request: HtmxHttpRequest, allowed: tuple[str, ...]) -> HttpResponse:
    """405. Someone who opened the address of a form gets a page."""
    if request.method != "GET":
        return HttpResponseNotAllowed(allowed)
    response = refusal(request, 405)
    response["Allow"] = ", ".join(allowed)
    return response


def _find_environment(request: HttpRequest) -> bool:
    """Whether the address is in an environment, which then is the request's also if no view has
    looked for it."""
    staff = cast(HtmxHttpRequest, request)
    if not hasattr(staff, "environment"):
        slugs = tuple(request.path_info.split("/")[1:3])
        environments = environments_of(staff.user) if len(slugs) == 2 else []
        for each in environments:
            if (each.project.slug, each.slug) == slugs:
                staff.environments = environments
                staff.environment, staff.project = each, each.project
    return hasattr(staff, "environment")


def _referrer(request: HttpRequest) -> str:
    """The page of ours that led here, "" if there is none."""
    url = request.headers.get("Referer", "")
    # A 400 may be about the host, which get_host would raise again.
    host = request.META.get("HTTP_HOST") or request.META.get("SERVER_NAME", "")
    ours = url_has_allowed_host_and_scheme(
        url, allowed_hosts={host}, require_https=request.is_secure()
    )
    return url if ours and not url.endswith(request.get_full_path()) else ""


# --- The environment ------------------------------------------------------------------------------


def _set_environment(request: HtmxHttpRequest, project: str, environment: str) -> None:
    request.environments, slugs = environments_of(request.user), (project, environment)
    found = next(
        (each for each in request.environments if (each.project.slug, each.slug) == slugs), None
    )
    if found is None:
        raise Http404("No such project or environment.")
    request.environment, request.project = found, found.project
    if request.session.get(SESSION_KEY) != found.pk:
        request.session[SESSION_KEY] = found.pk


def project_environments(request: HtmxHttpRequest) -> list[Environment]:
    """The environments of the current project, in the order of the switcher."""
    return [each for each in request.environments if each.project == request.project]


def _columns(model: type[models.Model]) -> list[str]:
    return [f"{model._meta.db_table}.{field.column}" for field in model._meta.concrete_fields]


_PROJECT, _ENVIRONMENT = _columns(Project), _columns(Environment)
_JSON = [
    place
    for place, field in enumerate(Environment._meta.concrete_fields, len(_PROJECT))
    if isinstance(field, models.JSONField)
]
ENVIRONMENTS = f"""
SELECT {", ".join(_PROJECT + _ENVIRONMENT)},
    (SELECT json_agg(json_build_array(starts_at, ends_at, reason) ORDER BY starts_at)
     FROM freeze_window WHERE environment_id = environment.id AND ends_at > now()
       AND starts_at < now() + interval '1 day'),
    coalesce(unread.count, 0), membership.role
FROM environment JOIN project ON project.id = environment.project_id
LEFT JOIN (SELECT project_id, count(*) FROM notification_recipient
           WHERE user_id = %(user)s AND read_at IS NULL GROUP BY project_id) unread
    ON unread.project_id = project.id
LEFT JOIN membership
    ON membership.project_id = project.id AND membership.user_id = %(user)s
WHERE %(is_owner)s OR membership.role IS NOT NULL
ORDER BY project.name, environment.id"""


def environments_of(user: User) -> list[Environment]:
    """The environments that an account may see, with their projects, by the name of the project.
    Sets `user.roles` and `user.unread`.

    Every page reads them. Django needs ten times as long to write a statement as to run this one.
    """
    projects: dict[int, Project] = {}
    environments = []
    user.roles, user.unread = {}, {}
    with connection.cursor() as cursor:
        cursor.execute(ENVIRONMENTS, {"user": user.pk, "is_owner": user.is_owner})
        for *row, freezes, unread, role in cursor:
            for place in _JSON:  # Django reads JSON as text
                row[place] = json.loads(row[place])
            project = Project.from_db(DEFAULT_DB_ALIAS, (), row[: len(_PROJECT)])
            environment = Environment.from_db(DEFAULT_DB_ALIAS, (), row[len(_PROJECT) :])
            environment.freezes = _freezes(freezes)
            environment.project = projects.setdefault(project.pk, project)
            environments.append(environment)
            user.unread[project.pk] = unread
            if role is not None:
                user.roles[project.pk] = Role(role)
    return environments


def _freezes(rows: str | list[Any] | None) -> list[Freeze]:
    """The windows that are active or begin within a day, for the banner."""
    found = json.loads(rows) if isinstance(rows, str) else rows or []
    return [
        Freeze(datetime.fromisoformat(starts_at), datetime.fromisoformat(ends_at), reason)
        for starts_at, ends_at, reason in found
    ]


def last_environment(request: HtmxHttpRequest) -> Environment | None:
    """The environment visited last, else the first one, of those that the user may see, or None."""
    request.environments = environments_of(request.user)
    last: int | None = request.session.get(SESSION_KEY)
    visited = [each for each in request.environments if each.pk == last]
    return next(iter([*visited, *request.environments]), None)


def show_last_environment(request: HtmxHttpRequest) -> None:
    """Show the last visited environment in the navigation of a page that has none."""
    environment = last_environment(request)
    if environment is not None:
        request.environment, request.project = environment, environment.project


def get_or_404[M: models.Model](
    request: HtmxHttpRequest, model: type[M], more: str = "", **columns: Any
) -> M:
    """The object in the request's environment with these values in its columns; 404 if there is
    none. `more` are SQL expressions with names: further attributes of the object.

    Detail pages read it. Django needs twice as long to write the statement as for all of this.
    """
    columns["environment_id"] = request.environment.pk
    sql = f"""SELECT {", ".join([*_columns(model), *([more] if more else [])])}
        FROM {model._meta.db_table} WHERE {" AND ".join(f"{name} = %s" for name in columns)}"""
    found = next(iter(model._default_manager.raw(sql, list(columns.values()))), None)
    if found is None:
        raise Http404(f"No such {model._meta.verbose_name}.")
    found.environment = request.environment  # type: ignore[attr-defined]  # saves a join
    return found


def environment_url(request: HttpRequest, name: str, *args: object) -> str:
    """The URL of a page in the current environment."""
    return url_in(cast(HtmxHttpRequest, request).environment, name, *args)


def url_in(environment: Environment, name: str, *args: object) -> str:
    """The URL of a page in any environment."""
    return _reversed(name, environment.project.slug, environment.slug, *args)


@lru_cache(maxsize=1024, typed=True)  # `reverse` tries the pattern again each time
def _reversed(name: str, *args: object) -> str:
    return reverse(name, args=args)


def may(request: HtmxHttpRequest, role: Role) -> bool:
    """Whether the user has this role, or a higher one, in the project of the request. Outside a
    project every active account is a viewer."""
    project: Project | None = getattr(request, "project", None)
    if project is None and role is Role.VIEWER:
        return request.user.is_active
    return request.user.may(role, project)


def sees_personal(request: HtmxHttpRequest) -> bool:
    """Whether the user may see personal data of players; see players/personal.py."""
    return may(request, Role.SUPPORT)


def actor_of(request: HtmxHttpRequest) -> Actor:
    """The user, with what the request confirms for the guard of an environment."""
    if request.method != "POST":
        return Actor.of_user(request.user)
    breaks = request.POST.get(guarding.BREAK) == "1"
    if breaks and not may(request, Role.ADMIN):
        raise PermissionDenied("Only admins can break glass.")
    confirmation = Confirmation(
        reason=request.POST.get("reason", "").replace("\0", "")[:MAX_REASON],
        name=request.POST.get(guarding.NAME, "").strip(),
        break_glass=breaks,
        collecting=getattr(request, "collecting", None),
    )
    return Actor.of_user(request.user, confirmation)
