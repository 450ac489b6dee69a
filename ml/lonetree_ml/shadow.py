"""`shadow`: compares what challenger and champion said of the same readings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg import sql
from scipy.stats import spearmanr

from lonetree_ml import database
from lonetree_ml.arguments import Integer, instant
from lonetree_ml.table import InputError
from lonetree_ml.window import iso

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from numpy.typing import NDArray

PAIRS_MIN = 2
"""Fewer have no order."""
COLUMNS = [
    ("champion_score", ">f8"),
    ("challenger_score", ">f8"),
    ("champion_is_anomaly", "?"),
    ("challenger_is_anomaly", "?"),
]


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--challenger", required=True, metavar="VERSION", help="the version that scored in shadow")
    parser.add_argument("--from", dest="start", type=instant, metavar="TIME", help="of the first reading (default: all)")
    parser.add_argument("--to", dest="end", type=instant, metavar="TIME", help="before which the last reading lies")
    parser.add_argument(
        "--rows-max",
        type=Integer(PAIRS_MIN, 10_000_000),
        default=1_000_000,
        metavar="N",
        help="of more, the newest (default: 1000000)",
    )
    database.add_arguments(parser)


@dataclass(frozen=True)
class Comparison:
    """How two models' verdicts on the same readings differ. `spearman` is None where scores have no order."""

    rows: int
    spearman: float | None
    champion_alert_rate: float
    challenger_alert_rate: float
    disagreements: int
    only_champion: int
    only_challenger: int


def compare(
    champion_scores: NDArray[np.float64],
    challenger_scores: NDArray[np.float64],
    champion_alerts: NDArray[np.bool_],
    challenger_alerts: NDArray[np.bool_],
) -> Comparison:
    """Compare verdicts, an entry a reading; there is at least one."""
    has_order = min(np.ptp(champion_scores), np.ptp(challenger_scores)) > 0
    only_champion = int(np.sum(champion_alerts & ~challenger_alerts))
    only_challenger = int(np.sum(challenger_alerts & ~champion_alerts))
    return Comparison(
        rows=len(champion_scores),
        spearman=float(spearmanr(champion_scores, challenger_scores).statistic) if has_order else None,
        champion_alert_rate=float(np.mean(champion_alerts)),
        challenger_alert_rate=float(np.mean(challenger_alerts)),
        disagreements=only_champion + only_challenger,
        only_champion=only_champion,
        only_challenger=only_challenger,
    )


def run(options: Namespace) -> dict[str, Any]:
    """Read the pairs of scores that the scorers stored aside, and compare them."""
    with database.connected(options) as connection:
        found = connection.execute("select array_agg(id) from model where version = %s", [options.challenger]).fetchone()
        models = None if found is None else found[0]
        if models is None:
            raise InputError(
                f"No scorer of this database has loaded version {options.challenger}: nothing was scored by it."
            )
        query = sql.SQL(
            """select {columns} from shadow_score where challenger_model_id = any({models})
            and time >= coalesce({start}::timestamptz, '-infinity') and time < coalesce({end}::timestamptz, 'infinity')
            order by time desc limit {most}"""
        ).format(
            columns=sql.SQL(", ").join(sql.Identifier(name) for name, _ in COLUMNS),
            models=sql.Literal(models),
            start=sql.Literal(options.start),
            end=sql.Literal(options.end),
            most=sql.Literal(options.rows_max),
        )
        pairs = np.concatenate(list(database.copy_rows(connection, query, COLUMNS)))
    if len(pairs) == 0:
        raise InputError(
            f"No reading was scored in shadow by version {options.challenger}{_span(options)}: "
            "is it the challenger, and SHADOW_SAMPLE_RATE above 0?"
        )
    return asdict(compare(*(pairs[name].astype(kind[-2:].strip(">")) for name, kind in COLUMNS)))


def _span(options: Namespace) -> str:
    start = "" if options.start is None else f" from {iso(options.start)}"
    return start if options.end is None else f"{start} until {iso(options.end)}"
