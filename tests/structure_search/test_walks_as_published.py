"""TnALE, TNLS and TNGA against their published rules: worked out by hand, and plainly rewritten."""

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import Scripted, asked, drive, order_of_modes, problem, ranks

import tnet
from structure_search import TNGA, TNLS, Custom, TnALE
from structure_search.space.templates import Template

# ---- TnALE by hand -------------------------------------------------------------------------

NEVER = 9.0
G1 = {1: 4.0, 2: 7.0, 3: 2.0, 4: 8.0}
G2 = {4: 3.0, 5: 1.0, 6: 4.0, 7: 3.0}
G3 = {2: 5.0, 3: 0.5, 4: 1.0, 5: 4.0, 6: 2.0}
G4 = {1: 6.0, 3: 4.0, 4: 20.0, 5: 1.0}
ORDERS = {"abcd": 3.0, "bacd": 1.0}


def squared(r, order):
    """A sum over the variables, and 20 where exactly one of r2 = 5 and r3 != 2 holds not."""
    parts = [g.get(x, NEVER) for g, x in zip((G1, G2, G3, G4), r, strict=True)]
    return sum(parts) + ORDERS.get(order, 5.0) + 20.0 * ((r[1] == 5) == (r[2] == 2))


def swaps(order):
    """All exchanges of two modes, row by row."""
    found = []
    for i, j in itertools.combinations(range(len(order)), 2):
        new = list(order)
        new[i], new[j] = new[j], new[i]
        found.append("".join(new))
    return found


def steps_of(batches):
    """Return the ranks and orders of modes asked for, step by step."""
    steps = []
    for label, group in itertools.groupby(
        (p for batch in batches for p in batch), key=lambda p: p.label
    ):
        steps.append((label, [(ranks(p.structure), order_of_modes(p.structure)) for p in group]))
    return steps


