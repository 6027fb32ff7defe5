"""A model is used by several threads at once: each gets what it would get alone, and little memory is kept."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle

import numpy as np
import pytest

import fcnet
from fcnet import machine
from fcnet.backends.choice import installed

THREADS = 8
SIZES = (1, 2, 3, 15, 16, 17, 100, 255, 256, 257, 700, 1500)
BACKENDS = [name for name in ("numpy", "numba") if installed(name)]

rng = np.random.default_rng(11)
X = rng.normal(size=(1500, 6))


def config(backend, **more):
    mapping = {
        "name": backend,
        "data": {"task": more.pop("task", "auto")},
        "network": {"layers": more.pop("layers", [24, {"units": 24, "activation": "gelu_tanh"}])},
        "training": {"epochs": 2},
        "backend": backend,
        "threads": 2,
    }
    return mapping | more


def trained(backend, **more):
    """A net for three classes."""
    y = np.digitize(X[:, 0] - X[:, 5], [-0.5, 0.5])
    return fcnet.train(config(backend, **more), (X, np.array(["a", "b", "c"])[y])).path


def at_once(acts):
    """What each of the functions returns, called at the same time, and all of them again in turn."""
    start = threading.Barrier(THREADS)

    def work(first):
        start.wait()
        return [(i % len(acts), acts[i % len(acts)]()) for i in range(first, first + len(acts))]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            return [one for made in pool.map(work, range(THREADS)) for one in made]
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_predict_what_each_would_alone(place, backend):
    """Eight threads on one model, each with other numbers of rows, get the bits that one thread gets."""
    path = trained(backend)
    alone = [fcnet.load(path).predict_proba(X[:n]) for n in SIZES]
    model = fcnet.load(path)

    found = at_once([lambda n=n: model.predict_proba(X[:n]) for n in SIZES])

    assert len(found) == THREADS * len(SIZES)
    assert [i for i, p in found if not np.array_equal(p, alone[i])] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_predict_and_score_beside_one_another(place, backend):
    """Labels, probabilities and scores at the same time are those of one after another; so are those of two nets."""
    small, large = (fcnet.load(trained(backend, name=f"of-{n}", layers=[n, n])) for n in (8, 200))
    labels = np.array(["a", "b", "c"])[np.arange(300) % 3]
    acts = [
        act
        for model in (small, large)
        for act in (
            lambda model=model: model.predict(X[:300]).tolist(),
            lambda model=model: model.predict_proba(X[7:90]).tolist(),
            lambda model=model: model.evaluate((X[:300], labels)),
        )
    ]
    alone = [act() for act in acts]

    found = at_once(acts)

    assert [i for i, result in found if result != alone[i]] == []


def test_training_leaves_other_threads_their_predictions(place):
    """Nets that are trained, loaded and asked at the same time are what they are alone."""
    model = fcnet.load(trained("numpy"))
    alone = model.predict_proba(X)
    numbers = iter(range(1000))
    fit = lambda: fcnet.load(trained("numpy", name=f"beside-{next(numbers)}")).predict_proba(X)  # noqa: E731

    found = at_once([fit, lambda: model.predict_proba(X)])

    assert [i for i, p in found if not np.array_equal(p, alone)] == []


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_is_kept_for_few_numbers_of_rows(place, backend):
    """However many numbers of rows a model has been asked for, it keeps the buffers of two."""
    model = fcnet.load(trained(backend, layers=[500, 500]))
    model.predict(X[:1]), model.predict(X[:300])
    tracemalloc.start()
    try:
        for n in range(2, 400, 7):
            model.predict(X[:n])
        of_arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)  # and not of what is compiled meanwhile
        traces = tracemalloc.take_snapshot().filter_traces([of_arrays]).traces
        more = sum(trace.size for trace in traces)
    finally:
        tracemalloc.stop()

    assert more < 2_000_000
    assert len(model._net._idle) == 1
    assert len(model._net._idle[0].forward._compiled) == 2


def test_few_rows_take_little_memory(place):
    """The first prediction of one row takes buffers for a few rows, not for thousands."""
    path = trained("numpy", layers=[1000, 1000])
    model = fcnet.load(path)
    tracemalloc.start()
    try:
        model.predict(X[:1])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 1_000_000


def blas_threads():
    """How many threads NumPy's BLAS has."""
    return {library.get_num_threads() for library in machine._libraries()}


def elsewhere(act):
    """What the function returns in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act).result()


def test_blas_gets_its_threads_back(place):
    """After contexts that overlap, in any order and in several threads, BLAS has as many threads as before."""
    before = [*machine.blas._wanted]  # what was set for good, outside of any context, stays
    with machine.blas(2):
        first, second = machine.blas(1), elsewhere(lambda: machine.blas(3))
        found = [blas_threads()]
        first.__exit__(None, None, None)
        found.append(blas_threads())
        elsewhere(lambda: second.__exit__(None, None, None))
        found.append(blas_threads())
        machine.blas(4)

    assert found == [{3}, {3}, {2}]
    assert machine.blas._wanted == before


def test_nets_that_want_other_threads_of_blas_take_turns():
    """Who wants as many threads of BLAS works beside others, who wants more or fewer after them."""
    seen = []

    def work(n):
        with machine.agreed(n):
            seen.append((n, blas_threads()))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, [n for n, _ in zip(cycle((1, 2)), range(60), strict=False)]))

    assert len(seen) == 60
    assert {n for n, found in seen if found != {n}} == set()
