"""Operators on trees: every compiled operator against dense sums of Kronecker products."""

import itertools
import math
import pickle
from functools import reduce

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.errors import (
    DTypeError,
    InputError,
    NonFiniteError,
    ShapeError,
    StructureError,
    TnetError,
)
from strategies import trees
from tnet.operators import identity_channels
from tnet.operators.assembling import centre
from tnet.operators.covers import minimum_cover
from tnet.operators.probing import product_ratio

CHAINS = [tnet.tensor_train, tnet.balanced_tree, tnet.tucker]
METHODS = list(tnet.Compiler)
NUMERICAL = [tnet.Compiler.NESTED_SVD, tnet.Compiler.SAMPLED]


def sizes(count):
    return {f"s{i}": 2 for i in range(count)}


def dense_sum(tree, terms):
    """The matrix of a sum of terms, by Kronecker products."""
    shape = [tree.size[mode] for mode in tree.modes]
    total = np.zeros((math.prod(shape),) * 2, dtype=complex)
    for coefficient, factors in terms:
        parts = []
        for mode, size in zip(tree.modes, shape, strict=True):
            held = factors.get(mode, "id")
            ops = held if isinstance(held, tuple) else (held,)
            named = [tnet.local_operator(op, size) if isinstance(op, str) else op for op in ops]
            parts.append(reduce(np.matmul, named))
        total = total + coefficient * reduce(np.kron, parts)
    return total


def matrix_of(op):
    count = math.prod(op.structure.shape)
    return np.asarray(op.to_network().to_dense()).reshape(count, count)


def widest(op):
    return max(op.ranks.values())


def heisenberg(n):
    return [(0.25, {f"s{i}": o, f"s{i + 1}": o}) for i in range(n - 1) for o in "xyz"]


def ising(n):
    bonds = [(-1.0, {f"s{i}": "z", f"s{i + 1}": "z"}) for i in range(n - 1)]
    return bonds + [(-0.5, {f"s{i}": "x"}) for i in range(n)]


def equal_pairs(n):
    return [(0.7, {f"s{i}": "z", f"s{j}": "z"}) for j in range(n) for i in range(j)]


def projectors(n):
    return [
        (0.3, dict.fromkeys((f"s{i}" for i in c), "n")) for c in itertools.combinations(range(n), 4)
    ]


def fields(n):
    return [(0.1 * i + 1.0, {f"s{i}": o}) for i in range(n) for o in "xz"]


# name -> (terms, widest bond of a chain, widest bond of a balanced tree)
MODELS = {
    "heisenberg": (heisenberg, 5, 8),
    "ising": (ising, 3, 4),
    "all-to-all": (equal_pairs, 3, 3),
    "four projectors": (projectors, 5, 5),
    "on-site": (fields, 2, 2),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODELS)
def test_ranks_of_models(name, method):
    terms, chain, tree = MODELS[name]
    for make, rank in ((tnet.tensor_train, chain), (tnet.balanced_tree, tree)):
        small = tnet.operator(make(sizes(8)), terms(8), method=method)
        np.testing.assert_allclose(
            matrix_of(small), dense_sum(small.structure, terms(8)), atol=1e-12
        )
        assert widest(small) == rank
        assert small.dtype == "float64"
        large = tnet.operator(make(sizes(16)), terms(16), method=method)
        assert widest(large) == rank


def test_all_to_all_on_a_long_chain_and_tree():
    spins = sizes(128)
    pairs = [tnet.Pairs(lambda i, j: np.ones(len(i)), "z", "z", list(spins))]
    for make in (tnet.tensor_train, tnet.balanced_tree):
        assert widest(tnet.operator(make(spins), pairs)) == 3


# (sites, exponent) -> (chain, tree) at the tolerances 1e-4, 1e-8 and 1e-12
POWER_LAWS = {
    (16, 1): ((6, 6), (9, 9), (10, 10)),
    (64, 1): ((8, 10), (11, 15), (15, 18)),
    (64, 3): ((6, 10), (11, 14), (14, 18)),
    (256, 1): ((9, 13), (14, 20), (19, 27)),
    (256, 3): ((6, 11), (12, 19), (17, 26)),
    (256, 6): ((4, 6), (7, 12), (12, 21)),
    (1024, 1): ((10, 16), (17, 26), (23, 35)),
    (1024, 3): ((6, 11), (14, 23), (20, 32)),
}
LONG = [pytest.param(*k, marks=pytest.mark.slow) for k in POWER_LAWS if k[0] > 16 and k != (64, 3)]