def test_five_trips_on_a_ring_of_four_worked_out_by_hand():
    # the score is the squared error, and 5 unless the last rank is 4
    def score(found):
        return found.error**2 + 5.0 * (found.structure.size.get("g2-g3", 1) != 4)

    start = tnet.tensor_ring(dict.fromkeys("abcd", 50), (7, 4, 2, 1))  # the first bond closes it
    # of the near values of ranks 2, 3, 4 and the order: the centre itself, which is drawn again;
    # then (6, 2, 5) and "bacd"; after the trip that failed (5, 3, 6) and "cabd"; the last are
    # drawn after the last trip
    rng = Scripted(1, 1, 1, 0, 2, 0, 1, 0, 1, 1, 2, 2, 0, 0, 0, 0)
    method = TnALE(max_rank=7, patience=3, starts=1)
    batches, _ = drive(
        method,
        problem(start, Custom(score=score), rng),
        lambda s: math.sqrt(squared(ranks(s), order_of_modes(s))),
    )

    def at(order, *states):
        return [(state, order) for state in states]

    a, b, c = "abcd", "bacd", "cabd"
    wanted = [
        # Trip 1: windows of five, of which the ends and the middle are asked for.
        at(a, (1, 7, 4, 2), (3, 7, 4, 2), (5, 7, 4, 2)),  # {1..5}, shifted; 3 has 2
        at(a, (3, 7, 4, 2), (3, 3, 4, 2), (3, 5, 4, 2)),  # {3..7}, shifted; 5 has 1
        at(a, (3, 5, 4, 2), (3, 5, 2, 2), (3, 5, 6, 2)),  # {2..6}; stays
        # {1..5}: 2 is not asked for; 4 is believed to have (4 + 1) / 2, in truth 20
        at(a, (3, 5, 4, 1), (3, 5, 4, 3), (3, 5, 4, 5)),
        [((3, 5, 4, 4), order) for order in (a, *swaps(a))],  # "bacd" has 25, believed are 9.5
        at(a, (3, 5, 4, 1), (3, 5, 4, 3), (3, 5, 4, 5)),
        at(a, (3, 5, 4, 4), (3, 5, 2, 4), (3, 5, 6, 4)),
        at(a, (3, 5, 4, 4), (3, 3, 4, 4), (3, 7, 4, 4)),
        at(a, (3, 5, 4, 4), (1, 5, 4, 4), (5, 5, 4, 4)),
        # Trip 2: what was believed is forgotten; windows of three around (3, 5, 4, 4).
        at(a, (3, 5, 4, 4), (2, 5, 4, 4), (4, 5, 4, 4)),
        at(a, (3, 5, 4, 4), (3, 4, 4, 4), (3, 6, 4, 4)),
        at(a, (3, 5, 4, 4), (3, 5, 3, 4), (3, 5, 5, 4)),
        at(a, (3, 5, 3, 4), (3, 5, 3, 3), (3, 5, 3, 5)),  # 20, 4 + 5, 1 + 5
        [((3, 5, 3, 5), order) for order in (a, *swaps(a))],
        at(b, (3, 5, 3, 5), (3, 5, 3, 3), (3, 5, 3, 4)),
        at(b, (3, 5, 3, 5), (3, 5, 4, 5), (3, 5, 5, 5)),
        at(b, (3, 5, 3, 5), (3, 4, 3, 5), (3, 6, 3, 5)),
        at(b, (3, 5, 3, 5), (2, 5, 3, 5), (4, 5, 3, 5)),
        # Trip 3: five steps return to the centre (3, 5, 3, 5), "bacd": early end.
        at(b, (3, 5, 3, 5), (2, 5, 3, 5), (4, 5, 3, 5)),
        at(b, (3, 5, 3, 5), (3, 4, 3, 5), (3, 6, 3, 5)),
        at(b, (3, 5, 3, 5), (3, 5, 2, 5), (3, 5, 4, 5)),
        at(b, (3, 5, 3, 5), (3, 5, 3, 4), (3, 5, 3, 6)),
        [((3, 5, 3, 5), order) for order in (b, *swaps(b))],
        # Trip 4, from (3, 6, 2, 5): ends at (3, 4, 2, 5) with 17, the centre has 10.5.
        at(b, (3, 6, 2, 5), (2, 6, 2, 5), (4, 6, 2, 5)),
        at(b, (3, 6, 2, 5), (3, 4, 2, 5), (3, 5, 2, 5)),
        at(b, (3, 4, 2, 5), (3, 4, 3, 5), (3, 4, 4, 5)),
        at(b, (3, 4, 2, 5), (3, 4, 2, 4), (3, 4, 2, 6)),
        [((3, 4, 2, 5), order) for order in (b, *swaps(b))],
        at(b, (3, 4, 2, 5), (3, 4, 2, 4), (3, 4, 2, 6)),
        at(b, (3, 4, 2, 5), (3, 4, 3, 5), (3, 4, 4, 5)),
        at(b, (3, 4, 2, 5), (3, 5, 2, 5), (3, 6, 2, 5)),
        at(b, (3, 4, 2, 5), (2, 4, 2, 5), (4, 4, 2, 5)),
        # Trip 5, from (3, 5, 3, 6), "cabd", around the old centre: it comes back to it.
        at(c, (3, 5, 3, 6), (2, 5, 3, 6), (4, 5, 3, 6)),
        at(c, (3, 5, 3, 6), (3, 4, 3, 6), (3, 6, 3, 6)),
        at(c, (3, 5, 3, 6), (3, 5, 2, 6), (3, 5, 4, 6)),
        at(c, (3, 5, 3, 6), (3, 5, 3, 4), (3, 5, 3, 5)),
        [((3, 5, 3, 5), o) for o in (c, b, *(o for o in swaps(b) if o != c))],
        at(b, (3, 5, 3, 5), (3, 5, 3, 4), (3, 5, 3, 6)),
        at(b, (3, 5, 3, 5), (3, 5, 2, 5), (3, 5, 4, 5)),
        at(b, (3, 5, 3, 5), (3, 4, 3, 5), (3, 6, 3, 5)),
        at(b, (3, 5, 3, 5), (2, 5, 3, 5), (4, 5, 3, 5)),
    ]
    steps = steps_of(batches)
    assert [states for _, states in steps] == wanted
    trips = [int(label.split(", ")[1].removeprefix("trip ")) for label, _ in steps]
    assert [trips.count(k) for k in (1, 2, 3, 4, 5)] == [9, 9, 5, 9, 9]
    assert rng.left == []


# ---- TnALE rewritten -----------------------------------------------------------------------


def window(rank, radius, most):
    """Whole numbers around a rank, shifted into 1..most."""
    low = max(1, min(rank - radius, most - 2 * radius))
    return list(range(low, min(low + 2 * radius, most) + 1))


