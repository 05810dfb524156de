-- MLflow keeps its rows beside the app's, in a database of its own.
CREATE DATABASE mlflow;
