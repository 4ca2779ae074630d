"""The states of a change request. Imports no Django.

    open ──approve──> approved ──apply──> applied
      │ ^──────edit──────┘ │
      ├──request changes───┴──> refused ──edit──> open
      └──withdraw──> withdrawn

An approval counts for one version of the content, and none by an account that wrote a version.
Each function returns the next state or raises ReviewRefusedError with a sentence.
"""

from dataclasses import dataclass, replace
from enum import StrEnum


class ReviewState(StrEnum):
    OPEN = "open"
    APPROVED = "approved"
    REFUSED = "refused"  # changes were requested: it must be edited
    WITHDRAWN = "withdrawn"
    APPLIED = "applied"


CLOSED = frozenset({ReviewState.WITHDRAWN, ReviewState.APPLIED})


class ReviewRefusedError(Exception):
    """The step is not possible; the message is a sentence for staff."""


@dataclass(frozen=True, slots=True)
class Review:
    """`version` counts the edits, `fingerprint` is that of the content, `writers` are the accounts
    that wrote a version, and `approvers` those that approved this version."""

    state: ReviewState
    version: int
    fingerprint: str
    writers: frozenset[int]
    approvers: frozenset[int] = frozenset()


def submit(author: int, fingerprint: str) -> Review:
    return Review(ReviewState.OPEN, 1, fingerprint, frozenset({author}))


def edit(review: Review, user: int, fingerprint: str) -> Review:
    """Replace the content. All approvals are void, also if an earlier version had the same."""
    _check_not_closed(review)
    if fingerprint == review.fingerprint:
        raise ReviewRefusedError("This is the same as the version under review.")
    return Review(ReviewState.OPEN, review.version + 1, fingerprint, review.writers | {user})


def approve(review: Review, user: int, seen: str) -> Review:
    """`seen` is the fingerprint of the content that the person read."""
    _check_not_closed(review)
    if user in review.writers:
        raise ReviewRefusedError("You wrote this request, so another person must approve it.")
    if review.state is ReviewState.REFUSED:
        raise ReviewRefusedError("Changes were requested. It can be approved once it is edited.")
    _check_seen(review, seen)
    return replace(review, state=ReviewState.APPROVED, approvers=review.approvers | {user})


def request_changes(review: Review, user: int, seen: str) -> Review:
    """Block the request until it is edited."""
    _check_not_closed(review)
    if user in review.writers:
        raise ReviewRefusedError("Edit your own request, or withdraw it.")
    _check_seen(review, seen)
    return replace(review, state=ReviewState.REFUSED, approvers=frozenset())


def withdraw(review: Review, user: int) -> Review:
    _check_not_closed(review)
    if user not in review.writers:
        raise ReviewRefusedError("Only its author can withdraw a request.")
    return replace(review, state=ReviewState.WITHDRAWN, approvers=frozenset())


def apply(review: Review, seen: str) -> Review:
    _check_not_closed(review)
    if review.state is ReviewState.REFUSED:
        raise ReviewRefusedError("Changes were requested. Nothing was applied.")
    if review.state is not ReviewState.APPROVED or not review.approvers - review.writers:
        raise ReviewRefusedError("A second person must approve this version first.")
    _check_seen(review, seen)
    return replace(review, state=ReviewState.APPLIED)


def _check_not_closed(review: Review) -> None:
    if review.state in CLOSED:
        raise ReviewRefusedError(f"The request is {review.state} already.")


def _check_seen(review: Review, seen: str) -> None:
    if seen != review.fingerprint:
        raise ReviewRefusedError("It was edited since you opened it. Read the new version first.")
