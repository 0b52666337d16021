"""Operators from sums of terms beside TeNPy's and quimb's builders, in turns.

Each line of `extra_info` states the largest bond, next to the seconds of CPU time; chains only,
since the peers build on nothing else. TeNPy's graph builder does not unite equal coefficients,
quimb's `SpinHam1D` reads nearest-neighbour terms alone.
"""

import itertools
import time

import numpy as np
import pytest

import tnet

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers warn when they are imported


def names(count):
    return [f"s{i}" for i in range(count)]


def power_law(count, power):
    i, j = np.triu_indices(count, 1)
    return [
        (float((b - a) ** -power), {f"s{a}": "sz", f"s{b}": "sz"})
        for a, b in zip(i.tolist(), j.tolist(), strict=True)
    ]


def equal_pairs(count):
    return [(1.0, factors) for _, factors in power_law(count, 0.0)]


def four_projectors(count):
    held = itertools.combinations(names(count), 4)
    return [(1.0, dict.fromkeys(sites, "n")) for sites in held]


def random_strings(count, terms):
    rng = np.random.default_rng(0)
    where = np.sort(np.argsort(rng.random((terms, count)), axis=1)[:, :4], axis=1)
    which = rng.integers(0, 2, where.shape)
    weights = rng.standard_normal(terms).tolist()
    return [
        (w, {f"s{i}": ("sx", "sz")[k] for i, k in zip(ii, kk, strict=True)})
        for w, ii, kk in zip(weights, where.tolist(), which.tolist(), strict=True)
    ]


def heisenberg(count):
    pairs = itertools.pairwise(names(count))
    return [(1.0, {a: op, b: op}) for a, b in pairs for op in ("sx", "sy", "sz")]


def with_tenpy(terms, count):
    """Build the MPO with TeNPy from its own list of terms; return its largest bond."""
    from tenpy.networks.mpo import MPOGraph
    from tenpy.networks.site import SpinHalfSite
    from tenpy.networks.terms import TermList

    site = SpinHalfSite(conserve=None)
    site.add_op("N", np.diag([0.0, 1.0]))
    label = {"sx": "Sx", "sy": "Sy", "sz": "Sz", "n": "N"}
    listed = TermList(
        [[(label[op], int(name[1:])) for name, op in factors.items()] for _, factors in terms],
        [weight for weight, _ in terms],
    )
    onsite, coupling = listed.to_OnsiteTerms_CouplingTerms([site] * count)
    graph = MPOGraph.from_terms((onsite, coupling), [site] * count, "finite")
    return max(graph.build_MPO().chi)


def with_quimb(count):
    import quimb.tensor as qtn

    builder = qtn.SpinHam1D(S=1 / 2)
    for op in "XYZ":
        builder += 1.0, op, op
    return max(builder.build_mpo(count).bond_sizes())


def ours(terms, count, make=tnet.tensor_train, **options):
    tree = make(dict.fromkeys(names(count), 2))
    return max(tnet.operator(tree, terms, **options).ranks.values())


NESTED = {"method": tnet.Compiler.NESTED_SVD, "tol": 1e-8}
CASES = {
    "heisenberg 200": (heisenberg(200), 200, {}),
    "all-to-all 60": (equal_pairs(60), 60, {}),
    "power law 3, 60": (power_law(60, 3.0), 60, NESTED),
    "four projectors 20": (four_projectors(20), 20, {}),
    "random strings 300": (random_strings(30, 300), 30, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_chain(benchmark, name):
    pytest.importorskip("tenpy")
    terms, count, options = CASES[name]
    runs = {
        "ours": lambda: ours(terms, count, **options),
        "tenpy": lambda: with_tenpy(terms, count),
    }
    if name.startswith("heisenberg"):
        pytest.importorskip("quimb")
        runs["quimb"] = lambda: with_quimb(count)
    seconds = {who: [] for who in runs}
    for _ in range(3):
        for who, run in runs.items():
            start = time.process_time()
            benchmark.extra_info[f"{who} rank"] = run()
            seconds[who].append(time.process_time() - start)
    medians = {who: float(np.median(times)) for who, times in seconds.items()}
    for who, median in medians.items():
        benchmark.extra_info[f"{who} s"] = median
        benchmark.extra_info[f"{who} / ours"] = median / medians["ours"]
    print(f"\n{name}: {benchmark.extra_info}")
    benchmark.pedantic(runs["ours"], rounds=1)


@pytest.mark.parametrize("make", [tnet.tensor_train, tnet.balanced_tree])
def test_hundred_thousand_terms(benchmark, make):
    terms = random_strings(100, 100_000)
    start = time.process_time()
    benchmark.extra_info["rank"] = ours(terms, 100, make)
    benchmark.extra_info["cpu s"] = time.process_time() - start
    print(f"\n{make.__name__}: {benchmark.extra_info}")
    benchmark.pedantic(lambda: ours(terms[:10_000], 100, make), rounds=1)


@pytest.mark.parametrize("make", [tnet.tensor_train, tnet.balanced_tree])
def test_growth_of_power_laws(benchmark, make):
    """CPU seconds and entries of the cores for doubled lengths."""
    for count in (128, 256, 512, 1024):
        tree = make(dict.fromkeys(names(count), 2))
        decay = tnet.Pairs(lambda i, j: (j - i) ** -3.0, "sz", "sz", names(count))
        start = time.process_time()
        op = tnet.operator(tree, [decay], **NESTED)
        benchmark.extra_info[f"{count} cpu s"] = time.process_time() - start
        benchmark.extra_info[f"{count} entries"] = op.num_entries
    print(f"\n{make.__name__}: {benchmark.extra_info}")
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.mark.parametrize("make", [tnet.tensor_train, tnet.balanced_tree])
def test_growth_of_sampled_power_laws(benchmark, make):
    """The same from samples: nearly linear, to 4096 sites."""
    for count in (512, 1024, 2048, 4096):
        tree = make(dict.fromkeys(names(count), 2))
        decay = tnet.Pairs(lambda i, j: (j - i) ** -3.0, "sz", "sz", names(count))
        start = time.process_time()
        op = tnet.operator(tree, [decay], method=tnet.Compiler.SAMPLED, tol=1e-8)
        benchmark.extra_info[f"{count} cpu s"] = time.process_time() - start
        benchmark.extra_info[f"{count} rank"] = max(op.ranks.values())
        benchmark.extra_info[f"{count} error"] = op.error
    print(f"\n{make.__name__}: {benchmark.extra_info}")
    benchmark.pedantic(lambda: None, rounds=1)
