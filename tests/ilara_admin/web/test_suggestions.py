"""A choice among many objects is typed, with suggestions that the page contains once."""

import pytest
from django import forms
from django.http import QueryDict

from ilara_admin.web.suggestions import MAX_LISTED, SuggestedChoiceField, Suggestions
from segments.editor.form_tree import Editor, rule_editor


class WhoForm(forms.Form):
    who = SuggestedChoiceField()


def suggestions(count: int) -> Suggestions:
    return Suggestions("keys", {f"key-{number}": f"Key <{number}>" for number in range(count)})


def who(count: int, data: dict[str, str] | None = None, initial: str = "*all*") -> WhoForm:
    form = WhoForm(data, initial={"who": initial})
    field = form.fields["who"]
    assert isinstance(field, SuggestedChoiceField)
    field.suggest(suggestions(count), empty=("*all*", "Everyone"))
    return form


def test_few_choices__are_listed_in_the_field() -> None:
    html = str(who(MAX_LISTED)["who"])
    assert html.startswith("<select")
    assert html.count("<option") == MAX_LISTED + 1
    assert 'value="*all*" selected' in html
    assert suggestions(MAX_LISTED).datalist == ""


def test_many_choices__are_suggested_by_a_list_outside_of_the_field() -> None:
    html = str(who(MAX_LISTED + 1, initial="key-3")["who"])
    assert html.startswith("<input")
    assert 'value="key-3"' in html
    assert 'list="keys"' in html
    datalist = suggestions(MAX_LISTED + 1).datalist
    assert datalist.count("<option") == MAX_LISTED + 1
    assert '<option value="key-0">Key &lt;0&gt;</option>' in datalist


def test_empty_input__means_the_first_choice() -> None:
    html = str(who(MAX_LISTED + 1)["who"])
    assert 'placeholder="Everyone"' in html
    assert "value=" not in html
    for typed in ("", " ", "*all*"):
        form = who(MAX_LISTED + 1, {"who": typed})
        assert form.is_valid()
        assert form.cleaned_data == {"who": "*all*"}


@pytest.mark.parametrize("count", [3, MAX_LISTED + 1])
def test_unknown_choice__is_refused(count: int) -> None:
    assert who(count, {"who": " key-1 "}).is_valid()
    assert "absent is not one of" in str(who(count, {"who": "absent"}).errors)


# --- Segments of a rule ---------------------------------------------------------------------------

KEYS = [f"s-{number}" for number in range(MAX_LISTED + 1)]


def editor(*segments: str) -> Editor:
    posted = QueryDict(mutable=True)
    posted["r-kind"], posted["r-operator"] = "group", "AND"
    posted["r-0-kind"], posted["r-0-operator"] = "segment", "in"
    posted.setlist("r-0-segments", list(segments))
    return rule_editor("r", posted, Suggestions("segment-keys", {key: key for key in KEYS}))


def test_typed_segment__is_added_to_the_chosen_ones() -> None:
    found = editor("s-2", "s-7")
    (condition,) = found.read()["conditions"]
    assert condition["value"] == ["s-2", "s-7"]
    html = str(found.root.parts[0].form["segments"])
    assert html.count("checkbox") == 2
    assert 'aria-label="Add a segment"' in html
    assert 'value="s-30"' not in html
    assert 'value="s-30"' in found.segments.datalist


def test_no_segment__is_an_error_at_the_input() -> None:
    found = editor("")
    assert found.read() is None
    (problem,) = found.faults
    html = str(found.root.parts[0].form["segments"])
    assert f'id="{problem.id}"' in html
    assert "checkbox" not in html
