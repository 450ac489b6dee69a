"""What `golden` writes is what its manifest says, and scikit-learn's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from conftest import Outcome
from numpy.typing import NDArray

from lonetree_ml import forest_file
from lonetree_ml.forest import path_length_sums
from lonetree_ml.judge import judge


def test_every_file_is_as_the_manifest_describes(run: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = run("golden", "--output", tmp_path, "--rows", 1_000)
    assert outcome.report == {"output": str(tmp_path), "models": 9, "verdicts": 2, "auc": 4}
    manifest = json.loads((tmp_path / "manifest.json").read_text())

    def load(entry: dict[str, Any], key: str, dtype: str) -> NDArray[Any]:
        array = np.fromfile(tmp_path / entry[key], dtype)
        return array.reshape(entry["rowCount"], -1) if key == "rows" else array

    shapes = [
        (trees, samples, features) for trees, samples in ((100, 256), (200, 512), (300, 1024)) for features in (3, 9, 21)
    ]
    for entry, (trees, samples, features) in zip(manifest["models"], shapes, strict=True):
        forest = forest_file.read(tmp_path / entry["forest"])
        assert (len(forest.trees), forest.max_samples, len(forest.features)) == (trees, samples, features)
        rows = load(entry, "rows", "<f4")
        assert rows.shape == (1_000, features)
        assert len(np.unique(rows.view(np.uint32), axis=0)) == 1_000
        thresholds = np.unique(np.concatenate([tree.nodes["threshold"][~tree.is_leaf] for tree in forest.trees]))
        assert np.isin(rows, thresholds).sum() > 100
        assert np.isnan(rows).sum() > 100
        assert (np.abs(rows) > 1e8).sum() > 100
        np.testing.assert_array_equal(load(entry, "sums", "<f8"), path_length_sums(forest, rows))
        assert len(load(entry, "scores", "<f8")) == 1_000
    for entry in manifest["verdicts"]:
        forest = forest_file.read(tmp_path / entry["forest"])
        judged = judge(forest, load(entry, "rows", "<f4"))
        lines = (tmp_path / entry["reasons"]).read_text().splitlines()
        assert [json.loads(line) for line in lines] == judged.reasons()
        np.testing.assert_array_equal(load(entry, "severities", "<f8"), judged.severity)
        assert entry["rowCount"] == len(lines) == 20_000
    for entry in manifest["auc"]:
        assert 0.9 < entry["rocAuc"] < 1
        assert len(load(entry, "labels", "u1")) == len(load(entry, "rows", "<f4"))
