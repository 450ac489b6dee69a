"""What a good engineer would write to serve an Isolation Forest: FastAPI, a pydantic model of the readings, scikit-learn.

Run by uvicorn with one worker; MODEL names the forest, as skops saved it.
"""

import os

import numpy as np
import skops.io
from fastapi import FastAPI
from pydantic import BaseModel, Field
from sklearn.ensemble import IsolationForest

forest: IsolationForest = skops.io.load(os.environ["MODEL"], trusted=["sklearn.tree._tree.Tree"])
forest.set_params(n_jobs=1)
app = FastAPI()


class Values(BaseModel):
    """One value a sensor, in the order of the forest's features; null where it is missing."""

    temperature: float | None
    humidity: float | None
    sound: float | None


class Reading(BaseModel):
    """What a station measured at one time."""

    station: str = Field(min_length=1)
    time: int
    values: Values


class Readings(BaseModel):
    """The body of a request."""

    readings: list[Reading] = Field(min_length=1)


class Scores(BaseModel):
    """The answer, in the order of the readings."""

    scores: list[float]


# Not in a thread of a pool: it only computes, so that threads would take turns and pay for it.
@app.post("/v1/score")
async def score(request: Readings) -> Scores:
    """Answer scikit-learn's scores."""
    rows = np.array([(r.values.temperature, r.values.humidity, r.values.sound) for r in request.readings], dtype=np.float32)
    return Scores(scores=forest.score_samples(rows).tolist())
