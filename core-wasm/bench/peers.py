"""Measures peers written in or for Python: one JSON request a line on stdin, one answer a line on stdout.

{"prepare": {"features", "trees", "samples", "rows", "directory", "peers"}} fits a forest, writes model.skops, rows.f32 and
sums.f64 (path-length sums), and single.onnx for onnxruntime-web; answers why peers that were asked for are not there.
{"measure": NAME, "batch": N, "seconds": S} answers nanoseconds a row, each call on other rows of the prepared ones.
{"check": NAME} answers the largest difference of NAME's scores from scikit-learn's.
"""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
import skops.io
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

Rows = NDArray[np.float32]
Scores = Callable[[Any], NDArray[Any]]


class Peer(NamedTuple):
    """`score` takes what `load` makes of rows, shape (n, features); loading is not measured, as nobody's is."""

    version: str
    load: Callable[[Rows], Any]
    score: Scores


def as_they_are(rows: Rows) -> Rows:
    return rows


def simulated_rows(count: int, feature_count: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """Distinct rows, shape (count, feature_count), of the simulator's three distributions over and over."""
    columns = [
        generator.beta(53.822, 46.706, count) * 35 + 10,
        generator.beta(1.987, 7.945, count) * 88,
        generator.beta(264.759, 261.590, count) * 130 - 11,
    ]
    more = [generator.permutation(columns[f % 3]) + generator.normal(0, 0.1, count) for f in range(3, feature_count)]
    return np.ascontiguousarray(np.stack((columns + more)[:feature_count], axis=1), dtype=np.float32)


def rounded_down(threshold: float) -> float:
    """The largest float32 that is not above: rows are float32, so no comparison changes, as it would by rounding to nearest."""
    nearest = np.float32(threshold)
    return float(nearest if nearest <= threshold else np.nextafter(nearest, np.float32(-np.inf)))


def single_ensemble(forest: IsolationForest) -> bytes:
    """All trees as one ONNX TreeEnsembleRegressor that adds up the leaves' path lengths."""
    import onnx
    from onnx import TensorProto, helper

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
            attributes["nodes_values"].append(0.0 if is_leaf else rounded_down(tree.threshold[node]))
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


def path_length_sums(forest: IsolationForest, rows: Rows) -> NDArray[np.float64]:
    """What scikit-learn adds up before it makes scores of it, in its order and precision, shape (n,)."""
    sums = np.zeros(len(rows))
    for tree, (estimator, features) in enumerate(zip(forest.estimators_, forest.estimators_features_, strict=True)):
        leaves = estimator.tree_.apply(np.ascontiguousarray(rows[:, features]))
        sums += forest._decision_path_lengths[tree][leaves] + forest._average_path_length_per_tree[tree][leaves] - 1.0
    return sums


def onnx_session(model: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def make_onnxruntime_single(forest: IsolationForest, _: Path) -> Peer:
    import onnxruntime

    session = onnx_session(single_ensemble(forest))
    denominator = len(forest.estimators_) * path_length_of(forest.max_samples_)
    return Peer(
        onnxruntime.__version__, as_they_are, lambda x: -np.exp2(-session.run(None, {"rows": x})[0][:, 0] / denominator)
    )


def make_onnxruntime_skl2onnx(forest: IsolationForest, _: Path) -> Peer:
    import onnxruntime
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType

    inputs = [("rows", FloatTensorType([None, forest.n_features_in_]))]
    model = skl2onnx.convert_sklearn(forest, initial_types=inputs, target_opset={"": 17, "ai.onnx.ml": 3})
    session = onnx_session(model.SerializeToString())
    # skl2onnx's second output is the decision function, score − offset.
    version = f"{skl2onnx.__version__} on onnxruntime {onnxruntime.__version__}"
    return Peer(version, as_they_are, lambda x: session.run(None, {"rows": x})[1][:, 0] + forest.offset_)


def make_tl2cgen(forest: IsolationForest, folder: Path) -> Peer:
    import tl2cgen
    import treelite

    library = folder / "tl2cgen.so"
    with contextlib.redirect_stdout(sys.stderr):
        tl2cgen.export_lib(
            treelite.sklearn.import_model(forest),
            toolchain="gcc",
            libpath=library,
            params={"parallel_comp": 8},
            options=["-O3", "-march=native"],
        )
        predictor = tl2cgen.Predictor(library, nthread=1)
    return Peer(
        f"{tl2cgen.__version__}, treelite {treelite.__version__}, gcc -O3 -march=native",
        lambda rows: tl2cgen.DMatrix(rows, dtype="float32"),
        lambda matrix: -predictor.predict(matrix)[:, 0, 0],
    )


def write_single_ensemble(forest: IsolationForest, folder: Path) -> None:
    (folder / "single.onnx").write_bytes(single_ensemble(forest))


MAKERS: dict[str, Callable[[IsolationForest, Path], Peer]] = {
    "sklearn": lambda forest, _: Peer(sklearn.__version__, as_they_are, forest.score_samples),
    "onnxruntime-single": make_onnxruntime_single,
    "onnxruntime-skl2onnx": make_onnxruntime_skl2onnx,
    "tl2cgen": make_tl2cgen,
}


class Bench:
    """The prepared forest and rows, and each peer as a function from rows to scores."""

    def prepare(
        self, features: int, trees: int, samples: int, rows: int, directory: str, peers: list[str]
    ) -> dict[str, Any]:
        generator = np.random.default_rng(7)
        self.rows = simulated_rows(rows, features, generator)
        training = simulated_rows(20_000, features, generator)
        self.forest = IsolationForest(n_estimators=trees, max_samples=samples, random_state=7, n_jobs=1).fit(training)
        self.at = 0
        self.peers: dict[str, Peer] = {}
        missing: dict[str, str] = {}
        path = Path(directory)
        for name in peers:
            try:
                if name == "onnxruntime-web":  # runs elsewhere, and needs only the model
                    write_single_ensemble(self.forest, path)
                else:
                    self.peers[name] = MAKERS[name](self.forest, path)
            except Exception as error:  # noqa: BLE001 -- whatever keeps a peer from running, it is reported as missing
                missing[name] = f"{type(error).__name__}: {error}"
        skops.io.dump(self.forest, path / "model.skops")
        (path / "rows.f32").write_bytes(self.rows.tobytes())
        (path / "sums.f64").write_bytes(path_length_sums(self.forest, self.rows).astype("<f8").tobytes())
        versions = {name: peer.version for name, peer in self.peers.items()}
        return {"versions": {"python": sys.version.split()[0], "numpy": np.__version__, **versions}, "missing": missing}

    def measure(self, name: str, batch: int, seconds: float) -> float:
        peer = self.peers[name]
        elapsed, scored, sink = 0.0, 0, 0.0
        while elapsed < seconds or scored == 0:
            if self.at + batch > len(self.rows):
                self.at = 0
            part = peer.load(self.rows[self.at : self.at + batch])
            self.at += batch
            began = time.perf_counter()
            scores = peer.score(part)
            elapsed += time.perf_counter() - began
            sink += float(scores[0])
            scored += batch
        if not np.isfinite(sink):
            raise AssertionError(f"{name} gave a score that is not finite")
        return elapsed / scored * 1e9

    def check(self, name: str) -> float:
        peer = self.peers[name]
        return float(np.max(np.abs(peer.score(peer.load(self.rows)) - self.forest.score_samples(self.rows))))


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
