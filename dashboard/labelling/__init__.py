"""The pages under `/label/`, for people who label."""
