"""Keyset pagination: without COUNT and OFFSET, each page starts where the previous one ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.core import signing
from django.core.exceptions import FieldDoesNotExist, ValidationError
from django.db import models
from django.http import HttpRequest, QueryDict

PAGE_SIZE = 50
# Parameters that links to other pages and lists drop. `selected` ticks the rows of one page.
OF_ONE_PAGE = ("after", "before", "selected")


class Read[M: models.Model](Protocol):
    """Reads up to `size` rows after the values of a cursor, in the order of the queryset, or before
    them in the opposite order."""

    def __call__(
        self, after: Sequence[Any] | None, size: int, *, backwards: bool = False
    ) -> list[M]: ...


@dataclass(frozen=True, slots=True)
class KeysetPage[M: models.Model]:
    """One page of a queryset. `next` and `previous` are query strings, or "" at the ends."""

    rows: list[M]
    next: str
    previous: str

    @property
    def is_only(self) -> bool:
        return not self.next and not self.previous

    @classmethod
    def of(
        cls,
        queryset: models.QuerySet[M],
        request: HttpRequest,
        *,
        size: int = PAGE_SIZE,
        read: Read[M] | None = None,
    ) -> KeysetPage[M]:
        """The page at `?after=` or `?before=` of the request, else the first one.

        The queryset must be ordered by a unique column, or by a column and then a unique one.
        Nullable columns raise ValueError: comparing with NULL would silently lose rows. `read`
        replaces the queryset where one statement for all rows would be slow.
        """
        keys = _Keys(queryset)
        read = read or keys.read
        after = keys.decode(request.GET.get("after"))
        before = None if after else keys.decode(request.GET.get("before"))
        if before:
            newest_last = read(before, size + 1, backwards=True)
            # With fewer rows than a page before the cursor, show the full first page.
            if len(newest_last) >= size:
                has_previous = len(newest_last) > size
                rows = newest_last[:size][::-1]
                return cls._build(keys, request, rows, has_next=True, has_previous=has_previous)
        found = read(after, size + 1)
        rows, has_next = found[:size], len(found) > size
        if after and not rows:
            return cls(rows, "", _querystring(request))
        return cls._build(keys, request, rows, has_next=has_next, has_previous=bool(after))

    @classmethod
    def _build(
        cls,
        keys: _Keys[M],
        request: HttpRequest,
        rows: list[M],
        *,
        has_next: bool,
        has_previous: bool,
    ) -> KeysetPage[M]:
        return cls(
            rows,
            _querystring(request, after=keys.encode(rows[-1])) if has_next else "",
            _querystring(request, before=keys.encode(rows[0])) if has_previous else "",
        )


def _querystring(request: HttpRequest, **cursor: str) -> str:
    query: QueryDict = request.GET.copy()
    for name in OF_ONE_PAGE:
        query.pop(name, None)
    for name, value in cursor.items():
        query[name] = value
    return f"?{query.urlencode()}"


class _Keys[M: models.Model]:
    """The one or two columns that order a queryset, and comparisons with them."""

    def __init__(self, queryset: models.QuerySet[M]) -> None:
        order = queryset.query.order_by or queryset.model._meta.ordering or ()
        names = [name for name in order if isinstance(name, str)]
        if len(names) != len(order) or len(names) not in (1, 2):
            raise ValueError("A keyset page needs a queryset ordered by one or two column names.")
        self.queryset = queryset.order_by(*names)
        self.columns = [(name.removeprefix("-"), name.startswith("-")) for name in names]
        self.fields = [self._field(name) for name, _ in self.columns]
        # The salt makes cursors of other lists and orders invalid.
        salt = f"keyset:{queryset.model._meta.label_lower}:{','.join(names)}"
        self.signer = signing.Signer(salt=salt)

    def _field(self, name: str) -> models.Field[Any, Any]:
        if name in self.queryset.query.annotations:
            field: models.Field[Any, Any] = self.queryset.query.annotations[name].output_field
            return field
        meta = self.queryset.model._meta
        try:
            found = meta.pk if name == "pk" else meta.get_field(name)
        except FieldDoesNotExist as error:
            raise ValueError(f"A keyset page cannot be ordered by {name!r}.") from error
        if not isinstance(found, models.Field) or found.null:
            raise ValueError(f"A keyset page cannot be ordered by {name!r}: it may be NULL.")
        return found

    def encode(self, row: M) -> str:
        values = [getattr(row, name) for name, _ in self.columns]
        return self.signer.sign_object([_text(value) for value in values])

    def decode(self, cursor: str | None) -> list[Any] | None:
        """The values in a signed cursor, or None if there is none or it is not valid."""
        if not cursor:
            return None
        try:
            texts = self.signer.unsign_object(cursor)
            return [field.to_python(text) for field, text in zip(self.fields, texts, strict=True)]
        except (signing.BadSignature, ValidationError, ValueError, TypeError):
            return None

    def read(self, after: Sequence[Any] | None, size: int, *, backwards: bool = False) -> list[M]:
        """See Read.

        With two columns, first those that share the first value and then the others: one condition
        for both would read all rows that share it, and they may be many.
        """
        queryset = self.queryset.reverse() if backwards else self.queryset
        if not after:
            return list(queryset[:size])
        conditions = [
            {f"{name}__{'lt' if descending != backwards else 'gt'}": value}
            for (name, descending), value in zip(self.columns, after, strict=True)
        ]
        found: list[M] = []
        if len(conditions) == 2:
            same = {self.columns[0][0]: after[0]}
            found = list(queryset.filter(**same, **conditions[1])[:size])
        if len(found) < size:
            found += queryset.filter(**conditions[0])[: size - len(found)]
        return found


def _text(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
