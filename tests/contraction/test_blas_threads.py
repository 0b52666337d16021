"""SciPy's BLAS on one thread: nesting, threads at once, and what is left behind."""

import threading

import numpy as np
import pytest
import scipy.linalg
from threadpoolctl import ThreadpoolController

import tnet
from contraction import blas_threads
from contraction.blas_threads import Pool, belongs_to_scipy, threads_for


class Library:
    def __init__(self, count):
        self.num_threads = count

    def set_num_threads(self, count):
        self.num_threads = count


def counts():
    """Threads of (SciPy's BLAS, all others)."""
    assert scipy.linalg
    found = [x for x in ThreadpoolController().lib_controllers if x.user_api == "blas"]
    scipys = [x.num_threads for x in found if belongs_to_scipy(x.filepath)]
    return scipys, [x.num_threads for x in found if not belongs_to_scipy(x.filepath)]


def test_only_scipys_own_blas_is_limited_and_then_restored():
    scipys, others = counts()
    with threads_for(1e12):
        inside = counts()
    assert inside[1] == others
    assert inside[0] == ([1] * len(scipys) if others else scipys)
    assert counts() == (scipys, others)


def test_an_error_restores_as_well():
    before = counts()
    with pytest.raises(KeyError), threads_for(1e12):
        raise KeyError
    assert counts() == before


def test_the_last_to_leave_restores():
    library = Library(7)
    pool = Pool(library)
    inside, leave = threading.Barrier(5), threading.Event()

    def work():
        pool.enter()
        inside.wait(10)
        leave.wait(10)
        pool.leave()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    inside.wait(10)
    pool.enter()
    assert library.num_threads == 1
    pool.leave()
    assert library.num_threads == 1
    leave.set()
    for worker in workers:
        worker.join(10)
    assert library.num_threads == 7


def test_small_work_has_one_thread_everywhere():
    before = counts()
    with threads_for(1e6):
        assert {n for part in counts() for n in part} == {1}
        with threads_for(1e12):
            pass
        assert {n for part in counts() for n in part} == {1}
    assert counts() == before


@pytest.mark.parametrize("missing", [False, True])
def test_fits_run_inside(monkeypatch, missing):
    seen = []
    pools = ((Pool(Recorder(seen)), False),)
    monkeypatch.setattr(blas_threads, "_pools", lambda scipy_is_loaded: pools)
    x = np.random.default_rng(0).standard_normal((4, 5, 6))
    if missing:
        x[0, 0, 0] = np.nan
    options = tnet.ALS(restarts=1, probe=2, polish=0, ridge=0.1 if missing else None)
    tnet.fit(x, tnet.tensor_ring(x.shape, 2), rng=np.random.default_rng(1), options=options)
    assert seen == [1, 3] * (1 if missing else 2)  # a dense fit starts from a decomposition


class Recorder(Library):
    def __init__(self, seen):
        super().__init__(3)
        self.seen = seen

    def set_num_threads(self, count):
        self.seen.append(count)
        super().set_num_threads(count)
