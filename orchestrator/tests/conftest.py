"""Airflow's own home and database, made once and before Airflow is imported: it reads its settings then."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

DAGS = Path(__file__).parents[1] / "dags"
HOME = tempfile.mkdtemp(prefix="lonetree-airflow-")
atexit.register(shutil.rmtree, HOME)
os.environ |= {
    "AIRFLOW_HOME": HOME,
    "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    "LONETREE_PYTHON": str(Path(__file__).parent / "stand_in.py"),
    "SHADOW_SECONDS": "1",
}
sys.path.insert(0, str(DAGS))
