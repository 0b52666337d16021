"""`tnet plan`: sources, facts, drawing, plans on disk, and what it refuses."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tnet
from contraction import Plan, Spec, explain, plan
from contraction.errors import FileFormatError
from tnet.cli import main
from tnet.contraction_source import read_contraction
from tnet.plan_drawing import plan_svg

RING = "ab,bc,cd,da->"


def shell(capsys, *words: str) -> tuple[int, dict[str, object]]:
    code = main(["plan", *words, "--json", "--no-progress"])
    return code, json.loads(capsys.readouterr().out)


def test_equation(capsys) -> None:
    code, found = shell(capsys, "abc,br,cr->ar", "--shapes", "6x7x8,7x3,8x3")
    assert code == 0
    assert found["plan"]["flops"] == plan("abc,br,cr->ar", [(6, 7, 8), (7, 3), (8, 3)]).flops
    assert len(found["plan"]["steps"]) == 2


def test_sizes_by_label(capsys) -> None:
    _, found = shell(capsys, RING, "--sizes", "a=5", "--size", "3")
    assert found["plan"]["steps"][0]["shapes"]
    assert read_contraction(RING, sizes={"a": 5}, size=3).spec.shapes[0] == (5, 3)


def test_text_and_table(capsys) -> None:
    assert main(["plan", RING, "--size", "4", "--measure", "--no-progress"]) == 0
    out = capsys.readouterr().out
    assert "predicted" in out
    assert "roofline" in out
    assert "measured" in out


def test_network_file(capsys, tmp_path) -> None:
    x = np.random.default_rng(0).standard_normal((4, 5, 6))
    net = tnet.decompose(x, tnet.tensor_train, ranks=3)
    tnet.save(tmp_path / "x.tnet", net)
    code, found = shell(capsys, str(tmp_path / "x.tnet"))
    assert code == 0
    assert found["plan"]["flops"] == plan(net.structure.spec()).flops


def test_memory_slices_and_the_plan_on_disk(capsys, tmp_path) -> None:
    out, svg = tmp_path / "p.json", tmp_path / "p.svg"
    equation = "abcd,cdef,efgh,ghab->"
    words = [equation, "--size", "8", "--memory", "16KiB", "--out", str(out), "--svg", str(svg)]
    code, found = shell(capsys, *words)
    assert code == 0
    assert found["plan"]["num_slices"] > 1
    assert found["plan"]["peak_bytes"] <= 16 * 1024
    made = Plan.from_dict(json.loads(out.read_text()))
    assert made.num_slices == found["plan"]["num_slices"]
    ET.fromstring(svg.read_text("utf-8"))
    code, again = shell(capsys, str(out))
    assert code == 0
    assert again["plan"]["flops"] == found["plan"]["flops"]
    arrays = [np.random.default_rng(k).standard_normal((8,) * 4) for k in range(4)]
    assert np.allclose(made.run(arrays), np.einsum(equation, *arrays, optimize=True))


def test_json_network(capsys, tmp_path) -> None:
    file = tmp_path / "net.json"
    for sizes in ({"size_dict": {"a": 2, "b": 3}}, {"sizes": [["a", 2], ["b", 3]]}):
        file.write_text(json.dumps({"inputs": [["a", "b"], "b"], "output": ["a"], **sizes}))
        code, found = shell(capsys, str(file))
        assert code == 0
        assert found["plan"]["input_labels"] == [["a", "b"], ["b"]]


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        ([RING], 2, "no size"),
        ([RING, "--sizes", "z=3", "--size", "2"], 2, "'z'"),
        ([RING, "--shapes", "2x2", "--size", "2"], 2, "--shapes says all"),
        (["...a,a->...", "--size", "2"], 2, "--shapes"),
        ([RING, "--shapes", "2x2"], 3, "4 operands"),
        (["missing.tnet"], 3, "No such file"),
        (["missing.tnet", "--size", "3"], 2, "its own shapes"),
        ([RING, "--size", "4", "--svg", "no/such/x.svg"], 2, "does not exist"),
        ([RING, "--size", "4", "--svg", "x.png"], 2, ".svg"),
        (["ab,bc->ac", "--size", "400", "--memory", "1KiB"], 4, "--memory 1KiB"),
        (["ab,bc->ac", "--size", "4", "--memory", "lots"], 2, "lots"),
        (["ab,bc->ac", "--size", "4", "--memory", "0"], 2, "'0' is not a limit"),
        (["ab,bc->ac", "--sizes", "a=3,b=4,a=5", "--size", "4"], 2, "two sizes"),
        (["nonsense"], 2, "no .tnet or .json file, and no equation"),
        (["x.json", "--out", "./x.json"], 2, "name another file"),
    ],
)
def test_refused(capsys, tmp_path, monkeypatch, words, code, text) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *words, "--no-progress"]) == code
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"inputs": 3, "output": [], "sizes": {}}',
        '{"inputs": [["a"]], "output": [], "sizes": {}}',
        '{"inputs": [[["a"]]], "output": [], "sizes": {}}',
        '{"inputs": [["a"]], "output": ["b"], "sizes": {"a": 2, "b": 2}}',
        '{"inputs": [["a"]], "output": [], "sizes": [1]}',
        '{"inputs": [["a"]], "output": [], "sizes": {"a": "2"}}',
        '{"pairs": [[0, 0]], "inputs": [["a"]], "output": [], "sizes": [["a", 2]]}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_damaged_files(tmp_path, content) -> None:
    file = tmp_path / "x.json"
    file.write_text(content)
    with pytest.raises(FileFormatError, match=r"x\.json"):
        read_contraction(str(file))


def test_drawing_of_many_shapes() -> None:
    for equation, shapes, slices in (
        ("ab,bc->ac", [(2, 3), (3, 4)], ""),
        ("a,b,c->abc", [(2,), (3,), (4,)], "b"),
        ("ab->a", [(2, 3)], ""),
    ):  # fmt: skip
        root = ET.fromstring(plan_svg(explain(plan(equation, shapes, slices=slices))))
        assert root.tag.endswith("svg")


def test_names_in_the_drawing_are_no_markup() -> None:
    spec = Spec([("<b>", '"x"'), ('"x"', "&")], ("<b>", "&"), {"<b>": 2, '"x"': 3, "&": 4})
    svg = plan_svg(explain(plan(spec)))
    ET.fromstring(svg)
    assert "<b>" not in svg


def test_a_saved_plan_is_kept_unless_another_is_asked_for(capsys, tmp_path) -> None:
    file = tmp_path / "plan.json"
    made = plan("ab,bc,cd->ad", [(9, 2), (2, 9), (9, 2)], path=[(0, 1), (3, 2)], objective="size")
    file.write_text(json.dumps(made.to_dict()))
    _, kept = shell(capsys, str(file))
    assert kept["plan"]["objective"] == "size"
    assert kept["plan"]["flops"] == made.flops
    _, searched = shell(capsys, str(file), "--objective", "flops")
    assert searched["plan"]["objective"] == "flops"
    assert searched["plan"]["flops"] < made.flops
    _, within = shell(capsys, str(file), "--memory", "1MiB")
    assert within["plan"]["objective"] == "size"


def test_costs_beyond_any_float(capsys, tmp_path) -> None:
    names = [f"x{i}" for i in range(300)]
    spec = Spec([(x,) for x in names], names, dict.fromkeys(names, 10**20))
    file, svg = tmp_path / "huge.json", tmp_path / "huge.svg"
    labels = [list(word) for word in spec.inputs]
    file.write_text(json.dumps({"inputs": labels, "output": names, "sizes": dict(spec.sizes)}))
    code, found = shell(capsys, str(file), "--svg", str(svg))
    assert code == 0
    assert found["plan"]["flops"] is None
    assert found["plan"]["log10_flops"] > 5900
    assert main(["plan", str(file), "--explain", "--no-progress"]) == 0
    assert "inf" in capsys.readouterr().out
    ET.parse(svg)


def test_names_that_cannot_be_printed(capsys, tmp_path) -> None:
    spec = Spec(
        [("a\n", "\x01"), ("\x01", "\u202e")], ("a\n", "\u202e"), {"a\n": 4, "\x01": 3, "\u202e": 2}
    )
    made = plan(spec, slices=["\x01"])
    ET.fromstring(plan_svg(explain(made)))
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(made.to_dict()))
    assert main(["plan", str(file), "--explain", "--no-progress"]) == 0
    lines = capsys.readouterr().out
    assert "\x01" not in lines
    assert "\u202e" not in lines
    assert len(lines.splitlines()) == 8


def test_drawing_of_a_deep_tree() -> None:
    count = 900
    structure = tnet.tensor_train((2,) * count, 2)
    svg = plan_svg(explain(plan(structure.spec(output=()), path=None)))
    assert svg.count("<circle") == 2 * count - 1
