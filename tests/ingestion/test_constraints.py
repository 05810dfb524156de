"""What must always be true, violated."""

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from ingestion.models import Connection, MonthlyUsage, Post, Stream
from tests.ingestion.factories import stream

pytestmark = pytest.mark.django_db


def refused(create: object) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        create()  # type: ignore[operator]


def test_a_stream_of_x_needs_a_query() -> None:
    refused(lambda: stream(query=""))


def test_a_query_is_active_once() -> None:
    stream(query="cats")
    refused(lambda: stream(query="cats"))
    stream(query="cats", is_active=False)


def test_languages_are_a_list_of_codes() -> None:
    with pytest.raises(ValidationError, match="list of language codes"):
        Stream(name="a", query="b", languages="en").full_clean()


def test_a_post_has_a_text_unless_it_is_deleted() -> None:
    now = timezone.now()
    refused(lambda: Post.objects.create(source="x", external_id="1", text="", created_at=now))
    Post.objects.create(source="x", external_id="1", text="", created_at=now, deleted_at=now)


def test_a_lease_expires() -> None:
    refused(lambda: Connection.objects.create(source="x", lease_owner="me"))


def test_usage_is_counted_once_a_month() -> None:
    month = timezone.now().date().replace(day=1)
    MonthlyUsage.objects.create(source="x", month=month)
    refused(lambda: MonthlyUsage.objects.create(source="x", month=month))
