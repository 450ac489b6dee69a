"""Samples of stored readings: what is read is what was stored, the same every time, and never more than was asked for."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from conftest import Servers
from stored import START, Connection, add_model, add_predictions

from lonetree_ml.golden import SIMULATED_FEATURES, simulated_rows
from lonetree_ml.table import InputError
from lonetree_ml.window import Span, read

HOUR = Span(START, START + timedelta(hours=1))
ROWS = simulated_rows(6_000, np.random.default_rng(0)).astype(np.float32)


def test_what_is_read_is_what_was_stored_by_station_and_time(database: Connection) -> None:
    values = ROWS.copy()
    values[7, 1] = np.nan
    values[8, 2] = np.inf
    add_predictions(database, values, add_model(database), scores=np.arange(6_000) / -6_000)
    sample = read(database, HOUR, sha256="a" * 64, rows_max=10_000)
    assert list(sample.features) == SIMULATED_FEATURES
    assert sample.stored == 6_000
    place = np.round(sample.scores * -6_000).astype(int)
    assert [sample.names[station] for station in sample.stations] == [f"station-{index % 10:03}" for index in place]
    assert (np.diff(place)[np.diff(sample.stations) == 0] > 0).all()
    values[8, 2] = np.nan
    np.testing.assert_array_equal(sample.values, values[place])


def test_a_sample_is_the_same_every_time_and_another_with_another_seed(database: Connection) -> None:
    add_predictions(database, ROWS, add_model(database))
    first, again, other = (read(database, HOUR, rows_max=1_000, seed=seed) for seed in (1, 1, 2))
    assert 900 <= len(first.values) <= 1_000
    np.testing.assert_array_equal(first.values, again.values)
    assert len(other.values) <= 1_000
    assert not np.array_equal(first.values[:100], other.values[:100])


def test_a_sample_takes_stations_partitions_and_times_alike(database: Connection) -> None:
    add_predictions(database, ROWS, add_model(database), scores=np.arange(6_000) / -6_000)
    sample = read(database, HOUR, sha256="a" * 64, rows_max=2_000)
    place = np.round(sample.scores * -6_000).astype(int)
    for groups in (place % 10, place % 3, place // 600, place % 100 // 10):
        share = np.bincount(groups) / len(place)
        assert np.abs(share * len(share) - 1).max() < 0.25


def test_only_the_span_is_read_its_end_excluded(database: Connection) -> None:
    model = add_model(database)
    add_predictions(database, ROWS[:100], model, start=START - timedelta(hours=1))
    add_predictions(database, ROWS[100:200], model)
    add_predictions(database, ROWS[200:300], model, start=HOUR.end)
    assert read(database, HOUR, rows_max=1_000).stored == 100


def test_values_are_found_by_name_whatever_the_models_order_and_scores_are_one_models(database: Connection) -> None:
    old = add_model(database, "b" * 64, features=["sound", "temperature", "humidity"])
    new = add_model(database, "a" * 64)
    alien = add_model(database, "c" * 64, features=["pressure"])
    add_predictions(database, ROWS[:300][:, [2, 0, 1]], old, scores=np.full(300, -0.3))
    add_predictions(database, ROWS[300:600], new, offset=1_000)
    add_predictions(database, ROWS[:100, :1], alien, offset=2_000)
    sample = read(database, HOUR, features=SIMULATED_FEATURES, sha256="a" * 64, rows_max=1_000)
    expected = ROWS[:600]
    np.testing.assert_array_equal(np.sort(sample.values, axis=0), np.sort(expected, axis=0))
    is_new = (sample.values[:, None, :] == expected[None, 300:, :]).all(axis=2).any(axis=1)
    np.testing.assert_array_equal(np.isnan(sample.scores), ~is_new)


def test_nothing_stored_is_told_with_the_time_in_utc(database: Connection) -> None:
    with pytest.raises(InputError, match="Nothing was stored from 2026-07-01T00:00:00Z to 2026-07-01T01:00:00Z"):
        read(database, HOUR, rows_max=10)


def test_features_that_no_model_had_are_told(database: Connection) -> None:
    add_predictions(database, ROWS[:10], add_model(database))
    with pytest.raises(InputError, match="has the features pressure"):
        read(database, HOUR, features=["pressure"], rows_max=10)


def test_more_than_a_piece_of_the_copy_is_read(database: Connection, servers: Servers) -> None:
    assert servers.database_url
    values = np.tile(ROWS, (10, 1))
    add_predictions(database, values, add_model(database))
    sample = read(database, Span(START, datetime(2026, 7, 2, tzinfo=UTC)), rows_max=100_000)
    np.testing.assert_array_equal(np.sort(sample.values, axis=0), np.sort(values, axis=0))