def tnale(now, most, rse, price, *, radii, first_trips, patience, rng):
    """TnALE on a ring, with neither batches nor bounds; return the sets asked for by each step.

    A point is (rank, ..., rank, order).
    """
    count = len(now) - 1
    trip = [*range(count), count, *range(count - 1, 0, -1), 0]
    asked = []

    def near(centre, v, radius):
        return window(centre[v], radius, most) if v < count else [centre[count], *swaps(centre[-1])]

    def put(point, v, value):
        return (*point[:v], value, *point[v + 1 :])

    centre = now
    for phase, radius in enumerate(radii):
        best, vain, done = math.inf, 0, 0
        now, believed = centre, None
        while vain < patience and (phase == 1 or done < first_trips):
            done, back = done + 1, 0
            for v in trip:
                values = near(centre, v, radius)
                three = phase == 0 and v < count and len(values) > 3
                ends = [values[0], values[len(values) // 2], values[-1]] if three else values
                asked.append({put(now, v, value) for value in ends})
                loss = {value: rse(put(now, v, value)) for value in ends}
                if three:
                    loss |= {x: float(np.interp(x, ends, [loss[e] for e in ends])) for x in values}
                if believed is not None:
                    loss[now[v]] = min(believed, loss[now[v]])
                cost = {x: price(put(now, v, x)) + loss[x] for x in values}
                value = min(values, key=lambda x: cost[x])
                now, believed, found = put(now, v, value), loss[value], cost[value]
                back += now == centre
                if back == count + 1:
                    break
            vain = 0 if found < best else vain + 1
            failed = found > best
            if not failed:
                centre, best = now, found
            if failed or back == count + 1:
                now, believed = centre, None
                while now == centre:
                    for v in range(1, count + 1):
                        values = near(centre, v, radius)
                        now = put(now, v, values[int(rng.integers(len(values)))])
    return asked


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**20),
    count=st.integers(3, 5),
    most=st.integers(2, 7),
    first_trips=st.integers(0, 2),
    radius=st.integers(1, 2),
)
def test_tnale_asks_what_its_plain_form_asks(seed, count, most, first_trips, radius):
    rng = np.random.default_rng(seed)
    slopes = rng.uniform(0.0, 1.0, size=count)
    table: dict[tuple, float] = {}

    def rse(point):
        smooth = sum(s * abs(x - 3) for s, x in zip(slopes, point, strict=False))
        return table.setdefault(point, smooth + float(rng.uniform()))

    def price(point):
        r = point[:-1]
        return sum(50 * x * y for x, y in itertools.pairwise([*r, r[0]])) / 1e3

    modes = "abcdefgh"[:count]
    begin = tuple(int(r) for r in rng.integers(1, most + 1, size=count))
    start = tnet.tensor_ring(dict.fromkeys(modes, 50), begin)
    begin_at = (*ranks(start), order_of_modes(start))
    method = TnALE(max_rank=most, radius=radius, initial_trips=first_trips, patience=3, starts=1)
    most = max(most, *begin)
    goal = Custom(score=lambda c: c.num_params / 1e3 + c.error**2)
    work = problem(start, goal, np.random.default_rng(seed))
    batches, _ = drive(method, work, lambda s: math.sqrt(rse((*ranks(s), order_of_modes(s)))))
    wanted = tnale(
        begin_at,
        most,
        rse,
        price,
        radii=(2, radius),
        first_trips=first_trips,
        patience=3,
        rng=np.random.default_rng(seed),
    )
    found = [{(*r, order) for r, order in states} for _, states in steps_of(batches)]
    assert found == wanted


# ---- TNLS ----------------------------------------------------------------------------------


class Noise:
    """A generator whose numbers are given, and which tells what it was asked for."""

    def __init__(self, normals, uniforms, integers):
        self.normals, self.uniforms, self.whole = list(normals), list(uniforms), list(integers)
        self.deviations = []

    def normal(self, mean, deviation, size):
        assert mean == 0.0
        self.deviations.append(deviation)
        drawn = self.normals.pop(0)
        assert len(drawn) == size
        return np.array(drawn)

    def random(self):
        return self.uniforms.pop(0)

    def integers(self, low, high):
        number = self.whole.pop(0)
        assert low <= number < high
        return number


