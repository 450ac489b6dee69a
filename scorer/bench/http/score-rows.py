"""scikit-learn's scores of float32 rows: score-rows.py SKOPS ROWS SCORES, files of raw numbers."""

import sys
from pathlib import Path

import numpy as np
from lonetree_ml import sklearn_file

model, rows, scores = (Path(argument) for argument in sys.argv[1:])
forest = sklearn_file.load(model)
table = np.fromfile(rows, dtype="<f4").reshape(-1, forest.n_features_in_)
forest.score_samples(table).astype("<f8").tofile(scores)
