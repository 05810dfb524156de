"""Answering for the model: versions, promotions, trainings and quality reports, for people."""
