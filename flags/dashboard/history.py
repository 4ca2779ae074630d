"""The history of a flag as its page shows it."""

from typing import Any, NamedTuple

from flags import services
from flags.models import Flag, FlagRevision
from ilara_admin.core.diff import Change
from ilara_admin.web.htmx import HtmxHttpRequest
from ilara_admin.web.pagination import KeysetPage

SIZE = 10
PARAMETER = "history"  # the number of the newest revision shown

# Read for each page of a flag: Django needs longer to write the statement than to run it.
REVISIONS = """
SELECT * FROM flag_revision WHERE flag_id = %s AND number <= %s ORDER BY number DESC LIMIT %s"""


class HistoryItem(NamedTuple):
    """A revision and its differences from the one before."""

    revision: FlagRevision
    changes: list[Change]


def history_of(request: HtmxHttpRequest, flag: Flag) -> dict[str, Any]:
    """The context of the history: SIZE revisions, newest first, from `?history=` on."""
    newest = _number(request.GET.get(PARAMETER, "")) or flag.revision
    found = list(FlagRevision.objects.raw(REVISIONS, [flag.pk, newest, SIZE + 1]))
    shown = found[:SIZE]
    older = f"?{PARAMETER}={newest - SIZE}" if len(found) > SIZE else ""
    newer = ""
    if newest < flag.revision:
        newer = f"?{PARAMETER}={min(newest + SIZE, flag.revision)}"
    return {
        "history": [
            HistoryItem(
                revision,
                services.differences(before, revision, revision.created_at) if before else [],
            )
            for revision, before in zip(shown, [*found[1:], None], strict=False)
        ],
        "history_page": KeysetPage(shown, older, newer),
    }


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None
