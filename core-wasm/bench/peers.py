"""Measures scikit-learn and onnxruntime for the benchmark: one JSON request a line on stdin, one answer a line on stdout.

{"prepare": {"features", "trees", "samples", "rows", "directory"}} fits a forest and writes model.skops, rows.f32, sums.f64.
{"measure": NAME, "batch": N, "seconds": S} answers nanoseconds a row, each call on other rows of the prepared ones.
{"check": NAME} answers the largest difference of NAME's scores from scikit-learn's.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

try:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper
except ImportError:  # the peer is reported as missing
    onnxruntime = None

Scores = Callable[[NDArray[np.float32]], NDArray[Any]]


def simulated_rows(count: int, feature_count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Distinct rows, shape (count, feature_count), of the simulator's three distributions over and over."""
    columns = [
        generator.beta(53.822, 46.706, count) * 35 + 10,
        generator.beta(1.987, 7.945, count) * 88,
        generator.beta(264.759, 261.590, count) * 130 - 11,
    ]
    more = [generator.permutation(columns[f % 3]) + generator.normal(0, 0.1, count) for f in range(3, feature_count)]
    return np.ascontiguousarray(np.stack((columns + more)[:feature_count], axis=1), dtype=np.float32)


def single_ensemble(forest: IsolationForest) -> bytes:
    """All trees as one ONNX TreeEnsembleRegressor that adds up the leaves' path lengths."""
    attributes: dict[str, list[Any]] = {
        name: []
        for name in (
            "nodes_treeids nodes_nodeids nodes_featureids nodes_values nodes_modes nodes_truenodeids nodes_falsenodeids "
            "target_treeids target_nodeids target_ids target_weights"
        ).split()
    }
    for index, (estimator, features) in enumerate(zip(forest.estimators_, forest.estimators_features_, strict=True)):
        tree = estimator.tree_
        values = forest._decision_path_lengths[index] + forest._average_path_length_per_tree[index] - 1.0
        for node in range(tree.node_count):
            is_leaf = tree.children_left[node] < 0
            attributes["nodes_treeids"].append(index)
            attributes["nodes_nodeids"].append(node)
            attributes["nodes_featureids"].append(0 if is_leaf else int(features[tree.feature[node]]))
            attributes["nodes_values"].append(0.0 if is_leaf else float(tree.threshold[node]))
            attributes["nodes_modes"].append("LEAF" if is_leaf else "BRANCH_LEQ")
            attributes["nodes_truenodeids"].append(0 if is_leaf else int(tree.children_left[node]))
            attributes["nodes_falsenodeids"].append(0 if is_leaf else int(tree.children_right[node]))
            if is_leaf:
                attributes["target_treeids"].append(index)
                attributes["target_nodeids"].append(node)
                attributes["target_ids"].append(0)
                attributes["target_weights"].append(float(values[node]))
    ensemble = helper.make_node(
        "TreeEnsembleRegressor", ["rows"], ["sums"], domain="ai.onnx.ml", n_targets=1, aggregate_function="SUM", **attributes
    )
    graph = helper.make_graph(
        [ensemble],
        "forest",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, forest.n_features_in_])],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, [None, 1])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


class Bench:
    """The prepared forest and rows, and each peer as a function from rows to scores."""

    def prepare(self, features: int, trees: int, samples: int, rows: int, directory: str) -> dict[str, Any]:
        generator = np.random.default_rng(7)
        self.rows = simulated_rows(rows, features, generator)
        training = simulated_rows(20_000, features, generator)
        self.forest = IsolationForest(n_estimators=trees, max_samples=samples, random_state=7, n_jobs=1).fit(training)
        self.peers: dict[str, Scores] = {"sklearn": self.forest.score_samples}
        self.at = 0
        denominator = trees * path_length_of(samples)
        if onnxruntime is not None:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = options.inter_op_num_threads = 1
            session = onnxruntime.InferenceSession(single_ensemble(self.forest), options, providers=["CPUExecutionProvider"])
            self.peers["onnxruntime-single"] = lambda x: -np.exp2(-session.run(None, {"rows": x})[0][:, 0] / denominator)
        path = Path(directory)
        skops.io.dump(self.forest, path / "model.skops")
        (path / "rows.f32").write_bytes(self.rows.tobytes())
        (path / "scores.f64").write_bytes(np.asarray(self.forest.score_samples(self.rows), dtype="<f8").tobytes())
        versions = {"scikit-learn": sklearn.__version__, "numpy": np.__version__, "python": sys.version.split()[0]}
        if onnxruntime is not None:
            versions["onnxruntime"] = onnxruntime.__version__
        return {"peers": list(self.peers), "versions": versions}

    def measure(self, name: str, batch: int, seconds: float) -> float:
        score = self.peers[name]
        elapsed, scored, sink = 0.0, 0, 0.0
        while elapsed < seconds or scored == 0:
            if self.at + batch > len(self.rows):
                self.at = 0
            part = self.rows[self.at : self.at + batch]
            self.at += batch
            began = time.perf_counter()
            sink += float(score(part)[0])
            elapsed += time.perf_counter() - began
            scored += len(part)
        if not np.isfinite(sink):
            raise AssertionError(f"{name} gave a score that is not finite")
        return elapsed / scored * 1e9

    def check(self, name: str) -> float:
        part = self.rows[:4096]
        return float(np.max(np.abs(self.peers[name](part) - self.forest.score_samples(part))))


def path_length_of(samples: int) -> float:
    """c(samples): the mean path length of an unsuccessful search in a binary search tree (Liu et al. 2008, eq. 1)."""
    return 2.0 * (np.log(samples - 1.0) + np.euler_gamma) - 2.0 * (samples - 1.0) / samples


def main() -> None:
    bench = Bench()
    for line in sys.stdin:
        request = json.loads(line)
        if "prepare" in request:
            answer = bench.prepare(**request["prepare"])
        elif "measure" in request:
            answer = {"nsPerRow": bench.measure(request["measure"], request["batch"], request["seconds"])}
        else:
            answer = {"difference": bench.check(request["check"])}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
