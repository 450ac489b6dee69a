"""`shadow` compares what two models said of the same readings; what was never scored is told."""

from collections.abc import Callable

import numpy as np
import pytest
from conftest import Outcome, Servers
from stored import Connection, add_model

from lonetree_ml.shadow import compare

Scores = list[tuple[float, float, bool, bool]]


def add(database: Connection, pairs: Scores, minute: int = 0) -> None:
    with database.cursor() as cursor:
        cursor.executemany(
            "insert into shadow_score values ('readings', 0, %s, 0, %s, 's', 1, 2, %s, %s, %s, %s)",
            [(index, f"2026-07-01 00:{minute:02}:00Z", *pair) for index, pair in enumerate(pairs)],
        )


def test_rates_rank_correlation_and_disagreements_are_those_of_the_pairs(
    run: Callable[..., Outcome], servers: Servers, database: Connection
) -> None:
    add_model(database, "a" * 64, "1")
    add_model(database, "b" * 64, "2")
    add(
        database,
        [(-0.1, -0.2, False, False), (-0.2, -0.3, False, True), (-0.6, -0.4, True, False), (-0.9, -0.8, True, True)],
    )
    add(database, [(-0.1, -0.9, False, True)], minute=30)
    common = ("shadow", "--database-url", servers.database_url, "--challenger", "2")
    report = run(*common, "--to", "2026-07-01T00:10:00Z").report
    assert report == {
        "rows": 4,
        "spearman": pytest.approx(1.0),
        "champion_alert_rate": 0.5,
        "challenger_alert_rate": 0.5,
        "disagreements": 2,
        "only_champion": 1,
        "only_challenger": 1,
    }
    everything = run(*common).report
    assert everything is not None
    assert everything["rows"] == 5
    nothing = run(*common, "--from", "2026-07-02T00:00:00Z")
    assert nothing.code == 1
    assert "No reading was scored in shadow by version 2 from 2026-07-02T00:00:00Z" in nothing.log


def test_a_version_that_no_scorer_has_loaded_is_told(
    run: Callable[..., Outcome], servers: Servers, database: Connection
) -> None:
    add_model(database, "a" * 64, "1")
    outcome = run("shadow", "--database-url", servers.database_url, "--challenger", "9")
    assert outcome.code == 1
    assert "has loaded version 9" in outcome.log


def test_scores_that_are_all_the_same_have_no_rank_correlation() -> None:
    alerts = np.zeros(3, dtype=bool)
    assert compare(np.full(3, -0.5), np.array([-0.1, -0.2, -0.3]), alerts, alerts).spearman is None
