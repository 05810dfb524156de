"""What posts are judged by (schemes, versions), the judgements (predictions, annotations), and
the record of training and quality."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import OuterRef, Q, Subquery
from django.utils import timezone

from ingestion.models import Post


class LabelScheme(models.Model):
    """A set of categories that posts are sorted into. A model version knows exactly one."""

    DEFAULT_KEY = "sentiment"

    key = models.SlugField(unique=True)
    name = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return self.name


class Category(models.Model):
    """One label of a scheme."""

    scheme = models.ForeignKey(LabelScheme, on_delete=models.CASCADE, related_name="categories")
    key = models.SlugField()
    name = models.CharField(max_length=100)
    color = models.CharField(
        max_length=7,
        default="#64748b",
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$", "Give a colour as #rrggbb.")],
    )
    polarity = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(-1), MaxValueValidator(1)],
        help_text="−1 (bad) to 1 (good); empty when the category has none.",
    )
    position = models.PositiveSmallIntegerField(
        default=0, help_text="The order of scores in a model trained for the scheme."
    )

    class Meta:
        ordering = ["scheme", "position", "id"]
        verbose_name_plural = "categories"
        constraints = [
            models.UniqueConstraint(fields=["scheme", "key"], name="category_key_once_a_scheme"),
            models.CheckConstraint(
                condition=Q(polarity__isnull=True) | Q(polarity__gte=-1, polarity__lte=1),
                name="category_polarity_range",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class AnnotationQuerySet(models.QuerySet["Annotation"]):
    def current(self) -> AnnotationQuerySet:
        """The annotations in force; replaced ones stay as history."""
        return self.filter(replaced_at__isnull=True)

    def usable(self) -> AnnotationQuerySet:
        """Those in force whose post is not deleted. An edit leaves the label of what it replaced
        alone: a label judges the text that the person saw."""
        return self.current().filter(post__deleted_at__isnull=True)

    def usable_at(self, moment: datetime) -> AnnotationQuerySet:
        """Those in force at a moment whose post is not deleted now."""
        in_force = Q(replaced_at__isnull=True) | Q(replaced_at__gt=moment)
        return self.filter(in_force, created_at__lte=moment, post__deleted_at__isnull=True)

    def since(self, moment: datetime) -> AnnotationQuerySet:
        return self.filter(created_at__gt=moment)


class Annotation(models.Model):
    """A human's label of a post. One in force a person, post and scheme; older ones are kept."""

    class Origin(models.TextChoices):
        HUMAN = "human", "human"
        IMPORT = "import", "import"

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="annotations")
    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="annotations")
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="annotations")
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="annotations",
        help_text="Empty for imported labels.",
    )
    origin = models.CharField(max_length=8, choices=Origin.choices, default=Origin.HUMAN)
    created_at = models.DateTimeField(default=timezone.now)
    replaced_at = models.DateTimeField(null=True, blank=True)

    objects = AnnotationQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["post", "scheme", "annotator"],
                condition=Q(replaced_at__isnull=True, annotator__isnull=False),
                name="annotation_one_a_person",
            ),
            models.UniqueConstraint(
                fields=["post", "scheme"],
                condition=Q(replaced_at__isnull=True, annotator__isnull=True),
                name="annotation_one_import",
            ),
        ]
        indexes = [models.Index(fields=["scheme", "-created_at"], name="annotation_newest")]

    def __str__(self) -> str:
        return f"{self.post_id}: {self.category_id}"


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def champions(self) -> ModelVersionQuerySet:
        return self.filter(stage=ModelVersion.Stage.CHAMPION)

    def of_scheme(self, key: str) -> ModelVersionQuerySet:
        return self.filter(scheme__key=key)


