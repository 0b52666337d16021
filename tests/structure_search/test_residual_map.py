"""Pictures of where the error sits: the numbers behind them, and the images themselves."""

import base64
import io
import math
import re

import numpy as np
import pytest

import tnet
from structure_search import RelativeError, TreeSearch, search
from structure_search.journal import read_run
from structure_search.reporting.charts import Axis, Mark, Scale, Series, chart
from structure_search.reporting.comparison import compare
from structure_search.reporting.report import write_report
from structure_search.reporting.residual_map import CELLS, map_chart, residual_maps
from structure_search.reporting.residuals import read_residuals


@pytest.mark.parametrize("shape", [(6, 7, 8), (4, 4), (CELLS * 2, CELLS, 5)])
def test_squares_of_even_blocks_have_the_mean_of_the_whole(shape) -> None:
    gone = np.random.default_rng(0).random(shape)
    modes = {f"m{k}": size for k, size in enumerate(shape)}
    whole = math.sqrt(gone.sum()) / 3.0
    for one in residual_maps(gone, modes, 3.0):
        values = np.asarray(one["values"])
        assert max(values.shape) <= CELLS
        assert math.sqrt(np.mean(values**2)) == pytest.approx(whole, rel=5e-3)


def test_blocks_of_uneven_length_hold_every_entry_once() -> None:
    gone = np.random.default_rng(1).random((CELLS + 9, 5, 2))
    (one,) = residual_maps(gone, {"a": CELLS + 9, "b": 5, "c": 2}, 1.0)
    values = np.asarray(one["values"])
    assert values.shape == (CELLS, 5)  # c has too few entries to show anything
    assert np.sum(values**2) / values.size == pytest.approx(gone.sum(), rel=5e-3)


def test_the_image_has_a_pixel_for_each_cell_and_is_darkest_where_nothing_is_wrong() -> None:
    image = pytest.importorskip("PIL.Image")
    drawn = map_chart([[0.0, 0.5], [0.25, 1.0], [0.0, 0.0]], "a<b>", "c", {"a<b>": 30, "c": 2})
    assert "a&lt;b&gt;" in drawn.body
    told = re.findall(r'base64,([^"]+)', drawn.body)[0]
    pixels = np.asarray(image.open(io.BytesIO(base64.b64decode(told)))).astype(int)
    assert pixels.shape == (3, 2, 3)
    light = pixels.sum(axis=-1)
    assert light[0, 0] == light[2, 1] < light[1, 0] < light[0, 1] < light[1, 1]


def test_the_report_of_a_run_shows_them(tmp_path) -> None:
    rng = np.random.default_rng(0)
    x = np.asarray(tnet.contract(tnet.random_network(tnet.tensor_train((5, 6, 7), 3), rng=rng)))
    x = x + 0.02 * rng.standard_normal(x.shape)
    goal = RelativeError(tol=0.2)
    search(
        x, method=TreeSearch(), objective=goal, run=tmp_path / "r", max_evaluations=4,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    compare(tmp_path / "r", x, cp_seconds=0.0)
    known = read_residuals(tmp_path / "r")
    error = read_run(tmp_path / "r").metrics["error"]
    assert known is not None
    assert len(known.maps) == 3
    for one in known.maps:
        mean = np.mean(np.square(one["values"]))
        assert math.sqrt(mean) == pytest.approx(error, rel=5e-3)
    page = write_report(tmp_path / "r").read_text()
    assert page.count("data:image/png;base64,") == 6  # three, each with its scale
    assert (tmp_path / "r" / "figures" / "residual-3.svg").is_file()


def test_labels_keep_off_the_marks_of_their_neighbours() -> None:
    near = Series(
        name="formats", points=[(836.0, 0.0448), (948.0, 0.0458), (584.0, 0.0433)],
        mark=Mark.DIAMONDS, labels=["TT-SVD", "HOSVD", "CP"],
    )  # fmt: skip
    x, y = Axis(label="size", scale=Scale.LOG), Axis(label="error", scale=Scale.LOG)
    far = Series(name="other", points=[(80_000.0, 0.01)])
    body = chart([near, far], x, y, label="near", width=900.0, height=440.0).body
    marks = [
        (float(a), float(b) + 6.5) for a, b in re.findall(r'd="M([\d.]+) ([\d.]+)l6 6.5', body)
    ]
    texts = re.findall(r'<text x="([\d.]+)" y="([\d.]+)"[^>]*strong[^>]*>([^<]+)<', body)
    assert len(texts) == 3
    assert len(marks) == 4  # one of them in the legend
    for left, low, text in texts:
        for a, b in marks:
            inside = float(left) < a < float(left) + 6.0 * len(text)
            assert not (inside and float(low) - 10.0 < b < float(low)), text


@pytest.mark.parametrize(("whole", "halves"), [(True, 0), (False, 1)])
def test_an_axis_of_counts_has_whole_ticks(whole: bool, halves: int) -> None:
    dots = Series(name="", points=[(1.0, 7.0), (2.0, 9.0)])
    x = Axis(label="n", low=0.0, whole=whole)
    body = chart([dots], x, Axis(label="e", low=6.0, high=10.0), label="").body
    assert body.count(">1<") == body.count(">2<") == 1
    assert body.count(">0.5<") == halves
