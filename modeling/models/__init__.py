"""What posts are judged by (schemes, versions), the judgements (predictions, annotations), who is
asked for one (assignments), and the record of training and quality."""

from modeling.models.annotations import Annotation, AnnotationQuerySet
from modeling.models.labelling import Assignment, AssignmentQuerySet
from modeling.models.predictions import (
    Attempt,
    AttemptQuerySet,
    Prediction,
    PredictionQuerySet,
)
from modeling.models.quality import QualityReport
from modeling.models.runs import TrainingRun
from modeling.models.schemes import Category, LabelScheme
from modeling.models.versions import (
    Experiment,
    ModelVersion,
    ModelVersionQuerySet,
    Promotion,
    PromotionQuerySet,
    TrainingPost,
)

__all__ = [
    "Annotation",
    "AnnotationQuerySet",
    "Assignment",
    "AssignmentQuerySet",
    "Attempt",
    "AttemptQuerySet",
    "Category",
    "Experiment",
    "LabelScheme",
    "ModelVersion",
    "ModelVersionQuerySet",
    "Prediction",
    "PredictionQuerySet",
    "Promotion",
    "PromotionQuerySet",
    "QualityReport",
    "TrainingPost",
    "TrainingRun",
]
