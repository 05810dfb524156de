"""The model itself: text in, probabilities out. Knows neither Django nor Celery nor MLflow."""
