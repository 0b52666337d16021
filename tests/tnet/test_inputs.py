"""open_array: every format comes back exact, every hostile file is refused before it does harm."""

import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contraction.errors import (
    DeviceError,
    DTypeError,
    FileFormatError,
    InputError,
    MemoryBudgetError,
    ShapeError,
    TnetError,
)
from tnet.inputs import DATA_SETS, PICTURES, Data, Duplicates, Missing, open_array, scan_array
from tnet.readers.common import SeveralArraysError

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((4, 5, 6))


# ---- what comes back -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "x",
    [
        X,
        np.asfortranarray(X),
        X.astype(">f4"),
        (100 * X).astype(np.int16),
        X > 0,
        X + 1j,
        X.astype(np.float16),
        np.float64(3.0),
        np.zeros((2, 0, 3)),
    ],
    ids=lambda x: f"{np.asarray(x).dtype}-{np.shape(x)}",
)
def test_npy_round_trip(tmp_path, x) -> None:
    np.save(tmp_path / "x.npy", x)
    data = open_array(tmp_path / "x.npy")
    assert data.array.dtype == np.asarray(x).dtype
    np.testing.assert_array_equal(data.array, x)
    assert data.in_memory == (np.size(x) == 0)
    assert not data.array.flags.writeable or data.array.size == 0


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_members(tmp_path, save) -> None:
    save(tmp_path / "x.npz", a=X, b=np.asfortranarray(X).astype(np.float32))
    path = tmp_path / "x.npz"
    np.testing.assert_array_equal(open_array(f"{path}:a").array, X)
    np.testing.assert_array_equal(open_array(path, key="b").array, X.astype(np.float32))
    with pytest.raises(SeveralArraysError, match=r"holds 2 arrays: 'a', 'b'; name one: x\.npz:a"):
        open_array(path)
    with pytest.raises(InputError, match="no array 'c'; it holds 'a', 'b'"):
        open_array(f"{path}:c")
    with pytest.raises(InputError, match="named twice"):
        open_array(f"{path}:a", key="b")


def test_large_members_that_are_not_packed_are_mapped(tmp_path, monkeypatch) -> None:
    np.savez(tmp_path / "x.npz", x=np.asfortranarray(X))
    monkeypatch.setattr("tnet.readers.common.HARMLESS_BYTES", 0)
    data = open_array(tmp_path / "x.npz", memory=10)
    assert not data.in_memory
    np.testing.assert_array_equal(data.array, X)


def test_a_name_with_a_colon_is_taken_as_written(tmp_path) -> None:
    np.save(tmp_path / "a:b.npy", X)
    np.testing.assert_array_equal(open_array(tmp_path / "a:b.npy").array, X)
    np.savez(tmp_path / "c:d.npz", x=X, y=X)
    np.testing.assert_array_equal(open_array(f"{tmp_path}/c:d.npz:x").array, X)


def test_safetensors_round_trip(tmp_path) -> None:
    from safetensors.numpy import save_file

    tensors = {"w": X, "h": X.astype(np.float16), "i": np.arange(7), "c": (X + 1j).astype("c8")}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"note": "[[free text]]"})
    for key, x in tensors.items():
        data = open_array(f"{tmp_path / 'm.safetensors'}:{key}")
        assert data.array.dtype == x.dtype
        np.testing.assert_array_equal(data.array, x)


