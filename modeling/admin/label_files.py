"""Labels from files and into files, in the admin."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from functools import partial
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from modeling.downloads import download, safe_cell
from modeling.models import LabelScheme
from modeling.services import label_files
from modeling.services.annotate import labelled_rows

# Larger ones would keep the browser waiting: the command shows how far it is.
MOST_BYTES = 10 * 1024 * 1024
MOST_UNPACKED = 100 * 1024 * 1024
ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson", ".json")
_NAME = "modeling_annotation"
MEDIA_TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


class ImportForm(forms.Form):
    """A file, and where its texts and labels are."""

    file = forms.FileField(help_text="At most 10 MB; import_labels takes more.")
    scheme = forms.ModelChoiceField(LabelScheme.objects.all(), empty_label=None)
    text_column = forms.CharField(initial="text", max_length=100)
    label_column = forms.CharField(initial="label", max_length=100)

    def clean_file(self) -> UploadedFile:
        file: UploadedFile = self.cleaned_data["file"]
        if (file.size or 0) > MOST_BYTES:
            raise forms.ValidationError(
                "The file has over 10 MB: run `manage.py import_labels FILE` instead."
            )
        if not (file.name or "").lower().removesuffix(".gz").endswith(ENDINGS):
            raise forms.ValidationError(f"The name must end in {', '.join(ENDINGS)} (or .gz).")
        return file


class LabelFiles(admin.ModelAdmin):
    """Adds import and export to a list of labels."""

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("import/", self.admin_site.admin_view(self.import_file), name=f"{_NAME}_import"),
            path(
                "export.<str:format>",
                self.admin_site.admin_view(self.export),
                name=f"{_NAME}_export",
            ),
        ]
        return [*own, *super().get_urls()]

    def import_file(self, request: HttpRequest) -> HttpResponse:
        """Asks for a file, imports it, and says what it changed."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = ImportForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                told = _import(**form.cleaned_data)
            except label_files.LabelFileError as error:
                form.add_error("file", str(error))
            else:
                self.message_user(request, told, messages.SUCCESS)
                return HttpResponseRedirect(reverse(f"admin:{_NAME}_changelist"))
        context = {**self.admin_site.each_context(request), "title": "Import labels", "form": form}
        return TemplateResponse(request, "admin/modeling/annotation/import.html", context)

    def export(self, request: HttpRequest, format: str) -> HttpResponseBase:
        """Every label in force of a scheme (`?scheme=`, else the default one)."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        key = request.GET.get("scheme", LabelScheme.DEFAULT_KEY)
        scheme = LabelScheme.objects.filter(key=key).first()
        if scheme is None or format not in MEDIA_TYPES:
            raise Http404("There is no such scheme or format.")
        rows = labelled_rows(scheme)
        if format == "csv":
            safe = ({name: safe_cell(value) for name, value in row.items()} for row in rows)
            lines = label_files.as_csv(safe)
        else:
            lines = label_files.as_jsonl(rows)
        return download(
            request,
            (line.encode() for line in lines),
            media_type=MEDIA_TYPES[format],
            filename=f"labels-{scheme.key}.{format}",
        )


def _check_unpacked(path: Path) -> None:
    """Raise LabelFileError where a small file unpacks to more than memory should hold."""
    if path.suffix.lower() != ".gz":
        return
    try:
        with gzip.open(path) as file:
            size = sum(len(piece) for piece in islice(iter(partial(file.read, 1 << 20), b""), 101))
    except (OSError, EOFError, zlib.error) as error:
        raise label_files.LabelFileError(f"{path} cannot be read: {error}") from error
    if size > MOST_UNPACKED:
        raise label_files.LabelFileError(
            f"{path} unpacks to over 100 MB: run `manage.py import_labels FILE` instead"
        )


def _import(
    file: UploadedFile, scheme: LabelScheme, text_column: str, label_column: str, **_: Any
) -> str:
    labels = list(scheme.categories.values_list("key", flat=True))
    name = PurePath(file.name or "labels.csv").name
    with tempfile.TemporaryDirectory(prefix="labels-") as folder:
        copy = Path(folder) / name
        with copy.open("wb") as target:
            target.writelines(file.chunks())
        try:
            _check_unpacked(copy)
            rows = label_files.read(copy, text_column, label_column, labels)
        except label_files.LabelFileError as error:
            # The name that the person knows, not where the copy lies.
            raise label_files.LabelFileError(str(error).replace(str(copy), name)) from error
    done = label_files.import_rows(scheme, rows, progress=lambda count: None)
    return f"{len(rows)} rows: {done}."