class ModelVersion(models.Model):
    """A trained artefact in the registry. This row, mirrored by the MLflow alias, is the truth
    about what serves."""

    class Stage(models.TextChoices):
        CANDIDATE = "candidate", "candidate"
        CHALLENGER = "challenger", "challenger"
        CHAMPION = "champion", "champion"
        ARCHIVED = "archived", "archived"

    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="versions")
    version = models.PositiveIntegerField(help_text="The version number in MLflow.")
    run_id = models.CharField(max_length=64, help_text="The MLflow run that made it.")
    base_model = models.CharField(max_length=255)
    stage = models.CharField(max_length=16, choices=Stage.choices, default=Stage.CANDIDATE)
    metrics = models.JSONField(default=dict, blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    reference = models.JSONField(
        default=dict,
        blank=True,
        help_text="Distribution of features, labels and confidence at training: drift's baseline.",
    )
    temperature = models.FloatField(default=1.0, validators=[MinValueValidator(0.01)])
    dataset_digest = models.CharField(max_length=64, blank=True)
    posts = models.ManyToManyField(
        Post, through="TrainingPost", related_name="trained_versions", editable=False
    )
    forgotten_posts = models.PositiveIntegerField(
        default=0, help_text="Posts of its data set that were deleted at their source since."
    )
    train_size = models.PositiveIntegerField(default=0)
    validation_size = models.PositiveIntegerField(default=0)
    test_size = models.PositiveIntegerField(default=0)
    artifact_uri = models.CharField(max_length=1024)
    artifact_digests = models.JSONField(default=dict, help_text="File name → SHA-256.")
    gate = models.JSONField(
        default=dict, blank=True, help_text="The gate's last verdict, with each figure."
    )
    created_at = models.DateTimeField(default=timezone.now)
    promoted_at = models.DateTimeField(null=True, blank=True)

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(fields=["scheme", "version"], name="version_once_a_scheme"),
            models.UniqueConstraint(
                fields=["scheme"], condition=Q(stage="champion"), name="version_one_champion"
            ),
            models.UniqueConstraint(
                fields=["scheme"], condition=Q(stage="challenger"), name="version_one_challenger"
            ),
            models.CheckConstraint(condition=Q(temperature__gt=0), name="version_temperature"),
        ]

    def __str__(self) -> str:
        return f"{self.scheme_id}/{self.version}"


class TrainingPost(models.Model):
    """That a version learned from a post, or was judged on it."""

    class Split(models.TextChoices):
        TRAIN = "train", "training"
        VALIDATION = "validation", "validation"
        TEST = "test", "test"

    version = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="training_posts"
    )
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="training_posts")
    split = models.CharField(max_length=10, choices=Split.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["version", "post"], name="training_post_once"),
        ]

    def __str__(self) -> str:
        return f"{self.version_id}: {self.post_id} ({self.split})"


class PromotionQuerySet(models.QuerySet["Promotion"]):
    def at(self, moment: datetime) -> PromotionQuerySet:
        """What served at a moment: one line a scheme that had a champion, in one query."""
        lines = Promotion.objects.filter(scheme=OuterRef("scheme"), promoted_at__lte=moment)
        newest = lines.order_by("-promoted_at", "-id").values("pk")[:1]
        return self.filter(pk=Subquery(newest))


class Promotion(models.Model):
    """One line of the promotion ledger: what served from `promoted_at` on, and why."""

    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="promotions")
    version = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="promotions")
    previous = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    promoted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True
    )
    actor = models.CharField(
        max_length=150, blank=True, help_text="Who or what did it, also when the user is gone."
    )
    reason = models.CharField(max_length=500, blank=True)
    promoted_at = models.DateTimeField(default=timezone.now)

    objects = PromotionQuerySet.as_manager()

    class Meta:
        ordering = ["-promoted_at", "-id"]
        indexes = [models.Index(fields=["scheme", "-promoted_at"], name="promotion_newest")]

    def __str__(self) -> str:
        return f"{self.version_id} at {self.promoted_at:%Y-%m-%d %H:%M}"


class PredictionQuerySet(models.QuerySet["Prediction"]):
    def serving(self) -> PredictionQuerySet:
        """The judgement shown for each post: that of the champion of its time."""
        return self.filter(is_serving=True)

    def of_current_posts(self) -> PredictionQuerySet:
        """Of what counts: not of deleted posts, nor of versions that an edit has replaced."""
        return self.filter(post__deleted_at__isnull=True, post__is_superseded=False)


class Prediction(models.Model):
    """One version's judgement of one post."""

    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="predictions")
    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="+")
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="predictions"
    )
    category = models.ForeignKey(Category, on_delete=models.PROTECT, related_name="predictions")
    confidence = models.FloatField(help_text="Probability of the category, 0 to 1.")
    scores = models.JSONField(help_text="Category key → probability.")
    is_serving = models.BooleanField(
        default=True, help_text="Made by the champion; a challenger's are kept beside it."
    )
    created_at = models.DateTimeField(default=timezone.now)

    objects = PredictionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["post", "model_version"], name="prediction_once_a_version"
            ),
            models.UniqueConstraint(
                fields=["post", "scheme"],
                condition=Q(is_serving=True),
                name="prediction_one_serving",
            ),
            models.CheckConstraint(
                condition=Q(confidence__gte=0, confidence__lte=1),
                name="prediction_confidence_range",
            ),
        ]
        indexes = [
            models.Index(fields=["category", "-id"], name="prediction_category_newest"),
            models.Index(fields=["-created_at"], name="prediction_newest"),
            models.Index(
                fields=["confidence"], condition=Q(is_serving=True), name="prediction_uncertain"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.post_id}: {self.category_id} ({self.confidence:.2f})"


class QualityReport(models.Model):
    """The state of a window of posts against the champion's training reference."""

    scheme = models.ForeignKey(LabelScheme, on_delete=models.CASCADE, related_name="reports")
    model_version = models.ForeignKey(
        ModelVersion, on_delete=models.SET_NULL, null=True, related_name="reports"
    )
    window_start = models.DateTimeField()
    window_end = models.DateTimeField()
    post_count = models.PositiveIntegerField(default=0)
    statistics = models.JSONField(
        default=dict, help_text="Name → value, threshold and verdict (ok, drift, too_few)."
    )
    summary = models.JSONField(default=dict, help_text="Counts, shares and confidence.")
    accuracy = models.JSONField(
        default=dict,
        blank=True,
        help_text="Estimated without labels, with its interval; the true one once labels came.",
    )
    has_drift = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.CheckConstraint(
                condition=Q(window_end__gte=models.F("window_start")), name="report_window_order"
            ),
        ]
        indexes = [models.Index(fields=["scheme", "-created_at"], name="report_newest")]

    def __str__(self) -> str:
        return f"{self.window_start:%Y-%m-%d %H:%M} to {self.window_end:%Y-%m-%d %H:%M}"


