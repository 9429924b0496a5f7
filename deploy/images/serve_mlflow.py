"""MLflow's server over Postgres. The password comes from the environment and never stands among a process's arguments.

DB_HOST, DB_USER, DB_PASSWORD; DB_PORT (5432), DB_NAME (mlflow) and DB_SSLMODE (require) as usual; the rest is MLflow's
own: MLFLOW_ARTIFACTS_DESTINATION, MLFLOW_SERVER_ALLOWED_HOSTS, MLFLOW_HOST, MLFLOW_PORT, MLFLOW_WORKERS (2).
"""

import os
import sys
from pathlib import Path
from urllib.parse import quote


def main() -> None:
    """Becomes `mlflow server`."""
    given = os.environ
    missing = [name for name in ("DB_HOST", "DB_USER", "DB_PASSWORD") if not given.get(name)]
    if missing:
        sys.exit(f"{missing[0]}: nothing is given. Mend: set it in the environment.")
    user, word = quote(given["DB_USER"], safe=""), quote(given["DB_PASSWORD"], safe="")
    where = f"{given['DB_HOST']}:{given.get('DB_PORT', '5432')}/{given.get('DB_NAME', 'mlflow')}"
    address = f"postgresql+psycopg2://{user}:{word}@{where}?sslmode={given.get('DB_SSLMODE', 'require')}"
    kept = {name: value for name, value in given.items() if name != "DB_PASSWORD"}
    kept["MLFLOW_BACKEND_STORE_URI"] = address
    listen = ["--host", given.get("MLFLOW_HOST", "0.0.0.0"), "--port", given.get("MLFLOW_PORT", "5000")]  # noqa: S104
    workers = given.get("MLFLOW_WORKERS", "2")
    mlflow = str(Path(sys.executable).parent / "mlflow")
    os.execve(mlflow, [mlflow, "server", *listen, "--serve-artifacts", "--workers", workers], kept)  # noqa: S606


if __name__ == "__main__":
    main()
