"""Saving and loading: the same bits back, and no damage goes unseen."""

import json
import os
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction import atomic
from contraction.arrays import to_numpy
from contraction.errors import (
    FileFormatError,
    InputError,
    MemoryBudgetError,
    StructureError,
    TnetError,
)
from strategies import NAMESPACES, graphs, seeds, trees
from tnet import file_header

ALL_DTYPES = ["float32", "float64", "complex64", "complex128"]


def same_bits(a, b):
    assert a.structure == b.structure
    assert a.center == b.center
    assert a.certificate == b.certificate
    for node in a.structure.node_names:
        x, y = to_numpy(a[node]), to_numpy(b[node])
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert x.tobytes() == y.tobytes()


def sample(dtype="float64", **how):
    net = tnet.random_network(
        tnet.tensor_ring((3, 4, 2), 2), rng=np.random.default_rng(0), dtype=dtype
    )
    certificate = tnet.Certificate(
        error=0.1,
        kind=tnet.ErrorKind.ESTIMATE,
        discarded={"g0-g1": 0.05},
        methods={"g0-g1": "svd"},
        allowed=0.2,
    )
    return tnet.Network(net.structure, net.arrays, "g1", certificate)


def parts(content):
    """Split a file into the header's object, our metadata and the payload."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["tnet"]), content[8 + length :]


def join(header, meta, payload):
    header = {**header, "__metadata__": {"tnet": json.dumps(meta)}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + payload


@given(
    st.one_of(trees(), graphs()),
    seeds,
    st.sampled_from(ALL_DTYPES),
    st.sampled_from(NAMESPACES),
    st.booleans(),
)
def test_round_trip_is_bit_exact(tmp_path_factory, structure, seed, dtype, namespace, centred):
    net = tnet.random_network(structure, rng=np.random.default_rng(seed), dtype=dtype)
    center = structure.node_names[0] if centred else None
    net = tnet.Network(structure, net.arrays, center).to(namespace=namespace)
    path = tmp_path_factory.mktemp("round") / "a.tnet"
    tnet.save(path, net)
    back = tnet.load(path, namespace=namespace)
    assert back.namespace == namespace
    same_bits(back, net)


@pytest.mark.parametrize("dtype", ALL_DTYPES)
def test_memory_orders_and_odd_bits(tmp_path, dtype):
    """Transposed, strided, reversed and read-only arrays; signed zeros, NaN and subnormals."""
    rng = np.random.default_rng(0)
    base = rng.standard_normal((8, 6, 10)).astype(dtype)
    base[0, 0, :5] = [-0.0, np.nan, np.inf, -np.inf, np.finfo(dtype).tiny / 4]
    views = {
        "c": base.copy(),
        "fortran": np.asfortranarray(base),
        "turned": base.transpose(2, 0, 1).copy().transpose(1, 2, 0),
        "strided": np.repeat(base, 2, axis=1)[:, ::2],
        "reversed": base[::-1, :, ::-1].copy()[::-1, :, ::-1],
        "broadcast": np.broadcast_to(base[:, :, :1], base.shape),
        "swapped": base.copy(),
    }
    views["swapped"].flags.writeable = False
    nodes = {name: (f"{name}-a", f"{name}-b", f"{name}-c") for name in views}
    sizes = {leg: n for legs in nodes.values() for leg, n in zip(legs, base.shape, strict=True)}
    net = tnet.Network(tnet.Structure(nodes, sizes), views)
    tnet.save(tmp_path / "a.tnet", net)
    same_bits(tnet.load(tmp_path / "a.tnet"), net)


def test_torch_views(tmp_path):
    torch = pytest.importorskip("torch")
    x = torch.randn(4, 3, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    s = tnet.Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 3, "r": 4, "y": 3})
    held = {"a": x.T.conj().requires_grad_(), "b": x}
    net = tnet.Network(s, held)
    tnet.save(tmp_path / "a.tnet", net)
    back = tnet.load(tmp_path / "a.tnet", namespace="torch")
    assert torch.equal(back["a"], held["a"])
    assert torch.equal(back["b"], x)


def test_everything_else_comes_back(tmp_path):
    net = sample()
    tnet.save(tmp_path / "a.tnet", net, history=["made for a test", "with ünïcode"])
    back = tnet.load(str(tmp_path / "a.tnet"))
    same_bits(back, net)
    assert back.error == 0.1
    about = tnet.file_info(tmp_path / "a.tnet")
    assert about.history == ("made for a test", "with ünïcode")
    assert about.structure == net.structure
    assert about.num_bytes == (tmp_path / "a.tnet").stat().st_size
    assert (about.dtype, about.center, about.certificate, about.format) == (
        "float64",
        "g1",
        net.certificate,
        1,
    )


def test_scalar_nodes_and_strange_names(tmp_path):
    s = tnet.Structure({'"quoted"': (), "<script>": ("../x",)}, {"../x": 2})
    net = tnet.Network(s, {'"quoted"': np.array(2.0), "<script>": np.ones(2)})
    tnet.save(tmp_path / "a.tnet", net)
    same_bits(tnet.load(tmp_path / "a.tnet"), net)
    reserved = tnet.Network(
        s.renamed(nodes={"<script>": "__metadata__"}),
        dict(zip(('"quoted"', "__metadata__"), net.arrays.values(), strict=True)),
    )
    with pytest.raises(StructureError, match="rename"):
        tnet.save(tmp_path / "b.tnet", reserved)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_safetensors_reader_reads_the_arrays(tmp_path, dtype):
    from safetensors.numpy import load_file

    net = sample(dtype)
    tnet.save(tmp_path / "any.suffix", net)
    for node, x in load_file(tmp_path / "any.suffix").items():
        np.testing.assert_array_equal(x, net[node])


def test_equal_networks_make_equal_files(tmp_path):
    for name in "ab":
        tnet.save(tmp_path / name, sample())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_bit_flips_are_detected_or_harmless(tmp_path):
    net = sample("complex64")
    tnet.save(tmp_path / "a", net, history=["one"])
    good = (tmp_path / "a").read_bytes()
    rng = np.random.default_rng(0)
    detected = 0
    for _ in range(400):
        bad = bytearray(good)
        for _ in range(int(rng.integers(1, 4))):
            bad[int(rng.integers(len(bad)))] ^= 1 << int(rng.integers(8))
        (tmp_path / "b").write_bytes(bad)
        try:
            back = tnet.load(tmp_path / "b")
        except FileFormatError:
            detected += 1
        else:
            same_bits(back, net)
    assert detected >= 390  # spaces that pad the header may turn into other white space


def test_every_truncation_is_detected(tmp_path):
    tnet.save(tmp_path / "a", sample())
    good = (tmp_path / "a").read_bytes()
    for length in range(len(good)):
        (tmp_path / "b").write_bytes(good[:length])
        with pytest.raises(FileFormatError):
            tnet.load(tmp_path / "b")
    (tmp_path / "b").write_bytes(good + b"\0")
    with pytest.raises(FileFormatError, match="announced"):
        tnet.load(tmp_path / "b")


def edits():
    def tensor(**change):
        return lambda h, m: h["g0"].update(change)

    def meta(**change):
        return lambda h, m: m.update(change)

    big = 1 << 40
    yield "format 2", meta(format=2), "newer"
    yield "format text", meta(format="1"), "format"
    yield "format true", meta(format=True), "format"
    yield "no format", lambda h, m: m.pop("format"), "format"
    yield "unknown key", meta(extra=1), "keys"
    yield "missing key", lambda h, m: m.pop("modes"), "keys"
    yield "dtype", meta(dtype="object"), "dtype"
    yield "other dtype", meta(dtype="float32"), "types"
    yield "center", meta(center="g9"), "centre"
    yield "center number", meta(center=3), "centre"
    yield "history", meta(history="abc"), "history"
    yield "long history", meta(history=["x"] * 1001), "history"
    yield "modes", meta(modes=["x0", "x0", "x1"]), "structure"
    yield "modes numbers", meta(modes=[1]), "no lists"
    yield "no nodes", meta(nodes=[]), "nodes"
    yield "node twice", lambda h, m: m["nodes"].__setitem__(1, m["nodes"][0]), "twice|no tensor|two"
    yield "node no pair", lambda h, m: m["nodes"].__setitem__(0, ["g0"]), "pair"
    yield "leg is a list", lambda h, m: m["nodes"][0][1].__setitem__(0, []), "pair"
    yield (
        "leg twice",
        lambda h, m: m["nodes"][0].__setitem__(1, ["x0", "x0", "x0"]),
        "two sizes|structure",
    )
    yield "control name", lambda h, m: m["nodes"][0][1].__setitem__(1, "\0"), "structure"
    yield "long name", lambda h, m: m["nodes"][0][1].__setitem__(1, "x" * 300), "structure"
    yield "other shape", tensor(shape=[2, 3, 3]), "sizes|places"
    yield "less axes", tensor(shape=[2, 6]), "axes"
    yield "huge shape", tensor(shape=[2, big, 2]), "places|sizes"
    yield "overflow", tensor(shape=[2, 1 << 62, 2]), "shape"
    yield "negative", tensor(shape=[2, -3, 2]), "shape"
    yield "zero", tensor(shape=[2, 0, 2]), "shape"
    yield "float shape", tensor(shape=[2.0, 3.0, 2.0]), "shape"
    yield "no shape", lambda h, m: h["g0"].pop("shape"), "shape"
    yield "too many axes", tensor(shape=[1] * 65), "shape"
    yield "tensor type", tensor(dtype="I64"), "types"
    yield "offsets", tensor(data_offsets=[8, 104]), "places"
    yield "overlap", tensor(data_offsets=[0, 0]), "places"
    yield "extra tensor", lambda h, m: h.update(more=h["g0"]), "nodes and"
    yield "lost tensor", lambda h, m: h.pop("g2"), "nodes and"
    yield "extra field", tensor(more=1), "places"
    yield "checksum", meta(sha256="0" * 64), "checksum"
    yield "checksum number", meta(sha256=3), "checksum"
    yield "certificate text", meta(certificate="good"), "certificate"
    yield "certificate keys", meta(certificate={}), "certificate"
    for key, value in (
        ("error", -1.0),
        ("error", "0"),
        ("error", True),
        ("kind", "guess"),
        ("kind", []),
        ("bound", -1),
        ("discarded", []),
        ("discarded", {"a": "b"}),
        ("methods", {"a": 1}),
    ):
        yield (
            f"certificate {key} {value!r}",
            lambda h, m, key=key, value=value: m["certificate"].update({key: value}),
            "certificate",
        )


@pytest.mark.parametrize(("change", "match"), [e[1:] for e in edits()], ids=[e[0] for e in edits()])
def test_malformed_headers(tmp_path, change, match):
    tnet.save(tmp_path / "a", sample())
    header, meta, payload = parts((tmp_path / "a").read_bytes())
    (tmp_path / "a").write_bytes(join(header, meta, payload))
    same_bits(tnet.load(tmp_path / "a"), sample())  # other white space is no damage
    change(header, meta)
    (tmp_path / "b").write_bytes(join(header, meta, payload))
    with pytest.raises(FileFormatError, match=match):
        tnet.load(tmp_path / "b")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (b'"g0":{', b'"g1":{', "twice"),
        (b'\\"error\\":0.1', b'\\"error\\":NaN', "NaN"),
        (b'\\"error\\":0.1', b'\\"error\\":1e999', "certificate"),
        (b'\\"error\\":0.1', b'\\"error\\":' + b"[" * 5000, "JSON"),
        (b'\\"error\\":0.1', b'\\"error\\":' + b"9" * 5000, "JSON|certificate"),
        (b'"g0"', b'"g\xff"', "JSON"),
        (b'{"__metadata__"', b'["__metadata__"', "JSON"),
        (b'{"tnet":', b'{"more":"","tnet":', "metadata beside"),
        (b'{"tnet":', b'{"tent":', "safetensors"),
    ],
)
def test_malformed_json(tmp_path, old, new, match):
    tnet.save(tmp_path / "a", sample())
    content = (tmp_path / "a").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    text, payload = content[8 : 8 + length], content[8 + length :]
    assert old in text
    text = text.replace(old, new, 1)
    (tmp_path / "b").write_bytes(struct.pack("<Q", len(text)) + text + payload)
    with pytest.raises(FileFormatError, match=match):
        tnet.load(tmp_path / "b")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'",
        b"PK\x03\x04" + bytes(100),
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 4) + b"null",
        bytes(64),
        b"\xff" * 64,
    ],
)
def test_other_files(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    for read in (tnet.load, tnet.file_info):
        with pytest.raises(FileFormatError):
            read(tmp_path / "a")


@given(st.binary(max_size=200))
def test_random_bytes(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "random"
    path.write_bytes(content)
    with pytest.raises(FileFormatError):
        tnet.load(path)


def test_huge_claims_allocate_nothing(tmp_path):
    """A header of 200 bytes that announces 2^60 bytes."""
    tnet.save(tmp_path / "a", sample())
    header, meta, _ = parts((tmp_path / "a").read_bytes())
    size = 1 << 40
    header["g0"]["shape"] = [2, size, 2]
    step = 0
    for name, count in (("g0", 4 * size), ("g1", 16), ("g2", 8)):
        header[name]["data_offsets"] = [step, step + 8 * count]
        step += 8 * count
    (tmp_path / "b").write_bytes(join(header, meta, b""))
    with pytest.raises(FileFormatError, match="announced"):
        tnet.load(tmp_path / "b")


def test_limits_and_places(tmp_path, monkeypatch):
    tnet.save(tmp_path / "a", sample())
    with pytest.raises(MemoryBudgetError, match="more than the 10 allowed"):
        tnet.load(tmp_path / "a", memory=10)
    with pytest.raises(FileNotFoundError):
        tnet.load(tmp_path / "missing")
    with pytest.raises(FileFormatError, match="regular"):
        tnet.load(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileFormatError, match="regular"):
        tnet.load(tmp_path / "pipe")
    with pytest.raises(InputError, match="history"):
        tnet.save(tmp_path / "b", sample(), history=["x" * 2000])
    with pytest.raises(TnetError):
        tnet.load(tmp_path / "a", namespace="numpy", device="cuda:0")
    monkeypatch.setattr(file_header, "LARGEST_HEADER", 100)
    with pytest.raises(InputError, match="header"):
        tnet.save(tmp_path / "b", sample())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "pipe"]


def test_a_write_that_went_wrong_leaves_the_old_file(tmp_path, monkeypatch):
    """The file is read back before it replaces the old one."""
    path = tmp_path / "a"
    tnet.save(path, sample())
    before = path.read_bytes()
    original = atomic.os.fsync

    def damage(handle):
        if os.fstat(handle).st_size > 100:
            os.pwrite(handle, b"\x01", os.fstat(handle).st_size - 5)
        original(handle)

    monkeypatch.setattr(atomic.os, "fsync", damage)
    with pytest.raises(FileFormatError, match="checksum"):
        tnet.save(path, sample() * 2.0)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a"]


def test_20000_nodes(tmp_path):
    s = tnet.tensor_train((2,) * 20_000, 2)
    net = tnet.random_network(s, rng=np.random.default_rng(0))
    tnet.save(tmp_path / "a", net)
    same_bits(tnet.load(tmp_path / "a"), net)


def test_a_loaded_network_remembers_the_tolerance_it_has_used(tmp_path):
    rng = np.random.default_rng(0)
    net = tnet.random_network(tnet.tensor_train((6,) * 5, 5), rng=rng)
    rule = tnet.Truncation(tol=0.3)
    small = tnet.truncate(net, rule)
    tnet.save(tmp_path / "small.tnet", small)
    again = tnet.truncate(tnet.load(tmp_path / "small.tnet"), rule)
    assert dict(again.ranks) == dict(small.ranks)


def test_tolerances_of_any_float_type_are_saved(tmp_path):
    net = tnet.random_network(tnet.tensor_train((4, 4), 4), rng=np.random.default_rng(0))
    small = tnet.truncate(net, tnet.Truncation(tol=np.float32(0.1)))
    tnet.save(tmp_path / "a.tnet", small)
    assert tnet.load(tmp_path / "a.tnet").certificate.allowed == pytest.approx(0.1)
