"""The report: one page from the run folder alone, complete, safe and the same every time."""

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import tnet
from contraction.errors import CheckpointError
from structure_search.journal import Journal, read_run, write_baselines, write_json
from structure_search.reporting import charts, ticks
from structure_search.reporting.figures import best_of, mode_ranks, running_best
from structure_search.reporting.report import report_html, write_report
from structure_search.results import Evaluation, Source, pareto_front

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "br", "img", "hr", "input", "link"}
SVG_VOID = {"line", "path", "circle", "rect"}


def make_run(folder: Path, names=("sample", "emission", "time"), count=40, tol=0.05) -> Path:
    """A run folder as a search writes it, with made-up numbers."""
    rng = np.random.default_rng(0)
    sizes = dict(zip(names, (20, 12, 30), strict=True))
    folder.mkdir(parents=True, exist_ok=True)
    about = {"source": f"{names[0]} data", "shape": [20, 12, 30], "dtype": "float64"}
    config = {
        "format": 1, "tnet": "0.1.0", "python": "3.11", "method": {"name": "Greedy"},
        "objective": {"name": "RelativeError", "tol": tol}, "seed": 0, "created": "2026-01-01",
        "input": {**about, "modes": sizes, "path": None, "norm": 1.0},
    }  # fmt: skip
    write_json(folder / "run.json", config)
    journal = Journal(folder, seq=0, good=0)
    done = []
    for k in range(count):
        rank = 1 + k % 9
        structure = tnet.tucker(sizes, (rank, min(rank, 5), rank))
        failed = k == 7
        done.append(
            Evaluation(
                index=k,
                key=str(k),
                structure=structure,
                num_params=structure.num_params,
                error=math.inf if failed else 0.4 * math.exp(-0.35 * rank) * rng.uniform(1, 1.2),
                seconds=0.1,
                elapsed=0.1 * (k + 1),
                sweeps=5,
                label="grow",
                source=Source.FAILED if failed else Source.FIT,
                failure="no" if failed else "",
            )
        )
        journal.append("evaluation", {**done[-1].to_dict(), "best": False, "network": None})
    journal.append("end", {"outcome": "REACHED", "elapsed": 4.0, "evaluations": count})
    journal.close()
    (folder / "best").mkdir()
    write_json(folder / "best/pareto.json", [c.to_dict() for c in pareto_front(done)])
    best = best_of(read_run(folder))
    spectra = {
        "modes": {name: list(np.exp(-0.5 * np.arange(n))) for name, n in sizes.items()},
        "bonds": {b: list(np.exp(-1.0 * np.arange(r))) for b, r in best.structure.ranks.items()},
    }
    write_json(folder / "best/spectra.json", spectra)
    rows = [("TT-SVD", 900, 0.04, 0.1), ("Tucker", 700, 0.049, 0.2), ("CP", 400, 0.05, 1.0)]
    keys = ("name", "num_params", "error", "seconds")
    write_baselines(folder, [dict(zip(keys, row, strict=True)) for row in rows])
    return folder