def test_tnls_by_hand():
    # ranks 1..7 from (2, 6, 4) and "abc"; two samples in each of two generations after the start
    start = tnet.tensor_ring(dict.fromkeys("abc", 50), (6, 4, 2))  # the first bond closes it
    rng = Noise(
        normals=[
            (-3.4, 0.4, 9.7),  # -3 would leave the range: 2 + 3; 0; 9.7 is clipped to 4, inwards
            (1.6, 1.2, -0.6),  # 2 + 2, 6 + 1, 4 - 1
            (-5.0, -1.0, 0.0),
            (3.0, 4.0, 6.0),
        ],
        uniforms=[0.939, 0.941, 0.94**2 - 1e-9, 0.94**2 + 1e-9],
        integers=[1, 3],
    )
    score = {(2, 6, 4): 5.0, (5, 6, 1): 5.0, (4, 7, 3): 7.0}
    work = problem(start, Custom(score=lambda c: c.error), rng)
    batches, _ = drive(
        TNLS(max_rank=7, samples=2, generations=3), work, lambda s: score.get(ranks(s), 9.0)
    )
    found = [[(ranks(p.structure), order_of_modes(p.structure)) for p in b] for b in batches]
    assert found == [
        [((2, 6, 4), "abc")],
        # 4 + 4 lies above 7 and 4 - 4 below 1, so it stays at the bound
        [((5, 6, 1), "bac"), ((4, 7, 3), "abc")],
        # an equal score moves the centre: (5, 6, 1), "bac"; at 1 a fall is a rise
        [((1, 5, 1), "bca"), ((2, 2, 5), "bac")],
    ]
    assert rng.deviations == [0.9, 0.9, 0.9**2, 0.9**2]


# ---- TNGA ----------------------------------------------------------------------------------


class Watched(np.random.Generator):
    """Notes the probabilities with which parents are drawn."""

    shares: list

    def choice(self, *args, p=None, **options):
        if p is not None:
            self.shares.append(np.array(p))
        return super().choice(*args, p=p, **options)


def watched(seed):
    rng = Watched(np.random.PCG64(seed))
    rng.shares = []
    return rng


def test_tnga_draws_parents_by_rank_and_exchanges_a_row():
    names = "abcde"
    table: dict[tuple, float] = {}
    noise = np.random.default_rng(0)
    rng = watched(1)
    work = problem(None, Custom(score=lambda c: c.error), rng, modes=dict.fromkeys(names, 50))
    method = TNGA(max_rank=3, population=8, survivors=5, generations=4, alpha=20.0, mutation=0.0)
    batches, _ = drive(method, work, lambda s: table.setdefault(ranks(s), float(noise.uniform())))
    weights = [max(math.log(20.0 / (0.01 + 5.0 * k)), 0.01) for k in range(5)]
    assert len(rng.shares) >= 3 * 4  # two children each
    for shares in rng.shares:
        np.testing.assert_allclose(shares, np.array(weights) / sum(weights))
    pairs = list(itertools.combinations(range(5), 2))
    rows = [{k for k, pair in enumerate(pairs) if node in pair} for node in range(5)]
    for before, after in itertools.pairwise(asked(batches)):
        parents = sorted(before, key=lambda r: table[r])[:5]
        possible = {
            tuple(b[k] if k in row else a[k] for k in range(len(pairs)))
            for a, b in itertools.permutations(parents, 2)
            for row in rows
        }
        assert set(after) <= possible


def test_tnga_flips_each_edge_with_probability_one_in_twenty():
    modes = dict.fromkeys("abcd", 50)
    work = problem(None, Custom(score=lambda c: c.error), np.random.default_rng(3), modes=modes)
    method = TNGA(max_rank=2, population=1000, survivors=10, generations=2, absent=1.0)
    batches, _ = drive(method, work, lambda s: 1.0)
    first, second = asked(batches)
    assert {r for state in first for r in state} == {1}
    flipped = np.mean([r == 2 for state in second for r in state])
    assert abs(flipped - 0.05) < 4 * math.sqrt(0.05 * 0.95 / 6000)


def test_the_space_over_all_pairs_is_symmetric():
    # a fully connected graph has no arrangement to search: its walk has ranks alone
    modes = dict.fromkeys("abcd", 50)
    work = problem(None, Custom(score=lambda c: c.error), modes=modes)
    batches, _ = drive(
        TNLS(template=Template.FULL, samples=5, generations=3), work, lambda s: float(sum(ranks(s)))
    )
    assert {order_of_modes(p.structure) for batch in batches for p in batch} == {"abcd"}
