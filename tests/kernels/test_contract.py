"""What all Rust kernels promise: the same bits on any number of threads, a released interpreter, clear errors."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tmi import _core


def predictions_like(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return (4 * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def membership_like(seed: int, models: int, points: int) -> np.ndarray:
    return np.random.default_rng(seed).random((models, points)) < 0.5


# ------------------------------------------------------------------------------- threads and interpreter


def calls(points: int, scores: int) -> dict[str, Callable[[int], Any]]:
    """Every threaded kernel on fixed data, as a function of the number of threads."""
    rng = np.random.default_rng(5)
    predictions, membership = predictions_like(5, (33, points, 4, 7)), membership_like(6, 33, points)
    x, targets = predictions[:, :, 0], np.arange(0, 33, 5)
    ranked, labels = rng.normal(size=(9, scores)), membership_like(7, 9, scores)
    weights = [rng.integers(0, 3, (50, n)).astype(np.uint16) for n in ranked.shape]
    rates = np.array([0.001, 0.1])
    of_points, shares = np.arange(points) % 20, rng.random((33, points)).astype(np.float32)
    return {
        "scale_logits": lambda n: _core.scale_logits(predictions.reshape(-1, 7), threads=n),
        "reduce_logits": lambda n: _core.reduce_logits(predictions, threads=n),
        "leave_one_out_features": lambda n: _core.leave_one_out_features(
            x, membership, 2, wanted=shares < 0.5, prior=(x[0].astype(float), np.ones(7)), threads=n
        ),
        "gaussian_scores": lambda n: _core.gaussian_scores(x, membership, targets, threads=n),
        "adapted_lira": lambda n: _core.adapted_lira(predictions, membership, targets, threads=n),
        "roc_metrics": lambda n: _core.roc_metrics(ranked, labels, rates, threads=n),
        "roc_resample": lambda n: _core.roc_resample(ranked, labels, *weights, rates, threads=n),
        "roc_curve": lambda _: _core.roc_curve(ranked.ravel(), labels.ravel()),
        "label_probe": lambda n: _core.label_probe(x, of_points, shares, threads=n),
    }


@pytest.mark.parametrize("kernel", calls(1, 2))
def test_the_number_of_threads_changes_no_bit(kernel):
    call = calls(150, 150)[kernel]
    one, two, three, many = (np.concatenate([np.ravel(a) for a in [*call(n)]]) for n in (1, 2, 3, 64))
    assert one.tobytes() == two.tobytes() == three.tobytes() == many.tobytes()


@pytest.mark.parametrize("kernel", calls(1, 2))
def test_the_interpreter_is_released(kernel):
    """While a call of several milliseconds runs, another thread gets on with counting.

    One that kept the interpreter would leave at most one count at either end. On a busy machine the other thread may
    miss its turn, so a few attempts are granted.
    """
    call = calls(4000, 40_000)[kernel]
    assert any(counts_during(call) > 2 for _ in range(20))


def counts_during(call: Callable[[int], Any]) -> int:
    """How often another thread runs during a call."""
    times: list[float] = []
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            times.append(time.perf_counter())
            time.sleep(1e-4)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        while not times:
            time.sleep(1e-4)
        start = time.perf_counter()
        call(1)
        stop = time.perf_counter()
    finally:
        done.set()
        thread.join()
    return sum(start < moment < stop for moment in times)


# ------------------------------------------------------------------------------------------------ errors

GOOD: dict[str, dict[str, Any]] = {
    "scale_logits": {"logits": predictions_like(6, (4, 3))},
    "reduce_logits": {"predictions": predictions_like(6, (4, 5, 2, 3))},
    "leave_one_out_features": {
        "x": predictions_like(6, (4, 5, 3)),
        "membership": membership_like(6, 4, 5),
        "target": 1,
    },
    "gaussian_scores": {
        "x": predictions_like(6, (4, 5, 3)),
        "membership": membership_like(6, 4, 5),
        "targets": np.arange(2),
    },
    "adapted_lira": {
        "predictions": predictions_like(6, (4, 5, 2, 3)),
        "membership": membership_like(6, 4, 5),
        "targets": np.arange(2),
    },
    "roc_curve": {"scores": np.arange(3.0), "labels": np.array([True, False, True])},
    "roc_metrics": {
        "scores": np.arange(4.0).reshape(2, 2),
        "labels": np.eye(2, dtype=bool),
        "false_positive_rates": np.array([0.1]),
    },
    "roc_resample": {
        "scores": np.arange(4.0).reshape(2, 2),
        "labels": np.eye(2, dtype=bool),
        "target_weights": np.ones((3, 2), np.uint16),
        "point_weights": np.ones((3, 2), np.uint16),
        "false_positive_rates": np.array([0.1]),
    },
    "label_probe": {
        "x": predictions_like(6, (4, 5, 3)),
        "labels": np.array([8, 8, -1, -1, 8]),
        "weights": np.ones((4, 5), np.float32),
    },
}


def with_nan(array: np.ndarray, *position: int) -> np.ndarray:
    array = array.copy()
    array[position] = np.nan
    return array


def refuse(error: type[Exception], message: str, kernel: str, **changed: Any) -> None:
    with pytest.raises(error, match=message):
        getattr(_core, kernel)(**{**GOOD[kernel], **changed})


@pytest.mark.parametrize("kernel", GOOD)
def test_good_arguments_are_accepted(kernel):
    getattr(_core, kernel)(**GOOD[kernel])


@pytest.mark.parametrize(
    ("kernel", "name"), [(k, n) for k, arguments in GOOD.items() for n in arguments if n != "target"]
)
def test_every_array_is_checked(kernel, name):
    array = GOOD[kernel][name]
    for bad in (array.astype(np.complex64), array.tolist(), None):
        refuse(TypeError, rf"^{name} has .*; expected a NumPy array of", kernel, **{name: bad})
    if array.dtype.itemsize > 1:
        swapped = array.astype(array.dtype.newbyteorder())
        refuse(TypeError, f"^{name} has dtype.*native byte order", kernel, **{name: swapped})
        unaligned = np.frombuffer(b"\0" + array.tobytes(), array.dtype, offset=1).reshape(array.shape)
        refuse(TypeError, f"^{name} is not aligned", kernel, **{name: unaligned})
    refuse(ValueError, f"^{name} has shape .*; expected", kernel, **{name: array[None]})
    if name != "false_positive_rates":
        refuse(ValueError, "has shape .*; expected", kernel, **{name: array[..., :0]})
        refuse(ValueError, "has shape .*; expected", kernel, **{name: array[:0]})


@pytest.mark.parametrize("kernel", [kernel for kernel in GOOD if kernel != "roc_curve"])
@pytest.mark.parametrize("threads", [0, -1])
def test_threads_must_be_positive(kernel, threads):
    refuse(ValueError, rf"^threads is {threads}; expected at least 1$", kernel, threads=threads)


def test_nan_is_found_and_located():
    logits = with_nan(np.zeros((40, 3), np.float32), 37, 1)
    refuse(ValueError, "^logits contains NaN at row 37;", "scale_logits", logits=logits)
    for dtype in (np.float32, np.float16):
        predictions = with_nan(np.zeros((4, 40, 2, 3), dtype), 2, 33, 1, 0)
        predictions[3, 5] = np.nan  # a later model's, and so never the one reported
        message = "^predictions contains NaN at model 2, point 33;"
        for threads in (1, 2, 3):
            refuse(ValueError, message, "reduce_logits", predictions=predictions, threads=threads)
    predictions = with_nan(GOOD["adapted_lira"]["predictions"], 3, 4, 1, 0)
    refuse(ValueError, "^predictions contains NaN at model 3, point 4;", "adapted_lira", predictions=predictions)
    for kernel in ("leave_one_out_features", "gaussian_scores", "label_probe"):
        x = with_nan(GOOD[kernel]["x"], 2, 1, 0)
        refuse(ValueError, "^x contains NaN at model 2, point 1;", kernel, x=x)
        refuse(ValueError, "^x contains -inf at model 0, point 0;", kernel, x=np.full_like(x, -np.inf))
    weights = with_nan(GOOD["label_probe"]["weights"], 2, 1)
    refuse(ValueError, "^weights contains NaN at model 2, point 1;", "label_probe", weights=weights)
    for kernel in ("roc_metrics", "roc_resample"):
        scores = with_nan(GOOD[kernel]["scores"], 1, 0)
        refuse(ValueError, r"^scores contains NaN at index \[1, 0\];", kernel, scores=scores)


def test_arguments_outside_their_domain():
    for kernel in ("scale_logits", "reduce_logits", "adapted_lira"):
        name, array = next(iter(GOOD[kernel].items()))
        refuse(ValueError, f"^{name} has shape .*at least 2 classes", kernel, **{name: array[..., :1]})
    for limit in (0.0, -1.0, np.nan, np.inf):
        refuse(ValueError, "^clip_norm is .*positive finite", "scale_logits", clip_norm=limit)
    for target in (-1, 4):
        refuse(ValueError, rf"^target is {target}; expected", "leave_one_out_features", target=target)
        for kernel in ("gaussian_scores", "adapted_lira"):
            refuse(ValueError, rf"^targets is {target}; expected", kernel, targets=np.array([0, target]))
    apart = np.zeros((4, 4), dtype=bool)
    refuse(ValueError, "^apart has shape .*models and points of x", "leave_one_out_features", apart=apart)
    refuse(TypeError, "^apart has dtype.*bool", "leave_one_out_features", apart=apart.astype(int))
    refuse(ValueError, "^wanted has shape .*models and points of x", "leave_one_out_features", wanted=apart)
    for ridge in (0.0, -1.0, np.nan, np.inf):
        refuse(ValueError, "^ridge is .*between", "gaussian_scores", ridge=ridge)
        refuse(ValueError, "^ridges is .*between", "leave_one_out_features", ridges=(0.5, ridge))
    for penalty in (0.0, 1.1, -1.0, np.nan):
        refuse(ValueError, "^penalty is .*between 1e-6 and 1$", "label_probe", penalty=penalty)
    refuse(ValueError, "^labels is 3 everywhere; expected", "label_probe", labels=np.full(5, 3))
    negative = -GOOD["label_probe"]["weights"]
    refuse(ValueError, "^weights contains -1 at model 0, point 0; expected", "label_probe", weights=negative)
    refuse(ValueError, '^covariance is "none"; expected', "adapted_lira", covariance="none")
    for kernel in ("roc_metrics", "roc_resample"):
        for rate in (-0.1, 1.1, np.nan):
            rates = np.array([0.5, rate])
            refuse(ValueError, "^false_positive_rates is .*0 to 1", kernel, false_positive_rates=rates)
    for kernel in ("roc_curve", "roc_metrics"):
        for value in (True, False):
            labels = np.full_like(GOOD[kernel]["labels"], value)
            refuse(ValueError, "^labels is .*everywhere; expected", kernel, labels=labels)
    odd_bytes = np.full((4, 5), 2, np.uint8).view(np.bool_)
    refuse(ValueError, "^membership has bytes other", "adapted_lira", membership=odd_bytes)


# ------------------------------------------------------------------------------------------------ memory


def test_what_no_machine_has_is_a_memory_error():
    everything = np.broadcast_to(np.zeros((1, 3), np.float32), (1 << 36, 3))
    with pytest.raises(MemoryError, match=r"^an array of 824\.6 GB does not fit the memory that is left$"):
        _core.scale_logits(everything)
    x = np.zeros((400_000, 1, 1), np.float32)
    with pytest.raises(MemoryError, match=r"^an array of 320\.0 GB does not fit"):
        _core.condition(x, x, np.ones((1, 1), np.float32))


@pytest.mark.parametrize("kernel", ["gaussian_scores", "leave_one_out_features"])
def test_a_vocabulary_of_classes_takes_no_matrix_of_them(kernel):
    x, membership = predictions_like(6, (4, 6, 60_000)), membership_like(6, 4, 6)
    membership[:2], membership[2:] = True, False
    if kernel == "gaussian_scores":
        found = _core.gaussian_scores(x, membership, np.arange(4))
    else:
        prior = np.zeros((6, 60_000)), np.ones(60_000)
        found = _core.leave_one_out_features(x, membership, 0, prior=prior).reshape(4, 6, -1)[..., [-4, -2]]
    assert np.isfinite(found).all()
    assert (found != 0).any(axis=0).all()


def test_a_probe_of_many_features_takes_no_matrix_of_them():
    x, labels = predictions_like(6, (2, 8, 60_000)), np.arange(8) % 2
    x += labels[:, None].astype(np.float32)
    odds = _core.label_probe(x, labels, np.ones((2, 8), np.float32))
    assert (odds > 0).all()