class Nesting(HTMLParser):
    """Checks that every element is closed, in order, and collects text by element."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.data = [], {}, {}

    def handle_starttag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open[-1:], f"</{tag}> closes nothing"
        assert self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open:
            tag = self.open[-1][0]
            self.data[tag] = self.data.get(tag, "") + data


def parsed(page: str) -> Nesting:
    parser = Nesting()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


def test_the_page_is_well_formed_and_has_every_section(run):
    page = write_report(run).read_text(encoding="utf-8")
    found = parsed(page)
    for title in ("Network", "Error against parameters", "Search", "Singular values",
                  "Where the error sits", "Ranks", "Contraction to the full tensor",
                  "Goal and method", "Evaluations", "Environment"):  # fmt: skip
        assert f"<h2>{title}</h2>" in page
    assert found.seen["svg"] == 11
    assert "tnet resume" in page
    assert "TT-SVD" in found.data["text"]
    assert len(page.encode()) < 2e6


def test_the_page_asks_for_nothing(run):
    page = write_report(run).read_text(encoding="utf-8")
    assert not re.search(r"https?://|\bsrc=|<link|@import|url\(", page)
    assert "default-src 'none'; style-src 'unsafe-inline'" in page
    assert page.count("<script") == 1


def test_names_are_escaped_in_the_page_and_in_the_figures(tmp_path):
    folder = make_run(tmp_path / "run", names=(HOSTILE, "a&b\"'", "time"))
    page = write_report(folder).read_text(encoding="utf-8")
    parsed(page)
    assert page.count("<script") == 1
    assert "alert(1)</script>" not in page
    assert json.loads(parsed(page).data["script"])["input"]["modes"] == {
        HOSTILE: 20,
        "a&b\"'": 12,
        "time": 30,
    }
    for figure in sorted((folder / "figures").iterdir()):
        text = figure.read_text(encoding="utf-8")
        assert "<script" not in text
        assert parsed(text).seen["svg"] == 1


def test_the_numbers_are_in_the_page_as_json(run):
    data = json.loads(parsed(report_html(read_run(run))).data["script"])
    best = best_of(read_run(run))
    assert data["best"]["num_params"] == best.num_params
    assert data["best"]["error"] <= 0.05
    assert data["evaluations"]["total"] == 40
    assert data["evaluations"]["rows"][7][2] is None  # the failed one: infinity is no JSON
    assert data["counts"]["failed"] == 1
    assert data["spectra"]["modes"]["time"][0] == 1.0


def test_the_same_folder_gives_the_same_bytes(run):
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_a_run_that_has_just_begun_has_a_page_too(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_json(folder / "run.json", {"format": 1, "objective": {"name": "MaxParams", "params": 9}})
    page = write_report(folder).read_text(encoding="utf-8")
    parsed(page)
    assert "No network has been fitted yet" in page


def test_a_long_run_stays_small(tmp_path):
    folder = make_run(tmp_path / "run", count=6000)
    page = write_report(folder).read_text(encoding="utf-8")
    assert len(page.encode()) < 2e6
    shown = json.loads(parsed(page).data["script"])["evaluations"]
    assert shown["total"] == 6000
    assert {e.index for e in running_best(read_run(folder))} <= {r[0] for r in shown["rows"]}


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"run\.json"):
        write_report(tmp_path)


def test_mode_ranks_bound_the_unfoldings():
    net = tnet.random_network(tnet.balanced_tree((3, 4, 5, 6), 2), rng=np.random.default_rng(0))
    x = net.to_dense()
    for axis, (mode, rank) in enumerate(mode_ranks(net.structure).items()):
        assert mode == net.structure.modes[axis]
        unfolded = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        assert np.linalg.matrix_rank(unfolded) == rank


@pytest.mark.parametrize("scale", list(charts.Scale))
@pytest.mark.parametrize(("low", "high"), [(1e-9, 1e-8), (0.03, 0.9), (1, 4e6), (5, 5.2), (2, 2)])
def test_axes_have_a_few_ticks_inside_their_range(scale, low, high):
    axis = charts.Axis(label="x", scale=scale)
    start, stop = charts._range([low, high], axis)
    found = ticks.ticks(start, stop, scale)
    assert start < stop
    assert 2 <= len(found) <= 14
    assert all(start <= value <= stop for value, _ in found)
    assert len({text for _, text in found}) == len(found)


def test_points_that_a_log_axis_cannot_show_are_left_out():
    series = charts.Series(name="s", points=[(1, 0.0), (2, -1.0), (3, math.inf), (4, 0.5)])
    axis = charts.Axis(label="y", scale=charts.Scale.LOG)
    made = charts.chart([series], charts.Axis(label="x"), axis, label="t").svg()
    assert made.count("<circle") == 2  # one point and one in the legend
    parsed(made)
