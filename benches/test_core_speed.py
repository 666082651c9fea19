"""The Rust kernels beside good NumPy and a copy of their input, all on one thread in one run.

Read the ratios, not the milliseconds. `pytest benches/test_core_speed.py -q -s` prints one line per kernel; the size is
that of the paper's experiment, 65 models x 1000 points x 8 augmentations x 10 classes in float32. Each NumPy version
has to give the same result.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from tmi import _core

ROUNDS = 7


@dataclass
class Table:
    """Times in seconds, one row per kernel."""

    rows: list[tuple[str, float, float, float]] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{'':42}{'Rust':>10}{'NumPy':>12}{'ratio':>8}{'copy':>10}{'ratio':>8}"]
        for name, rust, numpy, copy in self.rows:
            times = f"{1e3 * rust:7.2f} ms{1e3 * numpy:9.1f} ms{numpy / rust:8.1f}{1e3 * copy:7.2f} ms"
            lines.append(f"{name:42}{times}{rust / copy:8.1f}")
        return "\n".join(lines)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """NumPy's linear algebra gets no more threads than the kernels."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    print(f"\n\n{table}")


def best(call: Callable[[], Any], rounds: int) -> float:
    """Shortest of some runs in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


@pytest.fixture
def compare(benchmark, table, request) -> Callable[..., None]:
    """Times a kernel, the same in NumPy (run `shrink` times smaller, if it is slow) and a copy of the input."""

    def compare(name: str, rust, numpy, source: np.ndarray, shrink: int = 1) -> None:
        rounds = 2 if shrink > 1 else ROUNDS
        benchmark.pedantic(rust, rounds=ROUNDS, warmup_rounds=1)
        target = np.empty_like(source)
        copy = best(lambda: np.copyto(target, source), ROUNDS)
        table.rows.append((name, benchmark.stats.stats.min, shrink * best(numpy, rounds), copy))

    return compare


@pytest.fixture(scope="module")
def predictions() -> np.ndarray:
    return (4 * np.random.default_rng(0).normal(size=(65, 1000, 8, 10))).astype(np.float32)


@pytest.fixture(scope="module")
def membership() -> np.ndarray:
    return np.random.default_rng(1).random((65, 1000)) < 0.5


# ----------------------------------------------------------------------------------------------- NumPy


def numpy_scaled(z: np.ndarray) -> np.ndarray:
    z = z - z.max(-1, keepdims=True)
    e = np.exp(z)
    top = z.argmax(-1)[..., None]
    others = e.sum(-1, keepdims=True) - e
    np.put_along_axis(e, top, 0, -1)
    np.put_along_axis(others, top, e.sum(-1, keepdims=True), -1)
    return z - np.log(others)


def numpy_reduced(z: np.ndarray) -> tuple[np.ndarray, ...]:
    s = numpy_scaled(z)
    factors = 1 / np.maximum(np.sqrt(np.einsum("...k,...k->...", s, s)), 1)
    return s.mean(2), np.einsum("npmk,npm->npk", s, factors) / z.shape[2], s.max(-1).std(2)


def numpy_features(x: np.ndarray, membership: np.ndarray, target: int, ridges: tuple[float, ...]) -> np.ndarray:
    """All models of a point at once for the moments, all points of a model at once for the discriminants."""
    x = np.ascontiguousarray(x.transpose(1, 0, 2), np.float64)  # [points, models, classes]
    weights = [membership.T.astype(np.float64), 1.0 - membership.T]
    for w in weights:
        w[:, target] = 0
    counts, means, squares = [], [], []
    for w in weights:
        n = w.sum(1, keepdims=True)[..., None] - w[..., None]
        left = np.matmul(w[:, None], x) - w[..., None] * x
        counts.append(n)
        means.append(left / n)
        squares.append(np.matmul(w[:, None], x * x) - w[..., None] * x * x - left**2 / n)
    pooled = sum(squares) / (sum(counts) - 2)
    floor = np.maximum(1e-3 * pooled.mean(-1, keepdims=True), 1e-6)
    shared = np.maximum(pooled, floor)
    own = [0.7 * np.maximum(q / (n - 1), floor) + 0.3 * shared for q, n in zip(squares, counts, strict=True)]
    d_in, d_out = x - means[0], x - means[1]
    llr = (d_out**2 - d_in**2) / (2 * shared)
    separate = (d_out**2 / own[1] + np.log(own[1]) - d_in**2 / own[0] - np.log(own[0])) / 2
    top = x.argmax(-1)[..., None]
    sd = np.sqrt(shared)
    shift = means[0] - means[1]
    columns = [llr.sum(-1), separate.sum(-1)]
    columns += [np.take_along_axis(v, top, -1)[..., 0] for v in (llr, separate, d_out / sd, d_in / sd, shift / sd)]
    columns += [(shift**2 / shared).sum(-1), llr.max(-1), llr.min(-1)]
    columns += [np.sqrt((d**2 / shared).sum(-1)) for d in (d_out, d_in)]
    columns.append(x.max(-1))
    columns += numpy_discriminants(x, weights, ridges)
    return np.clip(np.stack(columns, -1), -1e6, 1e6).transpose(1, 0, 2)


def numpy_discriminants(x: np.ndarray, weights: list[np.ndarray], ridges: tuple[float, ...]) -> list[np.ndarray]:
    points, models, classes = x.shape
    counts, sums = [w.sum(1) for w in weights], [np.matmul(w[:, None], x)[:, 0] for w in weights]
    total = np.matmul((x * sum(weights)[..., None]).transpose(0, 2, 1), x)
    scores = [np.empty((points, models)) for _ in ridges]
    for model in range(models):
        row = x[:, model]
        ns = [n - w[:, model] for n, w in zip(counts, weights, strict=True)]
        means = [(s - w[:, model, None] * row) / n[:, None] for s, w, n in zip(sums, weights, ns, strict=True)]
        scatter = total - sum(w[:, model, None, None] for w in weights) * row[:, :, None] * row[:, None]
        scatter -= sum(n[:, None, None] * m[:, :, None] * m[:, None] for n, m in zip(ns, means, strict=True))
        covariance = scatter / (sum(ns) - 2)[:, None, None]
        variance = np.maximum(np.trace(covariance, axis1=1, axis2=2) / classes, 1e-6)
        for ridge, out in zip(ridges, scores, strict=True):
            shrunk = covariance + (ridge * variance)[:, None, None] * np.eye(classes)
            direction = np.linalg.solve(shrunk, (means[0] - means[1])[..., None])[..., 0]
            out[:, model] = np.einsum("pk,pk->p", direction, row - (means[0] + means[1]) / 2)
    return scores


def numpy_lira(predictions: np.ndarray, membership: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """All points at once, each target in turn, by Cholesky decomposition."""
    scaled = numpy_scaled(predictions)
    jitter_of = np.eye(predictions.shape[2])
    scores = np.empty((len(targets), predictions.shape[1]))
    for score, target in zip(scores, targets, strict=True):
        classes = predictions[target].argmax(-1)
        answers = np.take_along_axis(scaled, classes[None, ..., None], -1)[..., 0]
        answers = answers.transpose(1, 0, 2).astype(np.float64)  # [points, models, augmentations]
        sides, scatters = [], []
        for is_side in (membership.T, ~membership.T):
            w = is_side.astype(np.float64)
            w[:, target] = 0
            n = w.sum(1)
            mean = np.matmul(w[:, None], answers)[:, 0] / n[:, None]
            u = (answers - mean[:, None]) * w[..., None]
            scatters.append(np.matmul(u.transpose(0, 2, 1), u))
            sides.append((n, answers[:, target] - mean))
        freedom = sides[0][0] + sides[1][0] - 2
        variance = np.trace(sum(scatters), axis1=1, axis2=2) / freedom / len(jitter_of)
        densities = []
        for (n, offset), scatter in zip(sides, scatters, strict=True):
            jitter = np.maximum(1e-6 * variance, 1e-9)[:, None, None] * jitter_of
            factor = np.linalg.cholesky(scatter / (n - 1)[:, None, None] + jitter)
            whitened = np.linalg.solve(factor, offset[..., None])[..., 0]
            logdet = 2 * np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(1)
            densities.append(-((whitened**2).sum(1) + logdet) / 2)
        score[:] = densities[0] - densities[1]
    return scores


class NumpyRoc:
    """Scores sorted once, from which metrics follow for any weights."""

    def __init__(self, scores: np.ndarray, labels: np.ndarray) -> None:
        self.order = np.argsort(scores, axis=None)[::-1]
        self.is_member = labels.ravel()[self.order]
        self.ends = np.append(np.flatnonzero(np.diff(scores.ravel()[self.order])), scores.size - 1)

    def metrics(self, weights: np.ndarray, rates: np.ndarray) -> np.ndarray:
        members = np.cumsum(weights * self.is_member)
        tpr, fpr = (np.append(0, w[self.ends]) for w in (members, np.cumsum(weights) - members))
        tpr, fpr = tpr / tpr[-1], fpr / fpr[-1]
        at_rates = tpr[np.searchsorted(fpr, rates, "right") - 1]
        return np.array([np.trapezoid(tpr, fpr), (1 + (tpr - fpr).max()) / 2, *at_rates])


# ---------------------------------------------------------------------------------------------- timing


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_reduce_logits(compare, predictions, dtype):
    z = predictions.astype(dtype)
    for ours, theirs in zip(_core.reduce_logits(z), numpy_reduced(z.astype(np.float32)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    name = f"reduce_logits, {np.dtype(dtype)}"
    compare(name, lambda: _core.reduce_logits(z), lambda: numpy_reduced(z.astype(np.float32)), z)


def test_all_features_of_one_target(compare, predictions, membership):
    scaled, clipped, _ = _core.reduce_logits(predictions)
    ridges = (0.5, 2.0)
    ours = _core.leave_one_out_features(scaled, membership, 0, ridges=ridges)
    theirs = numpy_features(scaled, membership, 0, ridges)
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-3, atol=1e-3)

    def rust() -> None:
        for x in (scaled, clipped):
            _core.leave_one_out_features(x, membership, 0, ridges=ridges)

    def numpy() -> None:
        for x in (scaled, clipped):
            numpy_features(x, membership, 0, ridges)

    compare("leave_one_out_features, scaled + clipped", rust, numpy, np.stack([scaled, clipped]))


@pytest.mark.parametrize("count", [1, 4, 32])
def test_adapted_lira(compare, predictions, membership, count):
    targets, few = np.arange(count), np.arange(1)
    ours = _core.adapted_lira(predictions, membership, few)
    np.testing.assert_allclose(ours, numpy_lira(predictions, membership, few), rtol=1e-3, atol=1e-2)
    compare(
        f"adapted_lira, {count} targets",
        lambda: _core.adapted_lira(predictions, membership, targets),
        lambda: numpy_lira(predictions, membership, targets),
        predictions,
    )


def test_roc_metrics(compare, membership):
    scores, labels = np.random.default_rng(2).normal(size=(32, 1000)), membership[:32]
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])

    def numpy() -> np.ndarray:
        return NumpyRoc(scores, labels).metrics(np.ones(scores.size), rates)

    np.testing.assert_allclose(_core.roc_metrics(scores, labels, rates), numpy())
    compare("roc_metrics, 32 x 1000", lambda: _core.roc_metrics(scores, labels, rates), numpy, scores)


def test_roc_resample(compare, membership):
    rng = np.random.default_rng(3)
    scores, labels, rates = rng.normal(size=(32, 1000)), membership[:32], np.array([1e-3, 1e-2])
    weights = [rng.multinomial(n, np.full(n, 1 / n), size=2000).astype(np.uint16) for n in scores.shape]
    shrink = 20

    def numpy() -> np.ndarray:
        few = zip(*(w[: 2000 // shrink].astype(np.float64) for w in weights), strict=True)
        roc = NumpyRoc(scores, labels)
        return np.stack([roc.metrics(np.outer(t, p).ravel()[roc.order], rates) for t, p in few])

    ours = _core.roc_resample(scores, labels, *(w[: 2000 // shrink] for w in weights), rates)
    np.testing.assert_allclose(ours, numpy())
    compare(
        "roc_resample, 2000 times 32 x 1000",
        lambda: _core.roc_resample(scores, labels, *weights, rates),
        numpy,
        scores,
        shrink,
    )
