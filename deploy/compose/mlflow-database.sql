-- MLflow's records lie beside Dagster's, in a database of their own.
CREATE DATABASE mlflow;
