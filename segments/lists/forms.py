"""Forms of the list pages."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile

from ilara_admin.web.filters import FilterForm
from segments.lists.csv_reader import MAX_CHARACTERS, FileRefusedError, checked, read_ids
from segments.lists.services import MAX_IDS

MAX_UPLOAD_BYTES = 64 * 1024 * 1024
PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}


class MemberFilterForm(FilterForm):
    q = forms.CharField(
        label="External id starts with",
        required=False,
        max_length=MAX_CHARACTERS,
        widget=forms.TextInput(attrs={**PLAIN, "type": "search", "class": "mono"}),
    )


class IdsForm(forms.Form):
    ids = forms.CharField(
        label="External ids",
        help_text=f"One per line, up to {MAX_IDS:,}, or a table with a column external_id. Players "
        "may register later.",
        widget=forms.Textarea(attrs={**PLAIN, "rows": 4, "class": "mono"}),
    )
    reason = forms.CharField(max_length=500, required=False, help_text="Stored in the audit log.")

    def clean_ids(self) -> list[str]:
        """As in a file, so that a column copied from a spreadsheet works."""
        try:
            rows = list(read_ids([self.cleaned_data["ids"].encode(errors="surrogatepass")]))
        except FileRefusedError as error:
            raise ValidationError(str(error)) from None
        if faulty := next((row for row in rows if row.problem), None):
            raise ValidationError(f"Line {faulty.number} {faulty.problem}.")
        self.cleaned_data["column"] = rows[0].column if rows else ""
        return list(dict.fromkeys(row.external_id for row in rows))


class ImportForm(forms.Form):
    file = forms.FileField(
        label="CSV file",
        help_text="One id per line, or a table with a column <code>external_id</code>. The ids of "
        "registered players work as well.",
        widget=forms.ClearableFileInput(attrs={"accept": ".csv,.txt,text/csv,text/plain"}),
    )
    replace = forms.BooleanField(
        label="Replace the list",
        required=False,
        help_text="Removes all other ids.",
    )
    reason = forms.CharField(max_length=500, required=False, help_text="Stored in the audit log.")

    def clean_file(self) -> Any:
        file: UploadedFile[Any] = self.cleaned_data["file"]
        if (file.size or 0) > MAX_UPLOAD_BYTES:
            raise ValidationError(
                f"The file is larger than {MAX_UPLOAD_BYTES // 1024**2} MiB. Import it with "
                "`manage.py segment_import`."
            )
        try:
            checked(file.chunks())
        except FileRefusedError as error:
            raise ValidationError(str(error)) from None
        return file
