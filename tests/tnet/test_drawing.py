"""Drawings: every structure can be drawn, names stay harmless, pictures are the same each time."""

import math
import time
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.errors import StructureError
from strategies import graphs, trees
from tnet.layout import Layout, place
from tnet.scene import entropy, scene_of, width_of
from tnet.text_drawing import ASCII

SVG = "{http://www.w3.org/2000/svg}"
MODES = {"sample": 64, "emission": 12, "excitation": 10, "time": 60}


def nodes_drawn(svg: str) -> int:
    root = ElementTree.fromstring(svg)
    return sum(e.get("class") != "hub" for e in root.iter(f"{SVG}circle"))


@given(graphs())
def test_every_graph_is_drawn_whole(structure):
    svg = tnet.draw_svg(structure)
    assert nodes_drawn(svg) == len(structure.nodes)
    text = str(tnet.draw(structure))
    for node in structure.node_names:
        assert node in text
    for mode in structure.modes:
        assert f"{mode} {structure.size[mode]}" in text
    assert f"{structure.num_params:,} parameter" in text


@given(graphs(), st.sampled_from([Layout.AUTO, Layout.CIRCULAR, Layout.SPRING]))
def test_layouts_are_deterministic_and_keep_nodes_apart(structure, layout):
    placed = place(structure, layout)
    assert placed == place(structure, layout)
    points = np.array([*placed.node.values(), *placed.mode.values(), *placed.hub.values()])
    assert np.isfinite(points).all()
    nodes = np.array(list(placed.node.values()))
    apart = np.linalg.norm(nodes[:, None] - nodes[None], axis=2) + 9 * np.eye(len(nodes))
    assert apart.min() > 0.15


@given(trees())
def test_a_layered_tree_has_its_children_below_and_no_two_things_on_one_spot(structure):
    placed = place(structure, Layout.LAYERED)
    spots = [*placed.node.values(), *placed.mode.values()]
    assert len(set(spots)) == len(spots)
    for mode in structure.modes:
        assert placed.mode[mode][1] == placed.node[structure.holders[mode][0]][1] + 1


def test_a_train_lies_in_a_row_and_a_ring_on_a_circle():
    train = place(tnet.tensor_train(MODES, 3))
    assert [train.node[f"g{i}"] for i in range(4)] == [(0, 0), (1, 0), (2, 0), (3, 0)]
    ring = place(tnet.tensor_ring((2,) * 6, 2)).node
    assert np.allclose([math.hypot(*point) for point in ring.values()], 1.0, atol=1e-3)
    order = [math.atan2(*ring[f"g{i}"]) for i in range(6)]
    steps = np.mod(np.diff(order), 2 * math.pi)
    assert np.allclose(steps, steps[0], atol=1e-3)  # neighbours in the ring are neighbours here


def test_a_grid_comes_out_upright():
    placed = place(tnet.grid((2,) * 9, 2)).node
    for a, b in ((f"p{i}_{j}", f"p{i}_{j + 1}") for i in range(3) for j in range(2)):
        (x, y), (u, v) = placed[a], placed[b]
        assert min(abs(x - u), abs(y - v)) < 0.15


def test_cp_is_a_star_around_its_hyperbond():
    placed = place(tnet.cp(MODES, 3))
    assert placed.hub["r"] == (0.0, 0.0)
    assert {round(math.hypot(*point), 3) for point in placed.node.values()} == {1.0}


def test_a_tree_layout_of_a_ring_is_refused():
    with pytest.raises(StructureError, match=r"Layout\.CIRCULAR"):
        tnet.draw_svg(tnet.tensor_ring((2,) * 4, 2), layout=Layout.LAYERED)


def test_names_cannot_become_markup():
    bad = '<script>alert("1")</script>&'
    structure = tnet.Structure({bad: ("x", "r"), "b": ("r", bad)}, {"x": 2, "r": 2, bad: 3})
    svg = tnet.draw_svg(structure)
    assert "<script" not in svg
    titles = [e.text for e in ElementTree.fromstring(svg).iter(f"{SVG}title")]
    assert any(bad in title for title in titles)


def test_text_of_a_tree():
    tree = tnet.tree((("time",), ("sample",), (("emission",), ("excitation",))), MODES, rank=3)
    assert tnet.draw_text(tree).splitlines()[2:] == [
        "t0                                   27",
        "├─ 3 ─ t1 ── time 60                180",
        "├─ 3 ─ t2 ── sample 64              192",
        "└─ 3 ─ t3                            27",
        "       ├─ 3 ─ t4 ── emission 12      36",
        "       └─ 3 ─ t5 ── excitation 10    30",
    ]
    train = tnet.draw_text(tnet.tensor_train((4, 5, 6), 2), glyphs=ASCII).splitlines()
    assert train[2:] == ["g0 -- x0 4    8", "| 2", "g1 -- x1 5   20", "| 2", "g2 -- x2 6   12"]
    assert all(line.isascii() for line in train)