@pytest.mark.parametrize(("count", "power"), [(16, 1), (64, 3), *LONG])
def test_ranks_of_power_laws(count, power):
    spins = sizes(count)
    pairs = tnet.Pairs(lambda i, j: (j - i) ** -float(power), "z", "z", list(spins))
    for tol, wanted in zip((1e-4, 1e-8, 1e-12), POWER_LAWS[count, power], strict=True):
        for make, rank in zip((tnet.tensor_train, tnet.balanced_tree), wanted, strict=True):
            for method in NUMERICAL:
                op = tnet.operator(make(spins), [pairs], method=method, tol=tol)
                assert widest(op) <= rank + 1
                assert op.error <= tol


@pytest.mark.parametrize("method", NUMERICAL)
@pytest.mark.parametrize("left", ["z", "n"])
@pytest.mark.parametrize("tol", [0.1, 1e-5, 1e-9])
def test_error_of_the_numerical_compilers(left, tol, method):
    rng = np.random.default_rng(5)
    noise = 1 + 0.1 * rng.standard_normal((9, 9))
    decay = np.abs(np.subtract.outer(np.arange(9), np.arange(9)) + np.eye(9)) ** -1.5 * noise
    terms = [tnet.Pairs(decay, left, left, list(sizes(9)))]
    for make in CHAINS[:2]:
        tree = make(sizes(9))
        op = tnet.operator(tree, terms, method=method, tol=tol)
        want = matrix_of(tnet.operator(tree, terms))
        error = np.linalg.norm(matrix_of(op) - want) / np.linalg.norm(want)
        assert op.error <= tol
        assert error <= 1.0001 * op.error + 1e-14  # also for n, whose norm is mostly its mean
        if tol == 0.1:
            assert op.error > 0


@pytest.mark.parametrize("method", NUMERICAL)
@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-3, 1e-5])
@pytest.mark.parametrize("make", CHAINS[:2])
def test_truncated_operators_stay_hermitian(make, tol, method):
    spins = sizes(10)
    pairs = [
        tnet.Pairs(lambda i, j: (j - i) ** -2.0, a, b, list(spins))
        for a, b in (("s+", "s-"), ("s-", "s+"), ("sz", "sz"))
    ]
    op = tnet.operator(make(spins), pairs, method=method, tol=tol)
    assert op.hermitian
    assert op.error <= tol


def rank_bound(matrix, tree, bond):
    """The rank of the dense operator across one bond: no compiler can do with fewer channels."""
    side = tnet.rooted(tree, tree.holders[bond][0])
    below = tree.holders[bond][1]
    inside, stack = [], [below]
    while stack:
        node = stack.pop()
        inside += [leg for leg in tree.legs[node] if leg in tree.modes]
        stack += list(side.children[node])
    count = len(tree.modes)
    rows = [k for k, mode in enumerate(tree.modes) if mode in inside]
    columns = [k for k in range(count) if k not in rows]
    tensor = matrix.reshape(tree.shape * 2)
    order = rows + [k + count for k in rows] + columns + [k + count for k in columns]
    high = math.prod(tree.shape[k] for k in rows) ** 2
    values = np.linalg.svd(tensor.transpose(order).reshape(high, -1), compute_uv=False)
    return max(int((values > 1e-10 * max(values[0], 1e-300)).sum()), 1)


@st.composite
def problems(draw):
    """A random tree of few states, and random terms on it, some of them equal."""
    tree = draw(trees(max_nodes=6, max_size=3).filter(lambda t: math.prod(t.shape) <= 64))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    complex_ = draw(st.booleans())
    pools = {}
    for mode in tree.modes:
        n = tree.size[mode]
        pools[mode] = [rng.standard_normal((n, n)) for _ in range(2)] + ["n", "sz", "id", "s+"]
        if complex_:
            pools[mode].append("sy")
    terms = []
    for _ in range(draw(st.integers(0, 12))):
        held = [m for m in tree.modes if rng.random() < 0.5]
        factors = {m: pools[m][rng.integers(len(pools[m]))] for m in held}
        coefficient = float(rng.choice([1.0, -0.5, rng.standard_normal()]))
        terms.append((coefficient * (1j if complex_ and rng.random() < 0.3 else 1), factors))
        if rng.random() < 0.2:
            terms.append(terms[rng.integers(len(terms))])
    return tree, terms, rng


