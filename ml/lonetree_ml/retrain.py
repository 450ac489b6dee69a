"""`retrain`: trains a new model on readings that the scorers stored, and makes it the challenger."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lonetree_ml import atomic_file, database, forest_file, gate, register, registry, sklearn_file, training
from lonetree_ml.arguments import ALARM_RATE, SEED, Integer, UsageError, instant, names, rate, units
from lonetree_ml.forest_file import SAMPLES_MAX, TREES_MAX
from lonetree_ml.judge import clean
from lonetree_ml.table import InputError, Table
from lonetree_ml.window import TRAINING, Span, iso, read

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Mapping

    from lonetree_ml.registry import Registry, Version
    from lonetree_ml.window import Sample


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--from", dest="start", type=instant, required=True, metavar="TIME", help="of the first reading")
    parser.add_argument(
        "--to", dest="end", type=instant, required=True, metavar="TIME", help="before which the last one lies"
    )
    parser.add_argument(
        "--rows-max",
        type=Integer(gate.TRAINING_ROWS_MIN, 10_000_000),
        default=200_000,
        metavar="N",
        help="readings to sample when there are more (default: 200000)",
    )
    parser.add_argument("--features", type=names, metavar="A,B", help="to learn from (default: the newest model's)")
    parser.add_argument(
        "--units", type=units, metavar="A=CEL,…", help="of features (default: the champion's with --register, else unknown)"
    )
    parser.add_argument("--seed", type=SEED, default=0, metavar="N", help="same seed, same model (default: 0)")
    parser.add_argument(
        "--trees", type=Integer(1, TREES_MAX), metavar="N", help="(default: the champion's with --register, else 100)"
    )
    parser.add_argument(
        "--samples",
        type=Integer(1, SAMPLES_MAX),
        metavar="N",
        help="rows each tree is grown from (default: the champion's with --register, else 256)",
    )
    parser.add_argument(
        "--alarm-rate",
        type=rate,
        metavar="RATE",
        help=f"share of ordinary readings to call abnormal (default: the champion's with --register, else {ALARM_RATE})",
    )
    parser.add_argument("--output", metavar="FOREST", help="write the .forest file here")
    parser.add_argument("--save-sklearn", metavar="SKOPS", help="also save the scikit-learn forest here")
    parser.add_argument("--register", action="store_true", help=f"register it, with the alias {registry.CHALLENGER}")
    parser.add_argument("--why", default="retrained", metavar="TEXT", help="with --register: why there is this version")
    registry.add_arguments(parser)
    database.add_arguments(parser)


def run(options: Namespace) -> dict[str, Any]:
    """Read a sample, train, write, register. What is held out for the gate is not trained on."""
    if options.output is None and not options.register:
        raise UsageError("say what becomes of the model: --register, --output, or both")
    if options.start >= options.end:
        raise UsageError("--from must lie before --to")
    if options.features is not None:
        forest_file.check_names(options.features)
    span = Span(options.start, options.end)
    connected = registry.connect(options, may_create=True) if options.register else None
    shape = _shape(connected, options)
    with database.connected(options) as connection:
        sample = read(
            connection, span, features=options.features, rows_max=options.rows_max, seed=options.seed, part=TRAINING
        )
    if len(sample.values) < gate.TRAINING_ROWS_MIN:
        few = f"Only {len(sample.values)} readings to train on were stored from {span}, a quarter being held out"
        raise InputError(f"{few}; at least {gate.TRAINING_ROWS_MIN:,} are needed to train on.")
    forest_file.check_units(options.units or {}, sample.features)
    rows = clean(sample.values)
    origin = {"from": iso(span.start), "to": iso(span.end), "stored_rows": sample.stored}
    model, forest, report = training.train(
        rows,
        list(sample.features),
        trees=shape.trees,
        samples=shape.samples,
        seed=options.seed,
        alarm_rate=shape.alarm_rate,
        units=shape.units,
        stations=sample.stations,
        origin=origin,
    )
    content = forest_file.to_bytes(forest)
    answer = {**report, "features": list(sample.features), "stations": len(sample.names)}
    answer |= {"sha256": hashlib.sha256(content).hexdigest(), "version": None, "recorded": False}
    if options.output is not None:
        atomic_file.replace(Path(options.output), content)
    if options.save_sklearn is not None:
        sklearn_file.save(Path(options.save_sklearn), model)
    if connected is not None:
        version = _register(connected, model, content, sample, options)
        answer |= {"version": version.number, "recorded": register.record(connected, version, content, options)}
    return answer


@dataclass(frozen=True)
class _Shape:
    trees: int = 100
    samples: int = 256
    alarm_rate: float = ALARM_RATE
    units: Mapping[str, str] = field(default_factory=dict)


def _shape(connected: Registry | None, options: Namespace) -> _Shape:
    """Of the new forest: what is asked for, else what the champion has, which it is to replace."""
    champion = None if connected is None else connected.by_alias(registry.CHAMPION)
    shape = _Shape()
    if connected is not None and champion is not None:
        forest = forest_file.from_bytes(connected.forest_bytes(champion))
        alarm_rate = ALARM_RATE if forest.guards is None else forest.guards.alarm_rate
        units_known = dict(zip(forest.features, forest.units, strict=True))
        shape = _Shape(len(forest.trees), forest.max_samples, alarm_rate, units_known)
    asked = {name: getattr(options, name) for name in ("trees", "samples", "alarm_rate", "units")}
    return replace(shape, **{name: value for name, value in asked.items() if value is not None})


def _register(connected: Registry, model: Any, content: bytes, sample: Sample, options: Namespace) -> Version:
    """Make it the challenger; a command that is repeated makes no second version of the same forest and readings."""
    provenance = register.Provenance(
        name="prediction", query=sample.query, data_from=iso(options.start), data_to=iso(options.end)
    )
    sha256 = hashlib.sha256(content).hexdigest()
    same = [one for one in connected.versions() if one.sha256 == sha256 and one.tags.get("trained_to") == provenance.data_to]
    if same:
        version = same[0]
    else:
        table = Table(list(sample.features), clean(sample.values))
        version = register.register(connected, model, content, table=table, provenance=provenance, why=options.why)
    if registry.CHAMPION not in version.aliases:
        connected.set_alias(registry.CHALLENGER, version.number)
    return version