def test_bfloat16_is_widened(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    save_file({"x": x}, tmp_path / "m.safetensors")
    torch.save(x, tmp_path / "m.pt")
    for name in ("m.safetensors", "m.pt"):
        data = open_array(tmp_path / name)
        np.testing.assert_array_equal(data.array, x.float().numpy())


def test_torch_round_trip(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(X)
    state = {"layer": {"weight": x, "rest": [x[0], x.permute(2, 1, 0)]}, "epoch": 3}
    torch.save(state, tmp_path / "m.pt")
    np.testing.assert_array_equal(open_array(f"{tmp_path}/m.pt:layer.weight").array, X)
    np.testing.assert_array_equal(open_array(f"{tmp_path}/m.pt:layer.rest.1").array, X.T)
    torch.save(x, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    np.testing.assert_array_equal(open_array(f"{tmp_path}/old.pt").array, X)
    with pytest.raises(SeveralArraysError, match=r"layer\.weight"):
        open_array(tmp_path / "m.pt")


def test_hdf5_round_trip(tmp_path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["plain"] = X
        file.create_dataset("deep/er/zipped", data=X, compression="gzip", shuffle=True)
        file["deep/loop"] = file["/"]  # hard links may form a cycle
        file["plain"].dims[0].label = "row"
    assert not open_array(f"{path}:plain").in_memory
    np.testing.assert_array_equal(open_array(f"{path}::plain").array, X)
    np.testing.assert_array_equal(open_array(f"{path}:/deep/er/zipped").array, X)
    with pytest.raises(SeveralArraysError, match="holds 2 arrays"):
        open_array(path)
    with pytest.raises(InputError, match="is a group"):
        open_array(f"{path}:deep")


def test_hdf5_labels_name_the_modes(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        found = file.create_dataset("x", data=X)
        for i, label in enumerate(("row", "column", "band")):
            found.dims[i].label = label
    assert open_array(tmp_path / "x.h5").names == ("row", "column", "band")


KINDS = ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8")


@pytest.mark.parametrize("compress", [False, True])
def test_matlab_round_trip(tmp_path, compress) -> None:
    import scipy.io

    content = {"s": {"a": 1.0}, "text": "no", "cell": np.array([1, "a"], object)}
    content |= {"x": X, "z": X[0] + 1j, "flag": X[0] > 0, "w": (X + 1j).astype("c8")[0]}
    content |= {f"n{kind}": np.arange(60).reshape(3, 4, 5).astype(kind) for kind in KINDS}
    content |= {"none": np.zeros((0, 3)), "one": np.ones((1, 1))}
    scipy.io.savemat(tmp_path / "x.mat", content, do_compression=compress)
    for key in set(content) - {"s", "text", "cell"}:
        found = open_array(tmp_path / "x.mat", key=key).array
        assert found.dtype == content[key].dtype
        np.testing.assert_array_equal(found, content[key])
    with pytest.raises(InputError, match="no array 'text'"):
        open_array(tmp_path / "x.mat", key="text")


def test_matlab_version_4(tmp_path) -> None:
    import scipy.io

    scipy.io.savemat(tmp_path / "x.mat", {"x": X[0], "t": "text"}, format="4")
    np.testing.assert_array_equal(open_array(tmp_path / "x.mat").array, X[0])


def test_a_matlab_variable_is_mapped_where_it_can_be(tmp_path) -> None:
    import scipy.io

    scipy.io.savemat(tmp_path / "x.mat", {"x": X, "flag": X > 0})
    data = open_array(tmp_path / "x.mat:x", memory=0)
    assert not data.in_memory
    with pytest.raises(MemoryBudgetError):
        open_array(tmp_path / "x.mat:flag", memory=0)


def test_matlab_73_is_transposed_back(tmp_path) -> None:
    pair = np.dtype([("real", "f8"), ("imag", "f8")])
    z = np.zeros(X.T.shape, pair)
    z["real"], z["imag"] = X.T, 2 * X.T
    with h5py.File(tmp_path / "x.mat", "w", userblock_size=512) as file:
        file["x"] = X.T  # as MATLAB writes it: the first index runs fastest
        file["z"] = z
    np.testing.assert_array_equal(open_array(tmp_path / "x.mat", key="x").array, X)
    np.testing.assert_array_equal(open_array(tmp_path / "x.mat", key="z").array, X + 2j * X)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_images(tmp_path, suffix, shape) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    for i in range(3):
        image.fromarray(pixels + np.uint8(i)).save(tmp_path / f"{i}.{suffix}")
    one = open_array(tmp_path / f"0.{suffix}")
    assert one.names == ("row", "column", "channel")[: len(shape)]
    np.testing.assert_array_equal(one.array, pixels)
    stack = open_array(tmp_path)
    assert stack.names[0] == "image"
    np.testing.assert_array_equal(stack.array, np.stack([pixels + np.uint8(i) for i in range(3)]))
    image.fromarray(pixels[:2]).save(tmp_path / f"3.{suffix}")
    with pytest.raises(ShapeError, match=rf"0\.{suffix} is .*, 3\.{suffix} is"):
        open_array(tmp_path)


def test_pages_of_a_tiff_are_stacked(tmp_path) -> None:
    image = pytest.importorskip("PIL.Image")
    pages = [image.fromarray((X[i] * 9).astype(np.float32)) for i in range(4)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    found = open_array(tmp_path / "x.tif")
    assert found.names == ("image", "row", "column")
    np.testing.assert_array_equal(found.array, (X * 9).astype(np.float32))


@pytest.mark.parametrize("name", DATA_SETS)
def test_bundled_data_is_what_tensorly_gives(name) -> None:
    from tensorly import datasets

    load = {
        "kinetic": datasets.load_kinetic,
        "indian-pines": datasets.load_indian_pines,
        "il2": datasets.load_IL2data,
        "covid19": datasets.load_covid19_serology,
    }[name]
    data = open_array(name)
    np.testing.assert_array_equal(data.array, load().tensor)
    assert data.array.dtype == np.float64
    assert len(set(data.names)) == data.array.ndim


def test_bundled_data_opens_without_importing_tensorly() -> None:
    code = (
        "import sys; from tnet.inputs import open_array; open_array('kinetic').scan;"
        "print({'tensorly', 'scipy', 'torch', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_listed_picture_opens() -> None:
    pytest.importorskip("skimage")
    for name in PICTURES:
        data = open_array(f"skimage:{name}")
        assert data.array.size > 0
        assert len(data.names) == data.array.ndim
    np.testing.assert_array_equal(open_array("cat").array, open_array("chelsea").array)


def test_a_missing_package_is_named(monkeypatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DeviceError, match="pip install scikit-image"):
        open_array("camera")
    with pytest.raises(DeviceError, match="TensorLy"):
        open_array("kinetic")


# ---- Data ------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(0, 2**32), st.booleans())
def test_scan_counts_what_is_not_finite(shape, seed, wide) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape) + (1j if wide else 0)
    flat = x.reshape(-1)
    flat[rng.random(flat.size) < 0.2] = np.nan
    flat[rng.random(flat.size) < 0.2] = -np.inf
    found = scan_array(x)
    good = flat[np.isfinite(flat)]
    assert (found.missing, found.infinite) == (np.isnan(flat).sum(), np.isinf(flat).sum())
    assert found.norm == pytest.approx(np.linalg.norm(good))
    if good.size < flat.size:
        assert not np.isfinite(x[found.first_bad])
        assert np.ravel_multi_index(found.first_bad, shape) == np.argmin(np.isfinite(flat))
    else:
        assert found.first_bad is None
    if good.size and not wide:
        assert (found.least, found.greatest) == (good.real.min(), good.real.max())


def test_scan_works_block_by_block(monkeypatch) -> None:
    x = X.copy()
    x[3, 1, 2] = np.inf
    whole, digest = scan_array(x), Data(array=x, names=("a", "b", "c"), source="x").sha256
    monkeypatch.setattr("tnet.inputs.BLOCK", 7)
    pieces = scan_array(x)
    assert pieces.first_bad == whole.first_bad == (3, 1, 2)
    assert pieces.norm == pytest.approx(whole.norm)
    assert Data(array=x, names=("a", "b", "c"), source="x").sha256 == digest


def test_the_hash_is_of_the_content_not_of_the_container(tmp_path) -> None:
    np.save(tmp_path / "c.npy", X)
    np.save(tmp_path / "f.npy", np.asfortranarray(X))
    np.savez_compressed(tmp_path / "z.npz", x=X.astype(">f8"))
    np.save(tmp_path / "other.npy", X + 1)
    np.save(tmp_path / "flat.npy", X.reshape(-1))
    hashes = [open_array(p).sha256 for p in sorted(tmp_path.iterdir())]  # c f flat other z
    assert hashes[0] == hashes[1] == hashes[4]
    assert len(set(hashes)) == 3


@pytest.mark.parametrize("order", ["C", "F"])
def test_reshaped(order) -> None:
    data = Data(array=X, names=("a", "b", "c"), source="x")
    found = data.reshaped((2, -1, 3), order=order)
    np.testing.assert_array_equal(found.array, X.reshape((2, 20, 3), order=order))
    assert found.names == ("x0", "x1", "x2")
    for bad in [(7, -1), (4, 5, 7), (0, -1)]:
        with pytest.raises(ShapeError, match="cannot be reshaped"):
            data.reshaped(bad)


def test_missing_entries_can_be_zero(tmp_path) -> None:
    x = X.copy()
    x[1, 2, 3] = np.nan
    np.save(tmp_path / "x.npy", x)
    assert open_array(tmp_path / "x.npy").missing == 1
    found = open_array(tmp_path / "x.npy", missing=Missing.ZERO)
    assert found.missing == 0
    assert found.array[1, 2, 3] == 0
    assert found.array.dtype == x.dtype


# ---- coordinate files ------------------------------------------------------------------------


def write(path, text: str):
    path.write_text(text)
    return path


def test_csv_with_header_and_labels(tmp_path) -> None:
    path = write(
        tmp_path / "x.csv",
        "day,site,depth,value\n0,north,2,1.5\n\n1,south,0,2.5\n0,south,1,\n",
    )
    data = open_array(path)
    assert data.modes == {"day": 2, "site": 2, "depth": 3}
    assert data.array[0, 0, 2] == 1.5
    assert data.array[1, 1, 0] == 2.5
    assert data.missing == 10
    assert "9 of 12 entries are not listed" in data.notes[0]
    assert open_array(path, missing=Missing.ZERO).missing == 0


def test_csv_columns_can_be_chosen(tmp_path) -> None:
    path = write(tmp_path / "x.csv", "t;v;u;w\n1;10;0;7\n0;20;1;8\n")
    data = open_array(path, coords=("u", "t"), value="v")
    np.testing.assert_array_equal(data.array, [[np.nan, 10.0], [20.0, np.nan]])
    assert data.names == ("u", "t")
    with pytest.raises(InputError, match=r"no column 'q'; it has \['t', 'v', 'u', 'w'\]"):
        open_array(path, coords=("q",))


def test_csv_without_header(tmp_path) -> None:
    data = open_array(write(tmp_path / "x.csv", "0,0,1.0\n1,2,2.0\n"), missing=Missing.ZERO)
    np.testing.assert_array_equal(data.array, [[1, 0, 0], [0, 0, 2]])


@given(st.integers(0, 2**32))
def test_coordinate_files_round_trip(seed) -> None:
    import tempfile
    from pathlib import Path

    rng = np.random.default_rng(seed)
    x = rng.standard_normal(rng.integers(1, 5, size=rng.integers(1, 4)))
    x[rng.random(x.shape) < 0.3] = 0.0
    x[(-1,) * x.ndim] = 1.0  # so that the shape can be seen
    places = rng.permutation(np.argwhere(x))
    with tempfile.TemporaryDirectory() as folder:
        tns, table = Path(folder) / "x.tns", Path(folder) / "x.csv"
        lines = [(*place, repr(float(x[tuple(place)]))) for place in places]
        tns.write_text(
            "# a comment\n\n"
            + "".join(
                " ".join(str(int(i) + 1) for i in line[:-1]) + f" {line[-1]}\n" for line in lines
            )
        )
        table.write_text("".join(",".join(map(str, line)) + "\n" for line in lines))
        np.testing.assert_array_equal(open_array(tns).array, x)
        np.testing.assert_array_equal(open_array(table, missing=Missing.ZERO).array, x)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.tns", "1 1 1.0\n0 1 2.0\n", "line 2: index 0 is out of range; indices start at 1"),
        ("x.tns", "1 1 1.0\n1 -3 2.0\n", "line 2: index -3 is out of range"),
        ("x.tns", "# c\n1 1 1.0\n1 2.0\n", "line 3: 2 numbers, where 3 are expected"),
        ("x.tns", "1 1 1.0\n1 2 two\n", "line 2: value 'two' is not a number"),
        ("x.tns", "1 1 1.0\n1 2.5 2\n", "line 2: index '2.5' is not a whole number"),
        ("x.tns", "1 1 1.0\n1 99999999999999999999 2\n", "line 2: index 9+ is out of range"),
        ("x.tns", "1 1 1.0\n1 2 2.0\n1 1 3.0\n", "line 3: the same coordinate as line 1"),
        ("x.tns", "", "holds no entry"),
        ("x.tns", "7\n", "0 index columns"),
        ("x.csv", "i,j,value\n0,0,1\n0,x,2\n", "line 3: index 'x' is not a whole number"),
        ("x.csv", "i,j,value\n0,0,1\n0,1\n", "line 3: 2 cells, expected 3"),
        ("x.csv", "i,j,value\n0,0,1\n0,1,?\n", r"line 3: value '\?' is not a number"),
        ("x.csv", "i,j,value\n0,-1,1\n", "line 2: index -1 is out of range"),
        ("x.csv", 'i,j,value\n0,0,"1\n', "line 2: unexpected end of data"),
        ("x.csv", "i,i,value\n0,0,1\n", "line 1: two columns of one name"),
        ("x.csv", "i,j,value\n0,0,1\n0,\0,1\n", "line 3: a NUL character"),
        ("x.csv", "i,j,value\n", "holds no entry"),
        ("x.csv", "i,value\n0," + "1" * (1 << 20) + "\n", "line 2: longer than any line"),
    ],
)
def test_coordinate_errors_name_the_line(tmp_path, name, text, said) -> None:
    with pytest.raises(FileFormatError, match=said):
        open_array(write(tmp_path / name, text))


def test_a_huge_index_costs_no_memory_and_its_line_is_named(tmp_path) -> None:
    path = write(tmp_path / "x.tns", "1 1 1 1.0\n1000000000000000 1 1 2.0\n1 1 9 1.0\n")
    with pytest.raises(MemoryBudgetError, match="line 2 holds the largest index"):
        open_array(path)


def test_duplicates_are_summed_when_asked(tmp_path) -> None:
    path = write(tmp_path / "x.tns", "1 1 1.0\n1 2 2.0\n1 1 3.0\n")
    found = open_array(path, duplicates=Duplicates.SUM)
    np.testing.assert_array_equal(found.array, [[4.0, 2.0]])


def test_text_that_is_no_text(tmp_path) -> None:
    (tmp_path / "x.csv").write_bytes(b"i,value\n0,\xff\xfe\n")
    with pytest.raises(FileFormatError, match="damaged"):
        open_array(tmp_path / "x.csv")


# ---- hostile files ---------------------------------------------------------------------------


def npy_header(text: str) -> bytes:
    body = text.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk that is no array",
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (65536, 65536), }"),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 4), }") + bytes(32),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296,)*4, }"),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2**62, 8), }"),
        npy_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {(2**62, 8)}, }}"),
        npy_header(f"{{'descr': '<f8', 'fortran_order': False, 'shape': {(1,) * 65}, }}")
        + bytes(8),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }") + bytes(15),
        npy_header("{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }") + bytes(24),
        npy_header("{'descr': '<f8', 'shape': (2,), }") + bytes(16),
        npy_header("__import__('os').system('touch CANARY')"),
        b"\x93NUMPY\x09\x00" + bytes(32),
    ],
)
def test_hostile_npy(tmp_path, content, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"x\.npy"):
        open_array(tmp_path / "x.npy")
    assert not (tmp_path / "CANARY").exists()


