"""What search refuses before any work, and data of every size and kind."""

import numpy as np
import pytest

import contraction
import tnet
from contraction.errors import (
    BackendError,
    DTypeError,
    InputError,
    NonFiniteError,
    ShapeError,
    TnetError,
)
from structure_search import Greedy, Loss, MaxParams, RandomSearch, RelativeError, resume, search
from structure_search.methods.base import AbstractMethod
from structure_search.tasks.base import FitJob, run_job
from structure_search.tasks.loss import LossTask
from structure_search.tasks.reading import read_task
from tnet.als.entries import Entries

SHAPE = (4, 3, 4)


def planted(dtype: str = "float64") -> np.ndarray:
    s = tnet.tensor_train(SHAPE, 2)
    net = tnet.random_network(s, rng=np.random.default_rng(0), dtype=dtype)
    return np.asarray(tnet.contract(net))


def with_holes(x: np.ndarray) -> np.ndarray:
    return np.where(np.random.default_rng(1).random(x.shape) < 0.3, np.nan, x)


class Never(AbstractMethod):
    """Must not be asked."""

    def default_objective(self) -> None:
        return None

    def propose(self, problem):
        raise AssertionError("work was done")


def run(x=None, **more):
    given = {
        "method": Never(),
        "objective": MaxParams(params=60),
        "rng": np.random.default_rng(3),
        **more,
    }
    return search(planted() if x is None else x, **given)


SOME = np.ones(SHAPE, dtype=bool)
WRONG = {
    "mask": ["abc", 3, SOME[0], SOME.astype(int), ~SOME, [[True]]],
    "held_out": ["x", True, np.nan, -0.5, 0, 1, 2.0, SOME, ~SOME, SOME[0], [1, 2]],
    "ridge": [-1.0, np.nan, np.inf, "a", [1.0], True],
    "max_fit_flops": [0, -1.0, np.nan, np.inf, "a", [3], True],
    "workers": ["processes", 3, int, [], contraction.Serial],
    "rng": [None, 0, np.random, np.random.RandomState(0), "seed"],
    "objective": ["x", 3, RelativeError, lambda c: 0.0, 0.1],
    "method": [RandomSearch, "greedy", 3, Greedy, []],
    "start": ["x", 3, tnet.tensor_train((4, 3, 5), 1), tnet.tensor_train((4, 3), 1), tnet],
    "modes": ["ab", "aab", [1, 2, 3], ["a", "b"], ("a", "b", "")],
    "patience": [0, -1, 2.5, "a", True],
    "progress": [3, "print", [], True, 0.0],
    "stop": [3, "now", [], True, 0.0],
}
CASES = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.mark.parametrize(("name", "value"), CASES, ids=lambda part: str(part)[:20])
def test_nonsense_is_refused_before_any_work(name: str, value, tmp_path) -> None:
    x = with_holes(planted()) if name in ("mask", "held_out", "ridge") else planted()
    with pytest.raises(TnetError) as caught:
        run(x, run=tmp_path / "run", **{name: value})
    message = str(caught.value)
    assert len(message) > 20
    if name not in ("modes", "mask"):  # names of modes are the graph's to check
        assert f"`{name}`" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"function": 3}, InputError),
        ({"function": lambda w: w}, ShapeError),
        ({"function": lambda w: 1.0}, ShapeError),
        ({"function": lambda w: None}, ShapeError),
        ({"function": lambda w: (w * 1j).sum()}, ShapeError),
        ({"function": lambda w: -w.square().sum()}, InputError),
        ({"function": lambda w: w.detach().square().sum()}, InputError),
        ({"function": lambda w: (w > 0).sum()}, InputError),
        ({"function": lambda w: w.new_ones(()).requires_grad_(True)}, InputError),
        ({"dtype": "int8"}, DTypeError),
        ({"device": "moon"}, BackendError),
        ({"weight": np.full(SHAPE, np.nan)}, NonFiniteError),
        ({"weight": np.ones((4, 3))}, ShapeError),
        ({"shape": (4, 0)}, ShapeError),
    ],
)
def test_losses_that_cannot_be_fitted_are_refused_before_any_work(wrong, error) -> None:
    pytest.importorskip("torch")
    given = {"function": lambda w: w.square().sum(), "shape": SHAPE, **wrong}
    with pytest.raises(error):
        run(Loss(**given))


def test_a_complex_loss_is_fitted() -> None:
    torch = pytest.importorskip("torch")
    target = torch.as_tensor(planted("complex128"))
    scale = float(target.abs().square().sum())
    loss = Loss(
        function=lambda w: (w - target).abs().square().sum() / scale,
        shape=SHAPE,
        dtype="complex128",
    )
    s = tnet.tensor_train(SHAPE, 2)
    task = LossTask(loss, dict(zip(s.modes, s.shape, strict=True)))
    found = run_job(task, FitJob(structure=s, sweeps=30, restarts=2, enough=1e-6, stream=(0, 1)))
    assert found.error <= 1e-6
    assert found.network.dtype == "complex128"
    assert task.error(found.network) == pytest.approx(found.error)


