"""The forest as an MLflow model: its predictions are scikit-learn's scores, which the sklearn flavour cannot serve.

Run as a program it saves the model: peer-mlflow.py SKOPS FOLDER.
"""

import sys
from pathlib import Path

import mlflow
import numpy as np
import skops.io
from mlflow.pyfunc import PythonModel, PythonModelContext


class Forest(PythonModel):
    """Rows in, scores out."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the forest once, when the server starts."""
        self.forest = skops.io.load(context.artifacts["forest"], trusted=["sklearn.tree._tree.Tree"])
        self.forest.set_params(n_jobs=1)

    def predict(self, model_input: np.ndarray) -> np.ndarray:
        """Answer scikit-learn's scores."""
        return self.forest.score_samples(model_input)


if __name__ == "__main__":
    mlflow.pyfunc.save_model(
        sys.argv[2],
        python_model=Path(__file__),
        artifacts={"forest": sys.argv[1]},
        # What the model needs is installed: nothing has to be found out.
        pip_requirements=[],
    )
else:
    mlflow.models.set_model(Forest())