@settings(max_examples=40, deadline=None)
@given(problems(), st.sampled_from(METHODS))
def test_random_terms_on_random_trees(problem, method):
    tree, terms, _ = problem
    op = tnet.operator(tree, terms, method=method)
    want = dense_sum(tree, terms)
    top = max(np.abs(want).max(), 1.0)
    np.testing.assert_allclose(matrix_of(op), want, atol=1e-11 * top)
    np.testing.assert_allclose(matrix_of((2 - 1j) * op), (2 - 1j) * want, atol=1e-11 * top)
    np.testing.assert_allclose(matrix_of(op.adjoint()), want.conj().T, atol=1e-11 * top)
    np.testing.assert_allclose(matrix_of(op + 0.5 * op), 1.5 * want, atol=1e-11 * top)
    assert all(a <= b for a, b in zip((op + op).ranks.values(), op.ranks.values(), strict=True))
    back = tnet.TreeOperator.from_network(op.to_network())
    np.testing.assert_allclose(matrix_of(back), want, atol=1e-11 * top)
    near = np.abs(want - want.conj().T).max() <= 1e-13 * top
    assert op.hermitian == near


@settings(max_examples=30, deadline=None)
@given(problems())
def test_ranks_stay_near_the_bound(problem):
    tree, terms, rng = problem
    names = ["sx", "sz", "s+"]  # independent of each other and of the identity
    generic = [
        (float(rng.standard_normal()), {mode: names[rng.integers(3)] for mode in factors})
        for _, factors in terms
    ]
    want = dense_sum(tree, generic)
    op = tnet.operator(tree, generic, method=tnet.Compiler.NESTED_SVD)
    for bond in tree.bonds:
        # two exact channels beside the crossing strings: at most one of each is not needed
        assert op.ranks[bond] <= rank_bound(want, tree, bond) + 2


def test_generic_ranks_are_those_of_the_dense_operator():
    rng = np.random.default_rng(3)
    names = ["x", "z", "+"]  # with the identity independent
    for make in CHAINS:
        tree = make(sizes(7))
        terms = []
        for _ in range(25):
            held = rng.choice(7, rng.integers(1, 4), replace=False)
            factors = {f"s{i}": names[rng.integers(3)] for i in held}
            terms.append((float(rng.standard_normal()), factors))
        want = dense_sum(tree, terms)
        for method in METHODS:
            op = tnet.operator(tree, terms, method=method)
            for bond in tree.bonds:
                assert op.ranks[bond] <= rank_bound(want, tree, bond) + 1


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_terms_on_product_states(count):
    rng = np.random.default_rng(0)
    spins = sizes(60)
    where = np.sort(np.argsort(rng.random((count, 60)), axis=1)[:, :3], axis=1)
    which = rng.integers(0, 3, where.shape)
    weights = rng.standard_normal(count)
    terms = [
        (w, {f"s{i}": "x+n"[k] for i, k in zip(ii, kk, strict=True)})
        for w, ii, kk in zip(weights, where.tolist(), which.tolist(), strict=True)
    ]
    op = tnet.operator(tnet.balanced_tree(spins), terms)
    bra, ket = ({m: rng.standard_normal(2) + 3.0 for m in spins} for _ in range(2))
    held = [tnet.local_operator(name, 2) for name in "x+n"]
    single = np.array([[bra[m] @ x @ ket[m] / (bra[m] @ ket[m]) for x in held] for m in spins])
    parts = weights * single[where, which].prod(axis=1)
    assert abs(product_ratio(op, bra, ket) - parts.sum()) <= 1e-12 * np.abs(parts).sum()


def test_equal_terms_are_collected_and_zeros_go():
    tree = tnet.tensor_train(sizes(3))
    z = np.diag([2.0, -2.0])
    op = tnet.operator(
        tree, [(0.5, {"s0": z}), (1.0, {"s0": "z"}), (-2.0, {"s0": "z", "s1": "id"})]
    )
    assert matrix_of(op).any() == np.False_
    assert all(rank == 1 for rank in op.ranks.values())
    several = tnet.operator(tree, [(1.0, {"s1": ("s+", "s-")}), (1.0, {"s1": ["s-", "s+"]})])
    np.testing.assert_allclose(matrix_of(several), np.eye(8))
    assert tnet.operator(tree, []).hermitian