def test_text_of_a_hyperbond_is_a_branching_without_parameters():
    assert tnet.draw_text(tnet.cp((4, 5, 6), 3)).splitlines()[2:] == [
        "r *",
        "├─ 3 ─ u0 ── x0 4   12",
        "├─ 3 ─ u1 ── x1 5   15",
        "└─ 3 ─ u2 ── x2 6   18",
    ]
    stars = tnet.cp({"**": 4, "*0": 5, "c": 6}, 3)
    assert "** 4" in tnet.draw_text(stars)


def test_text_of_a_graph_lists_neighbours_and_hyperbonds():
    cycle = tnet.cp((2, 3, 4), 5).with_bond("u0", "u1", 3)
    text = tnet.draw_text(cycle)
    assert "*5* r joins u0, u1, u2" in text
    assert "-7- g1" in tnet.draw_text(tnet.tensor_ring((2,) * 4, 7))


def test_long_chains_and_deep_combs_stay_narrow_and_break_off():
    chain = tnet.tensor_train((2,) * 3000, 2)
    lines = tnet.draw_text(chain, max_lines=50).splitlines()
    assert len(lines) == 53
    assert lines[-1] == "… 2,975 more nodes"
    nodes, sizes = {}, {}
    for i in range(300):  # an inner path with a leaf at every node
        nodes[f"t{i}"] = [f"a{i}", f"b{i}", f"b{i + 1}"][: 3 if i < 299 else 2]
        nodes[f"u{i}"] = [f"a{i}", f"x{i}"]
        sizes |= {f"a{i}": 2, f"b{i}": 2, f"x{i}": 2}
    nodes["t0"].remove("b0")
    comb = tnet.draw_text(tnet.Structure(nodes, sizes), max_lines=2000).splitlines()
    assert max(map(len, comb)) < 100


def test_drawing_a_large_tree_takes_linear_time():
    large = tnet.balanced_tree((2,) * 5000, 2)
    begun = time.process_time()
    assert "more nodes" in tnet.draw_text(large)
    place(large)
    assert time.process_time() - begun < 5.0


def test_spectra_colour_the_bonds():
    structure = tnet.tensor_train((4, 4, 4), 4)
    flat, steep = np.ones(4), np.array([1.0, 1e-9, 1e-9, 1e-9])
    scene = scene_of(structure, spectra={"g0-g1": flat, "g1-g2": steep})
    dark, light = (line.color for line in scene.lines if not line.is_open)
    assert (dark, light) == ("#5c1a6e", "#9ecae1")
    assert entropy(flat) == pytest.approx(2.0)
    assert "entropy" in tnet.draw_svg(structure, spectra={"g0-g1": flat})
    assert "entropy" not in tnet.draw_svg(structure)


@given(st.integers(1, 10**6), st.integers(1, 10**6))
def test_wider_bonds_have_higher_ranks(a, b):
    assert (width_of(a) < width_of(b)) == (a < b)


def test_a_drawing_is_text_and_shows_itself_as_a_picture():
    drawn = tnet.draw(tnet.tensor_train((4, 5), 2))
    assert isinstance(drawn, str)
    assert repr(drawn) == str(drawn)
    assert drawn._repr_svg_().startswith("<svg")


def test_matplotlib_draws_the_same_scene():
    pytest.importorskip("matplotlib")
    structure = tnet.Structure(
        {"a": ("x", "r", "q"), "$b$": ("r", "q", "y")}, {"x": 2, "y": 3, "r": 2, "q": 2}
    )
    axes = tnet.draw_axes(structure)
    assert len(axes.lines) == 4
    assert len(axes.collections) == 2
    axes.figure.canvas.draw()
    assert tnet.draw_axes(tnet.cp((2, 3, 4), 2), axes) is axes


def test_a_network_is_coloured_by_its_own_spectra():
    rng = np.random.default_rng(0)
    net = tnet.random_network(tnet.tensor_train((3, 4, 3), 3), rng=rng)
    assert tnet.draw_svg(net) == tnet.draw_svg(net.structure, spectra=tnet.bond_spectra(net))
    assert "bits" in tnet.draw(net).svg()
    ring = tnet.random_network(tnet.tensor_ring((3, 4, 3), 2), rng=rng)
    assert "entropy" not in tnet.draw(ring).svg()


@given(graphs())
def test_everything_lies_inside_the_picture(structure):
    scene = scene_of(structure)
    for disc in scene.discs:
        assert scene.left < disc.center[0] - disc.radius
        assert disc.center[0] + disc.radius < scene.left + scene.width
        assert scene.top < disc.center[1] - disc.radius
        assert disc.center[1] + disc.radius < scene.top + scene.height
