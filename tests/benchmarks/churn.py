"""Fit the churn model to 100,000 players and score them, compared with one pass over the columns.

`uv run python -m tests.benchmarks.churn [players]`. Goals on two cores: fit within 60 s, score all
within 2 s.
"""

import sys
from time import perf_counter

import numpy as np

from players.churn_model import fit, risk
from players.churn_model.risk import PRIOR

PLAYERS = 100_000
DAYS = 365


def main(size: int) -> None:
    random = np.random.default_rng(1)
    age = random.integers(0, DAYS, size)
    left = random.geometric(random.beta(PRIOR.a, PRIOR.b, size))
    rate = 1 - np.exp(-random.gamma(PRIOR.r, 1 / PRIOR.alpha, size))
    # Gaps between active days are geometric, which gives the expected last active day.
    frequency = np.minimum(left - 1, random.binomial(age, rate))
    recency = np.minimum(np.ceil(frequency / np.maximum(rate, 1e-9)), age) * (frequency > 0)
    recency = np.maximum(recency, frequency)

    started = perf_counter()
    np.log(age + 1.0).sum()
    one_pass = perf_counter() - started

    for model in ("mbg", "bg"):
        started = perf_counter()
        found = fit.fit(frequency, recency, age, model)
        took = perf_counter() - started
        print(f"fit {model}: {took:.2f} s, {took / one_pass:,.0f} passes; in time: {took < 60}")

    started = perf_counter()
    fit.p_silent(found, frequency, recency, age)
    took = perf_counter() - started
    print(f"score all: {took:.3f} s, {took / one_pass:,.1f} passes; in time: {took < 2}")

    histories = list(zip(frequency.tolist(), recency.tolist(), age.tolist(), strict=True))
    started = perf_counter()
    for history in histories:
        risk.p_unseen(found, *history)
    took = perf_counter() - started
    print(f"score one by one, as requests do: {took:.2f} s; in time: {took < 2}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else PLAYERS)