def test_repeated_on_site_terms_do_not_overwrite_each_other():
    tree = tnet.balanced_tree(sizes(4))
    terms = [(1.0, {"s2": "x"}), (0.5, {"s2": "z"}), (2.0, {"s2": "x"}), (1.0, {"s2": ("x", "z")})]
    np.testing.assert_allclose(matrix_of(tnet.operator(tree, terms)), dense_sum(tree, terms))


@pytest.mark.parametrize("make", CHAINS)
def test_multiples_and_identity_channels(make):
    tree = make(sizes(6))
    terms = [
        *heisenberg(6),
        (0.3, {"s2": "x"}),
        (0.7, {}),
        (0.4, {"s1": "x", "s5": "z", "s3": "+"}),
    ]
    op, want = tnet.operator(tree, terms), dense_sum(tree, terms)
    np.testing.assert_allclose(matrix_of(-1j * op), -1j * want, atol=1e-13)
    assert op.dtype == "float64"
    assert (1j * (-1j * op)).dtype == "float64"
    assert not op.hermitian
    assert tnet.operator(tree, heisenberg(6)).hermitian
    assert (-1j * tnet.operator(tree, heisenberg(6))).hermitian_factor == -1j
    root = centre(tree)
    found = identity_channels(op, root)
    assert found == identity_channels(-1j * op, root)
    assert set(found.below) == set(tree.bonds)


def test_sums_share_channels():
    tree = tnet.balanced_tree(sizes(8))
    a, b = tnet.operator(tree, heisenberg(8)), tnet.operator(tree, ising(8))
    np.testing.assert_allclose(matrix_of(a + b), matrix_of(a) + matrix_of(b), atol=1e-13)
    np.testing.assert_allclose(matrix_of(a - b), matrix_of(a) - matrix_of(b), atol=1e-13)
    both = tnet.operator(tree, heisenberg(8) + ising(8))
    assert widest(a + b) <= widest(both) + 2
    assert widest(a - a) == 1
    with pytest.raises(StructureError, match="same tree"):
        a + tnet.operator(tnet.tensor_train(sizes(8)), ising(8))
    with pytest.raises(TypeError):
        a + 1.0


