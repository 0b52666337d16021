"""tnet simulate: imaginary time, thermal states, runs beside each other, figures."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from integrators.flow import Outcome
from integrators.models import heisenberg, ising
from integrators.simulation import continue_run, draw_figures, extend_run, read_run, simulate
from integrators.simulation.building import build
from integrators.simulation.figures import figures_of
from integrators.simulation.screen import Shower, log_partition, told
from references import dense_sum, lowest
from tnet.cli import main
from tnet.console import Progress
from tnet.failures import UsageError

pytest.importorskip("h5py")

COOLING = """
title = "cooled"
[model]
name = "ising"
count = 6
field = 1.5
[task]
kind = "thermal"
beta = 1.0
[step]
dt = 0.05
[truncation]
tol = 1e-8
[measure.z]
kind = "profile"
operator = "z"
[measure.xx]
kind = "correlations"
left = "x"
right = "x"
"""
TOWARDS = """
[model]
name = "heisenberg"
count = 6
[state]
pattern = ["up", "down"]
[task]
kind = "imaginary_time"
t_final = 12.0
[step]
dt = 0.2
every = 10
[truncation]
tol = 1e-9
"""


def described(folder: Path, text: str, name: str = "run") -> Path:
    (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder / f"{name}.toml"


def stop_after(count: int):
    calls = iter(range(count))
    return lambda: None if next(calls, None) is not None else Outcome.INTERRUPTED


def exact(beta: float) -> tuple[float, float, np.ndarray]:
    """ln Z, energy, <Z_i>."""
    model = ising(6, field=1.5)
    w, V = np.linalg.eigh(dense_sum(model.sites, model).toarray())
    p = np.exp(-beta * (w - w[0]))
    rho = np.abs(V) ** 2 @ (p / p.sum())
    signs = [1 - 2 * ((np.arange(64) >> (5 - k)) & 1) for k in range(6)]
    return -beta * w[0] + np.log(p.sum()), float(p @ w / p.sum()), np.array(signs) @ rho


def test_thermal_states(tmp_path: Path) -> None:
    done = simulate(described(tmp_path, COOLING))
    log_z, energy, z = exact(1.0)
    assert log_partition(done.record) == pytest.approx(log_z, abs=1e-4)
    assert done.record.rows[-1].energy == pytest.approx(energy, abs=1e-3)
    assert np.allclose(done.record.values["z"][-1], z, atol=1e-3)
    assert done.record.values["xx"].shape[1:] == (6, 6)  # no ancillas
    assert float(told(done.record, "run.h5")["ln Z"]) == pytest.approx(log_z, abs=1e-4)
    colder = extend_run(done.path, {"beta": 1.5}).record
    assert log_partition(colder) == pytest.approx(exact(1.5)[0], abs=1e-4)
    assert "ln Z" in told(read_run(done.path), "run.h5")
    with pytest.raises(UsageError, match="t_final does not belong"):
        extend_run(done.path, {"t_final": 9.0})
    with pytest.raises(UsageError, match=r"has come to 1\.5"):
        extend_run(done.path, {"beta": 1.0})


def test_imaginary_time_ends_in_the_ground_state_and_can_be_stopped(tmp_path: Path) -> None:
    path = described(tmp_path, TOWARDS)
    full = simulate(path, output=tmp_path / "full.h5").record
    model = heisenberg(6)
    assert full.rows[-1].energy == pytest.approx(lowest(dense_sum(model.sites, model))[0], abs=1e-5)
    assert full.moment.state.norm == pytest.approx(1.0)
    part = simulate(path, output=tmp_path / "part.h5", stop=stop_after(17))
    assert part.outcome is Outcome.INTERRUPTED
    again = continue_run(part.path).record
    for a, b in zip(again.moment.state.cores, full.moment.state.cores, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (COOLING + '[state]\nall = "up"', "infinite temperature"),
        (COOLING.replace("beta = 1.0", "beta = -1.0"), "> 0"),
        (COOLING.replace("beta = 1.0", "t_final = 1.0"), "needs `beta`"),
        (COOLING + '[[terms]]\ncoefficient = [0.0, 1.0]\neach = "z"', "Hermitian"),
        (TOWARDS.replace("dt = 0.2", "dt = 0.2\nopening = -1"), ">= 0"),
        (TOWARDS.replace("dt = 0.2", 'control = "pi"'), "needs `dt`"),
    ],
)
def test_wrong_descriptions(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build(tomllib.loads(text), folder=tmp_path, stem="x")


def test_norms_beyond_the_floats_are_no_failure(tmp_path: Path) -> None:
    """exp(-t H) of a large H: the factor taken out is kept as a logarithm."""
    text = TOWARDS.replace("count = 6", "count = 6\ncoupling = 400.0").replace("12.0", "2.0")
    try:
        done = simulate(described(tmp_path, text.replace("dt = 0.2", "dt = 0.002")))
    except UsageError:
        pytest.fail("a description that is right")
    assert done.record.moment.log_scale > 700.0
    assert done.record.rows[-1].norm == np.inf
    assert read_run(done.path).rows[-1].norm == np.inf
    assert main(["simulate", "show", str(done.path), "--json"]) == 0


def test_several_runs_beside_each_other(tmp_path: Path, capsys) -> None:
    a = described(tmp_path, TOWARDS.replace("12.0", "0.4"), "first")
    b = described(tmp_path, TOWARDS.replace("12.0", "0.6"), "second")
    for path in (a, b):
        assert main(["simulate", "run", str(path), "--quiet", "--workers", "2"]) == 0
    capsys.readouterr()
    assert main(["simulate", "show", str(a), str(b)]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert head.split() == ["what", "first", "second"]
    assert main(["simulate", "show", str(a), str(b), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
    assert main(["simulate", "show", str(a), str(b), "--table"]) == 0


def test_the_time_left_is_that_of_this_session(tmp_path: Path) -> None:
    path = described(tmp_path, TOWARDS.replace("12.0", "2.0"))
    part = simulate(path, stop=stop_after(6))
    assert part.record.moment.counts.steps == 6
    shown: list[tuple[int, int | None]] = []
    progress = Progress(None, "run", lambda p, _: shown.append((p.done, p.total)))
    continue_run(part.path, show=Shower(progress, 2.0))
    assert shown == [(k, 4) for k in range(1, 5)]


def test_pictures_say_what_they_show(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    record = simulate(described(tmp_path, COOLING.replace("beta = 1.0", "beta = 0.2"))).record
    assert sorted(figures_of(record)) == ["energy", "ranks", "xx", "z"]
    figure = Figure()
    figures_of(record)["z"](figure)
    axis, colours = figure.axes
    assert axis.get_xlabel() == "site"
    assert [t.get_text() for t in axis.get_xticklabels()] == [f"s{k}" for k in range(6)]
    assert axis.get_ylabel() == "imaginary time (1 / unit of energy)"
    assert axis.get_title() == "cooled: z"
    assert colours.get_ylabel() == "<z>"
    assert len(draw_figures(record, tmp_path / "figures")) == 4


def test_what_is_not_followed_is_said(tmp_path: Path, capsys) -> None:
    path = described(tmp_path, TOWARDS.replace("12.0", "0.4"))
    assert main(["simulate", "run", str(path), "--output", str(tmp_path / "x.txt")]) == 2
    assert "must end in .h5" in capsys.readouterr().err
    run = simulate(path).path
    for action in (["resume"], ["extend", "--max-rank", "9"]):
        assert main(["simulate", action[0], str(run), *action[1:]]) == 0
        assert "nothing was left to do" in capsys.readouterr().err


def test_large_states_are_not_written_where_they_have_no_room(tmp_path: Path, monkeypatch) -> None:
    import errno
    import shutil

    from integrators.simulation import run_files

    record = simulate(described(tmp_path, TOWARDS.replace("12.0", "0.4"))).record
    monkeypatch.setattr(run_files, "IN_MEMORY", 0)
    run_files.write_run(tmp_path / "straight.h5", record)
    assert read_run(tmp_path / "straight.h5").rows[-1].energy == record.rows[-1].energy
    before = (tmp_path / "straight.h5").read_bytes()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(OSError, match="No space") as caught:
        run_files.write_run(tmp_path / "straight.h5", record)
    assert caught.value.errno == errno.ENOSPC
    assert (tmp_path / "straight.h5").read_bytes() == before


def test_energies_of_huge_states_are_finite() -> None:
    import tnet
    from integrators import evolve

    model = heisenberg(4)
    tree = tnet.balanced_tree(model.sites)
    start = tnet.product_state(tree, {s: [1e60, 0] if k % 2 else [0, 1.0] for k, s in
                                      enumerate(model.sites)})  # fmt: skip
    flow = evolve(-1j * tnet.operator(tree, model), start, t1=0.1, dt=0.05)
    assert flow.norms[0] == pytest.approx(1e120)
    assert flow.drift.norm < 1e-6
    assert flow.energies is not None
    assert np.allclose(flow.energies, -0.75)


def test_compressed_operators_and_trees_of_stored_networks(tmp_path: Path) -> None:
    import tnet

    text = TOWARDS.replace('"heisenberg"', '"long_range_ising"').replace("count = 6", "count = 8")
    plain = build(tomllib.loads(text), folder=tmp_path, stem="x")
    tree = tnet.balanced_tree(dict.fromkeys(plain.tree.modes[::-1], 2), 3)
    tnet.save(tmp_path / "t.tnet", tnet.random_network(tree, rng=np.random.default_rng(0)))
    more = '[operator]\nmethod = "nested_svd"\ntol = 1e-9\n[tree]\nkind = "file"\nfile = "t.tnet"'
    made = build(tomllib.loads(text + more), folder=tmp_path, stem="x")
    assert made.tree.same_graph(tree)
    assert max(made.operator.ranks.values()) <= max(plain.operator.ranks.values())
    dense = [tnet.contract(b.operator.to_network()) for b in (plain, made)]
    order = [plain.tree.modes.index(m) for m in made.tree.modes]
    turned = dense[0].transpose(*order, *(8 + k for k in order))
    assert np.allclose(turned, dense[1], atol=1e-7)
    with pytest.raises(UsageError, match="not the sites"):
        build(tomllib.loads(TOWARDS + more), folder=tmp_path, stem="x")
    with pytest.raises(UsageError, match="not known"):
        build(tomllib.loads(text + '[operator]\nmethod = "svd"'), folder=tmp_path, stem="x")


@pytest.mark.parametrize("name", ["AugmentedBUG", "ParallelBUG", "ParallelBUG2", "MidpointBUG"])
def test_the_error_of_a_run_follows_the_tolerance_of_its_steps(name: str) -> None:
    from scipy.sparse.linalg import expm_multiply

    import integrators
    import tnet

    model = ising(6)
    tree = tnet.balanced_tree(model.sites)
    H = dense_sum(model.sites, model).tocsc()
    exact = expm_multiply(-0.5j * H, np.eye(1, 64, dtype=complex)[0])
    start = tnet.product_state(tree, {s: [1, 0] for s in model.sites})
    for tol in (1e-2, 1e-4):
        stepper = getattr(integrators, name)(truncation=tnet.Truncation(tol=tol / 100))
        flow = integrators.evolve(
            -1j * tnet.operator(tree, model), start, t1=0.5, dt=0.1, stepper=stepper,
            controller=integrators.PIStep(tol=tol),
        )  # fmt: skip
        off = np.linalg.norm(np.asarray(tnet.contract(flow.state)).reshape(-1) - exact)
        assert off <= min(tol, 5 * flow.errors[-1])
