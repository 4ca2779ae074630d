"""The size of a rule's audience while the rule is edited: an estimate with bounded cost."""

from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from ilara_admin.models import Environment
from ilara_admin.web.htmx import HtmxHttpRequest
from segments import services
from segments.editor.form_tree import Editor
from segments.editor.seen import Catalogue
from segments.editor.suggestions import suggest
from segments.language.parser import Group, Node
from segments.models import Segment
from segments.sizes import Estimate, estimate, rule_query

SIZE = "size"  # posted by segments/_audience.html, and by a button without JavaScript


def audience_of(
    environment: Environment,
    editor: Editor | None,
    *more: Node,
    segment: Segment | None = None,
    key: str = "",
) -> Estimate | None:
    """The players who match the rule as it is typed, and `more`. None if the rule is incomplete or
    invalid, or if there are no conditions at all. With a `segment`, its lists count as well; `key`
    is that of the segment whose rule it is."""
    parts: list[Node] = list(more)
    if editor is not None:
        rule: Any = editor.read()
        try:
            parts += [] if rule is None else [services.check_rule(environment, rule, key)]
        except ValidationError:
            rule = None
        if rule is None:
            return None
    return _estimate(environment, parts, segment) if parts else None


def _estimate(environment: Environment, parts: Sequence[Node], segment: Segment | None) -> Estimate:
    whole = parts[0] if len(parts) == 1 else Group("AND", tuple(parts))
    query = rule_query(environment, whole, timezone.now(), segment)
    # Always the same sample, so that an added condition never seems to add players.
    return estimate(query, environment.namespace)


def render_size(
    request: HtmxHttpRequest,
    audience: Estimate | None,
    editor: Editor | None,
    catalogue: Catalogue,
    *,
    everyone: bool = False,
) -> HttpResponse:
    """The answer to htmx: the size and the hints of the conditions."""
    if editor is not None:
        suggest(editor, catalogue)
    context = {"audience": audience, "editor": editor, "everyone": everyone}
    return render(request, "segments/_sized.html", context)