class TrainingRun(models.Model):
    """One training, asked for by a person or decided by the retraining check."""

    class Status(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        SUCCEEDED = "succeeded", "succeeded"
        REJECTED = "rejected", "rejected by the gate"
        FAILED = "failed", "failed"
        INTERRUPTED = "interrupted", "interrupted, goes on from its checkpoint"

    # Of these a scheme has at most one.
    ACTIVE = (Status.QUEUED, Status.RUNNING, Status.INTERRUPTED)

    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="runs")
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.QUEUED)
    is_automatic = models.BooleanField(default=False)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True
    )
    triggers = models.JSONField(
        default=dict, blank=True, help_text="Trigger → value, threshold and whether it fired."
    )
    reason = models.CharField(max_length=500, blank=True)
    parameters = models.JSONField(default=dict, blank=True)
    progress = models.FloatField(default=0, help_text="0 to 1.")
    message = models.CharField(max_length=500, blank=True, help_text="What it is doing now.")
    seconds_left = models.FloatField(null=True, blank=True, help_text="Estimated.")
    loss = models.FloatField(null=True, blank=True, help_text="Mean training loss of late.")
    history = models.JSONField(
        default=list, blank=True, help_text="One entry an epoch: loss and validation metrics."
    )
    options = models.JSONField(
        default=dict, blank=True, help_text="What was asked for: teacher, data file, arguments."
    )
    attempts = models.PositiveSmallIntegerField(
        default=0, help_text="How often it was started; more than once after interruptions."
    )
    worker = models.CharField(max_length=100, blank=True, help_text="Host and process that has it.")
    error = models.TextField(blank=True)
    version = models.OneToOneField(
        ModelVersion, on_delete=models.SET_NULL, null=True, blank=True, related_name="training_run"
    )
    gate = models.JSONField(default=dict, blank=True, help_text="The verdict, with each figure.")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["scheme"],
                condition=Q(status__in=["queued", "running", "interrupted"]),
                name="run_one_active_a_scheme",
            ),
            models.CheckConstraint(
                condition=Q(progress__gte=0, progress__lte=1), name="run_progress_range"
            ),
        ]
        indexes = [models.Index(fields=["scheme", "-created_at"], name="run_newest")]

    def __str__(self) -> str:
        return f"run {self.pk}: {self.status}"

    @property
    def is_active(self) -> bool:
        return self.status in self.ACTIVE


class Experiment(models.Model):
    """Champion against challenger on live posts."""

    class Mode(models.TextChoices):
        SHADOW = "shadow", "shadow: the challenger judges too, the champion serves"
        SPLIT = "split", "split: the challenger serves a share"

    scheme = models.ForeignKey(LabelScheme, on_delete=models.PROTECT, related_name="experiments")
    champion = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    challenger = models.ForeignKey(ModelVersion, on_delete=models.PROTECT, related_name="+")
    mode = models.CharField(max_length=8, choices=Mode.choices, default=Mode.SHADOW)
    share = models.FloatField(default=1.0, help_text="Of posts that take part, 0 to 1.")
    started_at = models.DateTimeField(default=timezone.now)
    stopped_at = models.DateTimeField(null=True, blank=True)
    result: models.JSONField[dict[str, Any], dict[str, Any]] = models.JSONField(
        default=dict, blank=True
    )

    class Meta:
        ordering = ["-started_at"]
        constraints = [
            models.CheckConstraint(
                condition=Q(share__gt=0, share__lte=1), name="experiment_share_range"
            ),
            models.CheckConstraint(
                condition=~Q(champion=models.F("challenger")), name="experiment_two_versions"
            ),
            models.UniqueConstraint(
                fields=["scheme"],
                condition=Q(stopped_at__isnull=True),
                name="experiment_one_running",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.champion_id} against {self.challenger_id} ({self.mode})"
