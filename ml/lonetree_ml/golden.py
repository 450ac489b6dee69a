"""`golden`: writes what the scorer's tests compare with: models, rows and scikit-learn's own results, bit for bit.

manifest.json names every file, relative to the folder; numbers are little-endian, rows row-major (rowCount × features):

{"models": [{"name", "forest", "features", "rowCount", "rows": float32, "sums": float64, "scores": float64}],
 "verdicts": [{"name", "forest", "features", "rowCount", "rows": float32, "severities": float64, "reasons": JSON lines}],
 "auc": [{"name", "forest", "features", "rowCount", "rows": float32, "labels": uint8, "rocAuc"}]}

`sums` are path-length sums, `scores` scikit-learn's score_samples. A line of `reasons` is one row's list of them; a row is
abnormal when its list is not empty. The rows of a model are distinct; missing values are NaN, or infinite.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from lonetree_ml import export, forest_file, verdict
from lonetree_ml.arguments import Integer
from lonetree_ml.forest import scores_of
from lonetree_ml.judge import judge
from lonetree_ml.progress import counted
from lonetree_ml.table import read_table

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from numpy.typing import NDArray

    from lonetree_ml.forest import Forest

    Rows = NDArray[np.float32]

SIZES = ((100, 256), (200, 512), (300, 1024))
FEATURE_COUNTS = (3, 9, 21)
VERDICT_ROWS = 20_000
ADBENCH = ("4_breastw", "6_cardio", "32_shuttle", "38_thyroid")
DATA = Path(__file__).parents[2] / "data"
SIMULATED_FEATURES = ["temperature", "humidity", "sound"]


def simulated_rows(count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """Draw independent readings with the simulator's distributions. Shape (count, 3)."""
    columns = (
        generator.beta(53.822, 46.706, count) * 35 + 10,
        generator.beta(1.987, 7.945, count) * 88,
        generator.beta(264.759, 261.590, count) * 130 - 11,
    )
    return np.column_stack(columns)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--output", required=True, metavar="FOLDER")
    parser.add_argument(
        "--rows", type=Integer(1, 10_000_000), default=50_000, metavar="N", help="rows a model (default: 50000)"
    )


def run(options: Namespace) -> dict[str, Any]:
    """Write all files into the folder `options.output`."""
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    manifest: dict[str, list[dict[str, Any]]] = {"models": [], "verdicts": [], "auc": []}
    shapes = [(*size, feature_count) for size in SIZES for feature_count in FEATURE_COUNTS]
    for trees, samples, feature_count in counted(shapes, "golden models", len(shapes)):
        manifest["models"].append(_model(folder, trees, samples, feature_count, options.rows))
    for alarm_rate in (0.01, 0.001):
        manifest["verdicts"].append(_verdicts(folder, alarm_rate))
    for name in ADBENCH:
        manifest["auc"].append(_auc(folder, name))
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return {"output": str(folder), **{kind: len(entries) for kind, entries in manifest.items()}}