def jordan_wigner(count, order):
    """Dense annihilation operators, with strings in a given order of the sites."""
    sign, lower, one = np.diag([1.0, -1.0]), np.array([[0.0, 1.0], [0.0, 0.0]]), np.eye(2)
    found = {}
    for place, site in enumerate(order):
        earlier = order[:place]
        parts = [
            lower if f"s{i}" == site else sign if f"s{i}" in earlier else one for i in range(count)
        ]
        found[site] = reduce(np.kron, parts)
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", CHAINS)
def test_fermions(make, method):
    rng = np.random.default_rng(1)
    count = 6
    for order in ([f"s{i}" for i in range(count)], [f"s{i}" for i in rng.permutation(count)]):
        lower = jordan_wigner(count, order)
        terms, want = [], np.zeros((2**count,) * 2)
        for _ in range(12):
            held = [f"s{i}" for i in rng.permutation(count)[:4]]
            ops = rng.choice(["c", "cdag"], 4).tolist()
            weight = float(rng.standard_normal())
            terms.append((weight, dict(zip(held, ops, strict=True))))
            parts = [
                lower[s].T if op == "cdag" else lower[s] for s, op in zip(held, ops, strict=True)
            ]
            want = want + weight * reduce(np.matmul, parts)
        a, b, c = (f"s{i}" for i in rng.permutation(count)[:3])
        terms += [(0.3, {a: "cdag", b: "n", c: "c"}), (0.6, {a: ("cdag", "c")})]
        want = want + 0.3 * lower[a].T @ lower[b].T @ lower[b] @ lower[c]
        want = want + 0.6 * lower[a].T @ lower[a]
        sites = [f"s{i}" for i in rng.permutation(count)]
        hopping = rng.standard_normal((count, count))
        terms.append(tnet.Pairs(hopping, "cdag", "c", sites))
        for i, j in itertools.combinations(range(count), 2):
            want = want + hopping[i, j] * lower[sites[i]].T @ lower[sites[j]]
        op = tnet.operator(make(sizes(count)), terms, method=method, order=order)
        np.testing.assert_allclose(matrix_of(op), want, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_modes_of_many_kinds_on_inner_nodes(method):
    tree = tnet.tree(
        ("spin", ("b0", ("b1", "b2")), ("q", ())), {"spin": 2, "b0": 3, "b1": 2, "b2": 4, "q": 3}
    )
    terms = [(0.5, {"spin": "z", m: ("b", "bdag")}) for m in ("b0", "b1", "b2")]
    terms += [
        (1.1, {"b0": "bdag", "b2": "b"}),
        (1.1, {"b0": "b", "b2": "bdag"}),
        (0.2, {"q": "sx"}),
    ]
    op = tnet.operator(tree, terms, method=method)
    np.testing.assert_allclose(matrix_of(op), dense_sum(tree, terms), atol=1e-13)
    assert op.hermitian


def test_large_modes_stay_sparse():
    size = 10_000
    tree = tnet.tensor_train({"a": size, "b": 2})
    shift = scipy.sparse.diags([np.ones(size - 1), np.ones(size - 1)], [1, -1], format="csr")
    op = tnet.operator(
        tree, [(1.0, {"a": shift}), (0.5, {"a": "n", "b": "z"}), (1.0, {"a": 2 * shift, "b": "x"})]
    )
    assert all(scipy.sparse.issparse(x) for x in op.locals["a"])
    assert len(op.locals["a"]) == 3
    assert op.hermitian
    assert not op.locals["a"][1].data.flags.writeable


@pytest.mark.parametrize("count", [1_500, pytest.param(20_000, marks=pytest.mark.slow)])
def test_large_trees_without_recursion(count):
    op = tnet.operator(tnet.tensor_train(sizes(count)), ising(count))
    assert widest(op) == 3


def test_operators_where_networks_go():
    tree = tnet.balanced_tree(sizes(4))
    op = tnet.operator(tree, heisenberg(4))
    state = tnet.random_network(
        tree.resized(dict.fromkeys(tree.bonds, 2)), rng=np.random.default_rng(0)
    )
    got = np.asarray(tnet.apply(op, state).to_dense()).reshape(-1)
    np.testing.assert_allclose(
        got, matrix_of(op) @ np.asarray(state.to_dense()).reshape(-1), atol=1e-12
    )
    assert "s0'" in str(tnet.draw(op))
    again = pickle.loads(pickle.dumps(op))
    np.testing.assert_array_equal(matrix_of(again), matrix_of(op))
    torch = pytest.importorskip("torch")
    moved = tnet.apply(op, state.to(namespace="torch"))
    assert isinstance(moved["t0"], torch.Tensor)
    np.testing.assert_allclose(moved.to_dense().numpy().reshape(-1), got, atol=1e-12)


def test_local_operators():
    up, down = tnet.local_operator("s+", 4), tnet.local_operator("s-", 4)
    x, y, z = (tnet.local_operator(name, 4) for name in ("sx", "sy", "sz"))
    np.testing.assert_allclose(x @ y - y @ x, 1j * z, atol=1e-14)
    np.testing.assert_allclose(x + 1j * y, up, atol=1e-14)
    np.testing.assert_allclose(up.T, down)
    np.testing.assert_allclose(x @ x + y @ y + z @ z, 3.75 * np.eye(4), atol=1e-14)
    b, number = tnet.local_operator("b", 5), tnet.local_operator("n", 5)
    np.testing.assert_allclose(tnet.local_operator("bdag", 5) @ b, number, atol=1e-14)
    plus, minus = tnet.local_operator("+", 2), tnet.local_operator("-", 2)
    np.testing.assert_allclose(plus + minus, tnet.local_operator("x", 2))
    np.testing.assert_allclose(
        tnet.local_operator("cdag", 2) @ tnet.local_operator("c", 2), tnet.local_operator("n", 2)
    )
    assert scipy.sparse.issparse(tnet.local_operator("b", 1000))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 7), st.booleans())