class Canary:
    """Unpickling it creates a file."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_pickles_are_never_loaded(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    canary = tmp_path / "canary"
    array = np.empty(1, object)
    array[0] = Canary(canary)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=array)
    torch.save({"w": torch.ones(2), "bad": Canary(canary)}, tmp_path / "a.pt")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Canary(canary)))
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Canary(canary)))
    canary.unlink(missing_ok=True)
    for name in ("a.npy", "a.npz", "a.pt", "raw.pt", "raw.npy"):
        with pytest.raises(FileFormatError) as error:
            open_array(tmp_path / name)
        assert not canary.exists(), name
        assert "weights_only" not in str(error.value)  # no advice that would be dangerous
        assert "allow_pickle" not in str(error.value)


@pytest.mark.parametrize(
    "x", [np.array(["a", "b"]), np.array(["2020-01-01"], "M8[D]"), np.zeros(2, "f8,f8")]
)
def test_what_is_no_number_is_a_dtype_error(tmp_path, x) -> None:
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(DTypeError, match="expected integers, or floats"):
        open_array(tmp_path / "x.npy")


def npy_bytes(x) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    np.save(stream, x)
    return stream.getvalue()


def test_hostile_npz(tmp_path) -> None:
    path = tmp_path / "x.npz"
    zeros = npy_bytes(np.zeros(16 * 1024**2))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("x.npy", zeros)
    with pytest.raises(FileFormatError, match=r"134217728 bytes of data over \d+ stored"):
        open_array(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../x.npy", npy_bytes(X))
    with pytest.raises(FileFormatError, match="a path; refused"):
        open_array(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy_bytes(X))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", npy_bytes(X + 1))
    with pytest.raises(FileFormatError, match="two members of one name"):
        open_array(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy_bytes(X)[:-8])
    with pytest.raises(FileFormatError, match="declares shape"):
        open_array(path)
    path.write_bytes(b"PK\x03\x04 and nothing else")
    with pytest.raises(FileFormatError, match="damaged"):
        open_array(path)


def test_a_flipped_bit_in_a_packed_member_is_noticed(tmp_path) -> None:
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=X)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(FileFormatError):
        open_array(path)


def test_the_memory_budget_is_kept(tmp_path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=X)
    with pytest.raises(MemoryBudgetError, match="900 are allowed"):
        open_array(tmp_path / "x.npz", memory=900)
    np.save(tmp_path / "x.npy", X)
    assert open_array(tmp_path / "x.npy", memory=900).shape == X.shape  # mapped, not read


def safetensors_bytes(header, payload: bytes = bytes(16), length: int | None = None) -> bytes:
    body = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(body) if length is None else length) + body + payload


def entry(begin: int, end: int, shape=(2,), dtype: str = "F64") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01\x02",
        safetensors_bytes({"a": entry(0, 16)}, length=2**63),
        safetensors_bytes({"a": entry(0, 16)}, payload=bytes(8)),
        safetensors_bytes({"a": entry(0, 16)}, payload=bytes(24)),
        safetensors_bytes({"a": entry(0, 16), "b": entry(8, 24)}, payload=bytes(24)),
        safetensors_bytes({"a": entry(0, 16), "b": entry(24, 40)}, payload=bytes(40)),
        safetensors_bytes({"a": entry(16, 0)}),
        safetensors_bytes({"a": entry(0, 16, (2**40, 2**40))}),
        safetensors_bytes({"a": entry(0, 16, (-2,))}),
        safetensors_bytes({"a": entry(0, 16, (3,))}),
        safetensors_bytes(
            b'{"a":{"dtype":"F64","shape":[2],"data_offsets":[0,16]},'
            b'"a":{"dtype":"I64","shape":[2],"data_offsets":[0,16]}}'
        ),
        safetensors_bytes(b"[" * 100_000),
        safetensors_bytes(b"not json at all"),
        safetensors_bytes({"a": 3}),
        safetensors_bytes([1, 2]),
    ],
)
def test_hostile_safetensors(tmp_path, content) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"x\.safetensors"):
        open_array(tmp_path / "x.safetensors")


def test_hdf5_never_reads_another_file(tmp_path) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(range(64)))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = X
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("external", (64,), "u1", external=[(str(secret), 0, 64)])
        file["link"] = h5py.ExternalLink("other.h5", "x")
        file["folder"] = h5py.ExternalLink("other.h5", "/")
        file["soft"] = h5py.SoftLink("/external")
        layout = h5py.VirtualLayout(X.shape, "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", shape=X.shape)
        file.create_virtual_dataset("virtual", layout)
    for key in ("external", "link", "folder/x", "soft", "virtual"):
        with pytest.raises(FileFormatError, match="refused"):
            open_array(path, key=key)
    for key in ("nothing", "external/x", "", "../x", "."):
        with pytest.raises(InputError, match=r"no data set|no array"):
            open_array(path, key=key)


def test_hdf5_bombs_and_odd_types(tmp_path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("bomb", (10**6, 10**6), "f8", chunks=(100, 100))
        file.create_dataset("text", data=["a", "b"])
        file.create_dataset("record", data=np.zeros(2, "f8,i4"))
        file.create_dataset("null", data=h5py.Empty("f8"))
    with pytest.raises(FileFormatError, match="8000000000000 bytes of data over 0 stored"):
        open_array(path, key="bomb")
    for key in ("text", "record"):
        with pytest.raises((DTypeError, FileFormatError)):
            open_array(path, key=key)
    with pytest.raises(FileFormatError, match="empty"):
        open_array(path, key="null")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises((FileFormatError, InputError)):
        open_array(path, key="bomb")


def test_hostile_images(tmp_path) -> None:
    pytest.importorskip("PIL")
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    huge = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", huge) + chunk(b"IDAT", zlib.compress(bytes(10)))
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(FileFormatError, match="10000 x 10000 pixels"):
        open_array(tmp_path / "bomb.png")
    (tmp_path / "junk.png").write_bytes(b"%!PS-Adobe junk")
    with pytest.raises(FileFormatError, match="damaged"):
        open_array(tmp_path / "junk.png")


def test_hostile_matlab(tmp_path) -> None:
    import scipy.io

    scipy.io.savemat(tmp_path / "good.mat", {"x": X})
    good = (tmp_path / "good.mat").read_bytes()
    wrong_type = good[:0xB8] + b"\x86" + good[0xB9:]  # crashes SciPy's reader
    scipy.io.savemat(tmp_path / "bomb.mat", {"x": np.zeros(2**24)}, do_compression=True)
    bomb = (tmp_path / "bomb.mat").read_bytes()
    junk = (b"", bytes(100), b"MATLAB 5.0 MAT-file" + bytes(200), b"\xff" * 300)
    for content in (*junk, wrong_type, good[:-8], bomb):
        (tmp_path / "x.mat").write_bytes(content)
        with pytest.raises(FileFormatError, match=r"x\.mat"):
            open_array(tmp_path / "x.mat")


# ---- paths -----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX")
def test_odd_paths(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "loop.npy").symlink_to("loop.npy")
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.xyz").write_text("?")
    (tmp_path / "net.tnet").write_text("?")
    for name, said in [
        ("pipe.npy", "not a regular file"),
        ("loop.npy", "symbolic links"),
        ("empty", "holds no picture"),
        ("gone.npy", "no file"),
        ("nul\0.npy", "NUL"),
    ]:
        with pytest.raises(InputError, match=said):
            open_array(f"{tmp_path}/{name}")
    with pytest.raises(FileFormatError, match="no known format"):
        open_array(tmp_path / "x.xyz")
    with pytest.raises(FileFormatError, match=r"tnet\.load"):
        open_array(tmp_path / "net.tnet")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission(tmp_path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.npy").chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        open_array(tmp_path / "x.npy")


def test_a_misspelt_name_gets_a_suggestion(tmp_path) -> None:
    with pytest.raises(InputError, match="Did you mean kinetic"):
        open_array("kinetik")
    np.save(tmp_path / "results.npy", X)
    with pytest.raises(InputError, match=r"Did you mean .*results\.npy"):
        open_array(f"{tmp_path}/result.npy")


@given(
    st.sampled_from(["npy", "npz", "safetensors", "tns", "csv", "mat", "h5"]), st.integers(0, 2**32)
)
def test_damaged_files_raise_only_our_errors(suffix, seed) -> None:
    """Cut or flip bytes anywhere: the answer is an array or a TnetError, never anything else."""
    import tempfile
    from pathlib import Path

    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x.{suffix}"
        small = X[:2, :2, :2]
        if suffix in ("tns", "csv"):
            mark = " " if suffix == "tns" else ","
            rows = [(*(place + 1), small[tuple(place)]) for place in np.argwhere(small)]
            path.write_text("".join(mark.join(map(str, row)) + "\n" for row in rows))
        elif suffix == "safetensors":
            save_file({"x": np.ascontiguousarray(small)}, path)
        elif suffix == "mat":
            import scipy.io

            scipy.io.savemat(path, {"x": small}, do_compression=bool(rng.integers(2)))
        elif suffix == "h5":
            with h5py.File(path, "w") as file:
                file["x"] = small
        else:
            {"npy": np.save, "npz": np.savez_compressed}[suffix](path, small)
        content = bytearray(path.read_bytes())
        for _ in range(rng.integers(1, 4)):
            content[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(content[: rng.integers(len(content) // 2, len(content) + 1)])
        try:
            found = open_array(path, memory=10**8)
        except TnetError:
            return
        assert found.array.size * found.array.itemsize == found.nbytes