def _save(folder: Path, name: str, forest: Forest, rows: Rows, **arrays: NDArray[Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "features": list(forest.features), "rowCount": len(rows)}
    entry["forest"] = f"{name}.forest"
    forest_file.write(folder / entry["forest"], forest)
    for key, array in {"rows": rows, **arrays}.items():
        entry[key] = f"{name}.{key}"
        (folder / entry[key]).write_bytes(np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes())
    return entry


def _model(folder: Path, trees: int, samples: int, feature_count: int, row_count: int) -> dict[str, Any]:
    """Train on correlated, tied and partly missing columns; score rows at thresholds, beside them, far out, missing."""
    generator = np.random.default_rng([trees, samples, feature_count])
    training = _columns(20_000, feature_count, generator)
    training[generator.random(training.shape) < 0.02] = np.nan
    # Trees that look at a part of the features, and draws with replacement, belong to what has to be exact.
    is_partial = feature_count == 9
    model = IsolationForest(
        n_estimators=trees,
        max_samples=samples,
        max_features=0.6 if is_partial else 1.0,
        bootstrap=is_partial,
        random_state=trees,
    ).fit(training)
    forest = export.build(model, [f"f{index}" for index in range(feature_count)])
    rows = _hard_rows(_columns(row_count, feature_count, generator).astype(np.float32), forest, generator)
    sums = export.path_length_sums(model, rows)
    scores = model.score_samples(rows)
    # What is called scikit-learn's sums here must be what its score_samples makes its scores of.
    if not np.array_equal(scores_of(sums, forest.denominator), scores):
        raise AssertionError("the path-length sums are not those of scikit-learn's score_samples")
    return _save(folder, f"{trees}x{samples}-{feature_count}", forest, rows, sums=sums, scores=scores)


def _columns(count: int, feature_count: int, generator: np.random.Generator) -> NDArray[np.float64]:
    base = simulated_rows(count, generator)
    more = [base[:, index % 3] * generator.normal() + generator.normal(size=count) for index in range(3, feature_count)]
    columns = np.column_stack([base, *more])
    columns[:, feature_count - 1] = np.round(columns[:, feature_count - 1])  # ties, as coarse sensors have them
    return columns


def _hard_rows(ordinary: Rows, forest: Forest, generator: np.random.Generator) -> Rows:
    """Leave a quarter ordinary and make part of the others' values hard. No two rows are the same."""
    rows = ordinary.copy()
    tested = np.concatenate([tree.features[~tree.is_leaf] for tree in forest.trees])
    thresholds = np.concatenate([tree.nodes["threshold"][~tree.is_leaf] for tree in forest.trees])
    kind = np.arange(len(rows)) % 8
    chosen = generator.random(rows.shape) < 0.5
    for feature in range(rows.shape[1]):
        at_threshold = generator.choice(thresholds[tested == feature], len(rows))
        column = rows[:, feature]
        for hard, values in (
            (2, at_threshold),
            (3, np.nextafter(at_threshold, np.float32(np.inf))),
            (4, np.nextafter(at_threshold, np.float32(-np.inf))),
            (5, generator.normal(size=len(rows)).astype(np.float32) * np.float32(1e9)),
            (6, np.full(len(rows), np.nan, dtype=np.float32)),
            (7, generator.choice(np.array([-0.0, 0.0, 3.3e38, -3.3e38, 1e-45], dtype=np.float32), len(rows))),
        ):
            affected = chosen[:, feature] & (kind == hard)
            column[affected] = values[affected]
    # Rows whose every value became NaN or a special one meet each other: all but the first stay ordinary.
    repeated = _repeated(rows)
    rows[repeated] = ordinary[repeated]
    if _repeated(rows).any():
        raise AssertionError("two golden rows are the same")
    return rows


def _repeated(rows: Rows) -> NDArray[np.bool_]:
    """Whether an earlier row has the same bits. Shape (rows,)."""
    _, first = np.unique(rows.view(np.uint32), axis=0, return_index=True)
    repeated = np.ones(len(rows), dtype=bool)
    repeated[first] = False
    return repeated


def _verdicts(folder: Path, alarm_rate: float) -> dict[str, Any]:
    """Judge readings of the simulator's distributions, some with one value moved by six standard deviations or missing."""
    generator = np.random.default_rng(11)
    training = simulated_rows(43_825, generator)
    fitted = verdict.fit(training, alarm_rate=alarm_rate, seed=1)
    forest = export.build(fitted.forest, SIMULATED_FEATURES, verdict=fitted, training=training)
    rows = simulated_rows(VERDICT_ROWS, generator)
    rows[:2_000] = training[:2_000]  # calibration rows too: one of them is the threshold
    moved = np.arange(2_000, 6_000)
    feature = generator.integers(0, 3, len(moved))
    rows[moved, feature] += generator.choice([-6, 6], len(moved)) * training.std(axis=0)[feature]
    rows[6_000:6_500, 0] = np.nan
    rows[6_500:6_600, 1] = np.inf
    rows[6_600:6_700] = 1e9
    rows[6_700:6_800, 2] = np.nan
    narrow = rows.astype(np.float32)
    judged = judge(forest, narrow)
    name = f"verdicts-{alarm_rate:g}"
    entry = _save(folder, name, forest, narrow, severities=judged.severity)
    entry["reasons"] = f"{name}.reasons"
    (folder / entry["reasons"]).write_text("".join(f"{json.dumps(reasons)}\n" for reasons in judged.reasons()))
    return entry


def _auc(folder: Path, name: str) -> dict[str, Any]:
    table = read_table(DATA / "adbench" / f"{name}.npz")
    if table.labels is None:
        raise AssertionError(f"{name} has no labels")
    model = IsolationForest(random_state=0).fit(table.rows)
    forest = export.build(model, table.features)
    auc = float(roc_auc_score(table.labels, -model.score_samples(table.rows)))
    entry = _save(folder, name, forest, table.rows.astype(np.float32), labels=table.labels.astype(np.uint8))
    return {**entry, "rocAuc": auc}