@pytest.mark.parametrize(("dtype", "power"), [("float64", 300), ("float32", 36), ("complex64", 36)])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("holes", [False, True])
def test_huge_and_tiny_data(dtype: str, power: int, sign: int, holes: bool, tmp_path) -> None:
    real = np.dtype(dtype).type(0).real.dtype
    factor = real.type(10.0) ** real.type(sign * power)
    plain = planted(dtype)
    x = plain * factor
    if holes:
        x = with_holes(x).astype(dtype)
    options = {"method": Greedy(), "objective": RelativeError(tol=1e-2), "max_evaluations": 12}
    found = run(x, run=tmp_path / "run", **options)
    assert found.best.error <= 1e-2
    assert found.network.error == found.best.error
    assert found.network.dtype == dtype
    dense = np.asarray(tnet.contract(found.network)) / factor
    seen = ~np.isnan(x)
    missed = np.linalg.norm((plain - dense)[seen]) / np.linalg.norm(plain[seen])
    assert missed == pytest.approx(found.best.error, rel=1e-3, abs=1e-5)
    written = tnet.load(tmp_path / "run" / "best" / "network.tnet")
    np.testing.assert_array_equal(tnet.contract(written), tnet.contract(found.network))
    again = resume(tmp_path / "run", x)
    assert [e.error for e in again.trace] == [e.error for e in found.trace]
    np.testing.assert_array_equal(tnet.contract(again.network), tnet.contract(found.network))


def test_a_norm_beyond_all_numbers_is_refused() -> None:
    with pytest.raises(InputError, match="scale them down"):
        run(np.full((30, 30), 1.7e308))


def test_scales_are_told_apart() -> None:
    x = planted()
    given = {"modes": None, "start": None, "mask": None, "held_out": None, "ridge": None, "seed": 7}
    for y in (x, with_holes(x)):
        prints = {
            read_task(y * factor, **given).fingerprint() for factor in (1, 2.0**600, 2.0**700)
        }
        assert len(prints) == 3


def test_tensors_that_want_a_gradient_are_taken_as_data() -> None:
    torch = pytest.importorskip("torch")
    x = torch.as_tensor(planted()).requires_grad_(True)
    found = run(x, method=Greedy(), objective=RelativeError(tol=1e-3))
    assert found.best.error <= 1e-3
    assert not any(array.requires_grad for array in found.network.arrays.values())


def test_one_observed_entry_is_enough() -> None:
    x = np.full((3, 4), np.nan)
    x[1, 2] = 5.0
    found = run(x, method=Greedy(), objective=RelativeError(tol=1e-3), max_evaluations=5)
    assert tnet.contract(found.network)[1, 2] == pytest.approx(5.0, rel=1e-2)
    with pytest.raises(InputError, match="single observed entry"):
        run(x, held_out=0.5)


# ---- entries that come twice, or on both sides ------------------------------------------------


def twice(x: np.ndarray) -> Entries:
    index = np.argwhere(~np.isnan(x))
    values = x[tuple(index.T)]
    return Entries(np.concatenate([index, index]), np.concatenate([values, values + 1.0]), x.shape)


def test_what_comes_twice_is_held_out_together_and_seen_as_its_mean() -> None:
    x = with_holes(planted())
    given = {"modes": None, "start": None, "mask": None, "ridge": None, "seed": 7}
    task = read_task(twice(x), held_out=0.3, **given)
    fitted, aside = ({tuple(i) for i in part.indices} for part in (task.train, task.test))
    assert fitted.isdisjoint(aside)
    assert len(aside) == round(0.3 * int((~np.isnan(x)).sum()))
    assert task.train.count == 2 * len(fitted)
    for place in fitted:
        assert task.x[place] == pytest.approx(x[place] + 0.5)


def test_entries_held_out_must_not_be_fitted() -> None:
    x = with_holes(planted())
    index = np.argwhere(~np.isnan(x))
    whole, first = (Entries(i, x[tuple(i.T)], SHAPE) for i in (index, index[:3]))
    with pytest.raises(InputError, match=r"3 of the entries held out.*\(0, 0, "):
        run(whole, held_out=first)
    with pytest.raises(ShapeError, match="held_out"):
        run(whole, held_out=Entries(index[:3], x[tuple(index[:3].T)], (9, 9, 9)))
    with pytest.raises(InputError, match="leaves 0 to fit"):
        run(x, held_out=SOME)


def test_random_starts_follow_a_start_that_ends_far_off() -> None:
    ring = tnet.tensor_ring((5, 5, 5, 5), 2)
    x = np.random.default_rng(0).standard_normal(ring.shape)
    x[0, 0, 0, 0] = np.nan
    given = {"modes": None, "start": None, "mask": None, "held_out": None, "ridge": 0.0, "seed": 7}
    task = read_task(x, **given)
    better = 0
    for seed in range(4):
        poor = tnet.random_network(ring, rng=np.random.default_rng(seed))
        job = {"structure": ring, "start": poor, "sweeps": 3, "stream": (1, seed)}
        once = run_job(task, FitJob(restarts=0, enough=1e-9, **job))
        more = run_job(task, FitJob(restarts=5, enough=1e-9, **job))
        near = run_job(task, FitJob(restarts=5, enough=min(once.error, 0.9), **job))
        assert more.error <= once.error
        assert more.sweeps > once.sweeps == 3
        assert near.sweeps <= once.sweeps
        better += more.error < once.error
    assert better


@pytest.mark.parametrize(
    ("dtype", "tol"), [("float64", 0.0), ("float64", 1e-16), ("float32", 1e-8)]
)
def test_an_error_below_rounding_needs_another_end(dtype, tol):
    x, goal = planted(dtype), RelativeError(tol=tol)
    with pytest.raises(InputError, match=f"type {dtype} .* limit the evaluations"):
        run(x, objective=goal)
    found = run(x, objective=goal, method=Greedy(), max_evaluations=3)
    assert len(found.trace) == 3
