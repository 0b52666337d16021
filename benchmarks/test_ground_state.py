"""Ground states and quenches beside quimb and TeNPy: CPU seconds at equal error, one thread.

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 pytest benchmarks/test_ground_state.py \
        --benchmark-only -s -o addopts="--import-mode=importlib"

CPU time counts, in turns, since wall time on a shared machine says little. Peers run once before
their clock starts, so that compilation is not counted.
"""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import tnet
from contraction import Truncation
from integrators import TDVP, Lanczos, evolve, ground_state, models

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import references

N = 100
EXACT = references.heisenberg_energy(N)


def cpu(work):
    began = time.process_time()
    found = work()
    return found, time.process_time() - began


def in_turns(works, rounds):
    """Return name -> (last result, least CPU seconds)."""
    best = {}
    for _ in range(rounds):
        for name, work in works.items():
            found, seconds = cpu(work)
            best[name] = (found, min(seconds, best.get(name, (None, np.inf))[1]))
    return best


def ours(rank, sweeps):
    model = models.heisenberg(N)
    tree = tnet.tensor_train(model.sites)
    neel = {s: [1.0 - k % 2, float(k % 2)] for k, s in enumerate(model.sites)}

    def work():
        operator = tnet.operator(tree, model)
        return ground_state(
            operator, tnet.product_state(tree, neel), max_rank=rank, sweeps=sweeps
        ).energy

    return work


def of_quimb(n, ranks, sweeps):
    qtn = pytest.importorskip("quimb.tensor")

    def work():
        solver = qtn.DMRG2(qtn.MPO_ham_heis(n), bond_dims=ranks, cutoffs=1e-10)
        solver.solve(tol=1e-12, max_sweeps=sweeps, verbosity=0)
        return float(np.real(solver.energy))

    return work


def of_tenpy(n, rank, sweeps):
    pytest.importorskip("tenpy")
    from tenpy.algorithms import dmrg
    from tenpy.models.spins import SpinChain
    from tenpy.networks.mps import MPS

    def work():
        chain = SpinChain(
            {"L": n, "S": 0.5, "bc_MPS": "finite", "conserve": "Sz", "Jx": 1, "Jy": 1, "Jz": 1}
        )
        state = MPS.from_product_state(chain.lat.mps_sites(), ["up", "down"] * (n // 2))
        engine = dmrg.TwoSiteDMRGEngine(
            state,
            chain,
            {
                "mixer": True,
                "max_sweeps": sweeps,
                "trunc_params": {"chi_max": rank, "svd_min": 1e-10},
                "max_E_err": 1e-12,
            },
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float(engine.run()[0])

    return work


@pytest.mark.filterwarnings("ignore")
def test_heisenberg_rank_64(benchmark):
    of_quimb(20, [8, 16], 2)()
    found = in_turns({"tnet": ours(64, 5), "quimb": of_quimb(N, [10, 20, 40, 64], 6)}, 3)
    for name, (energy, seconds) in found.items():
        benchmark.extra_info[name] = {"error": energy - EXACT, "cpu_seconds": seconds}
        print(f"{name:8s} error {energy - EXACT:.2e}  {seconds:.2f} CPU s")
    benchmark.extra_info["ratio"] = found["quimb"][1] / found["tnet"][1]
    assert found["tnet"][0] <= -44.1277391
    benchmark.pedantic(ours(64, 5), rounds=1)


@pytest.mark.filterwarnings("ignore")
def test_heisenberg_rank_100(benchmark):
    of_tenpy(20, 16, 2)()
    found = in_turns({"tnet": ours(100, 6), "TeNPy U(1)": of_tenpy(N, 100, 7)}, 1)
    for name, (energy, seconds) in found.items():
        benchmark.extra_info[name] = {"error": energy - EXACT, "cpu_seconds": seconds}
        print(f"{name:12s} error {energy - EXACT:.2e}  {seconds:.2f} CPU s")
    benchmark.extra_info["ratio"] = found["TeNPy U(1)"][1] / found["tnet"][1]
    assert found["tnet"][0] - EXACT <= 3e-8
    benchmark.pedantic(ours(100, 6), rounds=1)


def quench(tree, model, time_, step, tol, local_tol):
    up = tnet.product_state(tree, {s: [1.0, 0.0] for s in model.sites})
    stepper = TDVP(truncation=Truncation(tol=tol, max_rank=64), local=Lanczos(tol=local_tol))
    generator = -1j * tnet.operator(tree, model)
    flow = evolve(generator, up, t1=time_, dt=step, stepper=stepper, every=10**6)
    return np.real(np.array(tnet.local_values(flow.state, "z")))


def test_quench_of_fifty_spins(benchmark):
    model = models.ising(50, field=0.5)
    tree = tnet.tensor_train(model.sites)
    exact = references.ising_quench(50, [2.0], field=0.5)[0]
    z, seconds = cpu(lambda: quench(tree, model, 2.0, 0.1, 1e-6, 1e-6))
    error = float(np.abs(z - exact).max())
    benchmark.extra_info |= {"error": error, "cpu_seconds": seconds}
    print(f"TDVP, free-fermion quench to t = 2: error {error:.1e}, {seconds:.2f} CPU s")
    assert error <= 1e-6
    benchmark.pedantic(lambda: quench(tree, model, 2.0, 0.1, 1e-6, 1e-6), rounds=1)


@pytest.mark.parametrize("shape", [tnet.tensor_train, tnet.balanced_tree])
def test_long_range_ising(benchmark, shape):
    model = models.long_range_ising(16)
    tree = shape(model.sites)
    z, seconds = cpu(lambda: quench(tree, model, 1.0, 0.05, 1e-6, 1e-7))
    error = abs(float(z.mean()) - 0.959058713290)
    benchmark.extra_info |= {"error": error, "cpu_seconds": seconds}
    print(f"TDVP, long range, {shape.__name__}: error {error:.1e}, {seconds:.2f} CPU s")
    assert error <= 1e-8
    benchmark.pedantic(lambda: quench(tree, model, 1.0, 0.05, 1e-6, 1e-7), rounds=1)