def test_covers_write_the_matrix(seed, rows, columns, equal):
    rng = np.random.default_rng(seed)
    values = np.ones((rows, columns)) if equal else rng.standard_normal((rows, columns))
    dense = values * (rng.random((rows, columns)) < 0.5)
    dense = dense[dense.any(axis=1)][:, dense.any(axis=0)]
    row, column = np.nonzero(dense)
    cover = minimum_cover(row, column, dense[row, column])
    left = np.zeros((dense.shape[0], cover.width))
    right = np.zeros((cover.width, dense.shape[1]))
    np.add.at(left, (cover.row, cover.channel), cover.weight)
    np.add.at(right, (cover.kept_channel, column[cover.kept]), cover.kept_coefficient)
    np.testing.assert_allclose(left @ right, dense, atol=1e-13)
    pattern = dense != 0
    smallest = next(
        (
            k
            for k in range(sum(dense.shape) + 1)
            for chosen in itertools.combinations(range(sum(dense.shape)), k)
            if not np.delete(
                np.delete(pattern, [c for c in chosen if c < dense.shape[0]], axis=0),
                [c - dense.shape[0] for c in chosen if c >= dense.shape[0]],
                axis=1,
            ).any()
        ),
        0,
    )
    assert cover.width <= smallest


BAD = [
    (DTypeError, "must be a tnet.Term", [3.0]),
    (DTypeError, "must be a number", [("1", {"s0": "z"})]),
    (NonFiniteError, "must be finite", [(float("nan"), {"s0": "z"})]),
    (StructureError, "did you mean 's1'", [(1.0, {"S1": "z"})]),
    (InputError, "did you mean 'sz'", [(1.0, {"s0": "sz_"})]),
    (ShapeError, "expected", [(1.0, {"s0": np.eye(3)})]),
    (ShapeError, "acts on 2 states", [(1.0, {"b": "x"})]),
    (NonFiniteError, "NaN or infinity", [(1.0, {"s0": np.full((2, 2), np.inf)})]),
    (InputError, "fermionic operators", [(1.0, {"s0": "c", "s1": "n"})]),
    (ShapeError, "Jordan-Wigner string passes mode 'b'", [(1.0, {"s0": "cdag", "s1": "c"})]),
    (InputError, "fermion parity", [tnet.Pairs(np.ones((2, 2)), "c", "z", ["s0", "s1"])]),
    (ShapeError, "need shape", [tnet.Pairs(np.ones((3, 3)), "z", "z", ["s0", "s1"])]),
    (NonFiniteError, "first at", [tnet.Pairs(np.full((2, 2), np.nan), "z", "z", ["s0", "s1"])]),
    (StructureError, "no mode", [tnet.Pairs(np.ones((2, 2)), "z", "z", ["s0", "q"])]),
    (StructureError, "named twice", [tnet.Pairs(np.ones((2, 2)), "z", "z", ["s0", "s0"])]),
    (DTypeError, "list of terms", tnet.Term(1.0, {"s0": "z"})),
    (DTypeError, "holds", [(1.0, {"s0": np.array([["a", "b"], ["c", "d"]])})]),
]


@pytest.mark.parametrize(("kind", "message", "terms"), BAD)
def test_errors(kind, message, terms):
    tree = tnet.tensor_train({"s0": 2, "b": 3, "s1": 2})
    with pytest.raises(kind, match=message) as caught:
        tnet.operator(tree, terms)
    assert isinstance(caught.value, TnetError)


def test_other_errors():
    chain = tnet.tensor_train(sizes(3))
    with pytest.raises(DTypeError, match="Compiler"):
        tnet.operator(chain, [], method="exact")
    with pytest.raises(InputError, match="tol"):
        tnet.operator(chain, [], tol=-1.0)
    with pytest.raises(StructureError, match="order"):
        tnet.operator(chain, [], order=["s0", "q"])
    with pytest.raises(StructureError, match="tree"):
        tnet.operator(tnet.tensor_ring(sizes(3)), [])
    with pytest.raises(DTypeError, match="Structure"):
        tnet.operator("chain", [])
    with pytest.raises(StructureError, match="twin"):
        tnet.TreeOperator.from_network(tnet.random_network(chain, rng=np.random.default_rng(0)))
    with pytest.raises(NonFiniteError):
        float("inf") * tnet.operator(chain, ising(3))


def test_fermions_beside_other_modes():
    tree = tnet.tensor_train({"s0": 2, "b": 3, "s1": 2})
    op = tnet.operator(tree, [(1.0, {"s0": "cdag", "s1": "c"})], order=["s0", "s1"])
    lower = np.array([[0.0, 1.0], [0.0, 0.0]])
    want = reduce(np.kron, [lower.T @ np.diag([1.0, -1.0]), np.eye(3), lower])
    np.testing.assert_allclose(matrix_of(op), want)
