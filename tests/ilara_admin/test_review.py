"""The states of a change request, against a list of what happened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ilara_admin.core import review
from ilara_admin.core.review import Review, ReviewRefusedError, ReviewState

ANA, BO, CY = 1, 2, 3
people = st.sampled_from([ANA, BO, CY])
contents = st.sampled_from(["a", "b", "c"])
steps = st.one_of(
    st.tuples(st.just("edit"), people, contents),
    st.tuples(st.just("approve"), people, contents),
    st.tuples(st.just("request_changes"), people, contents),
    st.tuples(st.just("withdraw"), people),
    st.tuples(st.just("apply"), contents),
)


def is_approved(taken: list[tuple[object, ...]], author: int, first: str) -> bool:
    """From the steps that were possible: the last edit is approved, as read, by an account that
    wrote no version, and nobody asked for changes since."""
    edits = [place for place, step in enumerate(taken) if step[0] == "edit"]
    writers = {author, *(taken[place][1] for place in edits)}
    content = taken[edits[-1]][2] if edits else first
    since = taken[edits[-1] + 1 if edits else 0 :]
    approved = any(
        step[0] == "approve" and step[1] not in writers and step[2] == content for step in since
    )
    return approved and not any(step[0] in ("request_changes", "withdraw") for step in since)


@given(people, contents, st.lists(steps, max_size=14))
def test_apply__needs_an_approval_of_the_content_by_another(
    author: int, first: str, tried: list[tuple[object, ...]]
) -> None:
    now = review.submit(author, first)
    taken: list[tuple[object, ...]] = []
    for name, *arguments in tried:
        try:
            following: Review = getattr(review, str(name))(now, *arguments)
        except ReviewRefusedError:
            continue
        if name == "apply":
            assert arguments == [now.fingerprint]
            assert is_approved(taken, author, first)
        now = following
        taken.append((name, *arguments))
    closed = [step[0] for step in taken if step[0] in ("apply", "withdraw")]
    assert closed in ([], [taken[-1][0]] if taken else [])
    assert (now.state in review.CLOSED) == bool(closed)


def approved() -> Review:
    return review.approve(review.submit(ANA, "a"), BO, "a")


def test_approved_by_another__is_applied() -> None:
    assert review.apply(approved(), "a").state is ReviewState.APPLIED


def test_author__cannot_approve() -> None:
    with pytest.raises(ReviewRefusedError, match="another person must approve it"):
        review.approve(review.submit(ANA, "a"), ANA, "a")


def test_who_edited_it__cannot_approve() -> None:
    edited = review.edit(review.submit(ANA, "a"), BO, "b")
    with pytest.raises(ReviewRefusedError, match="another person must approve it"):
        review.approve(edited, BO, "b")


def test_edit__voids_approvals_even_if_it_is_taken_back() -> None:
    edited = review.edit(review.edit(approved(), ANA, "b"), ANA, "a")
    assert edited.state is ReviewState.OPEN
    with pytest.raises(ReviewRefusedError, match="must approve this version"):
        review.apply(edited, "a")


def test_changes_requested__block_until_edited() -> None:
    refused = review.request_changes(approved(), CY, "a")
    with pytest.raises(ReviewRefusedError, match="Changes were requested"):
        review.approve(refused, BO, "a")
    with pytest.raises(ReviewRefusedError, match="Changes were requested"):
        review.apply(refused, "a")
    assert review.approve(review.edit(refused, ANA, "b"), BO, "b").state is ReviewState.APPROVED


def test_same_content__is_no_edit() -> None:
    with pytest.raises(ReviewRefusedError, match="same as the version"):
        review.edit(approved(), ANA, "a")


def test_older_version__cannot_be_approved_or_applied() -> None:
    edited = review.edit(review.submit(ANA, "a"), ANA, "b")
    with pytest.raises(ReviewRefusedError, match="edited since"):
        review.approve(edited, BO, "a")
    with pytest.raises(ReviewRefusedError, match="edited since"):
        review.apply(review.approve(edited, BO, "b"), "a")
