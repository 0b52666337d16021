"""What a step costs, in seconds: the one place where the machine's rates stand.

Every kernel takes its call, a time for each matrix or inner loop, and a time for each
multiply-add and each entry that it reads or writes, so that an estimate is a sum of products of
a rate and a count. That is a saturating rate for short sides: a product (m, k) x (k, n) has
m n k / (m n k g + m n w + (m k + k n) r) multiply-adds a second. Being linear in its rates, a
model is fitted by least squares (`contraction.calibration`), and no rate is left undetermined.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from contraction.errors import BackendError, InputError

FAR = 1 << 18  # entries of one kernel that no longer stay in the caches of a core
VAST = 3 << 19  # entries that come from main memory
FRESH = 1 << 22  # entries of a new array whose pages are mapped each time
NARROW = 64  # columns
SLOWEST = 1e3  # seconds: no rate is as high
LINES = 600  # of the nearest cache
LONG = 2700  # entries of an inner loop above which NumPy walks without buffers
PAGE = 512  # entries: strides that are multiples of it fall into the same lines of a cache


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Rates of the kernels that a step can be lowered to, for one library, device and dtype.

    All rates are seconds: for a call, a matrix, an inner loop, a multiply-add or an entry.

    Parameters
    ----------
    call, view
        A matrix product; a reshape or permutation without a copy.
    matrix, gemm, gemm_read, gemm_write, turned
        Matrix products: each matrix of a batch, a multiply-add, an entry read, one written; what
        is added for an entry of an operand whose rows or columns lie across the memory.
    vector, gemv, gemv_batch, gemv_turned, gemv_read, gemv_loop
        Matrix times vector: each of a batch, an entry of the matrix, what is added for one in a
        batch and if it lies across the memory, an entry of the two vectors, an inner loop.
    narrow, packed
        Matrix products: what is added for an entry of a left operand with more rows than the
        right one has columns, if these are fewer than `NARROW`; and for an entry of a right
        operand whose rows lie a multiple of `PAGE` apart.
    outer
        Products without a sum done as matrix products: an entry of the result.
    gram
        A matrix times its own transpose: a multiply-add, of which half need not be done.
    copy_call, copy_loop, copy_entry, copy_strided, copy_aliased, copy_far
        Copies: one; an inner loop; an entry; what is added for an entry read at a distance, at
        a distance that is a multiple of `PAGE` entries, and at one in more than `FAR` or from
        more than `LINES` lines before the first is read again.
    product_call, product_view, loop, product, product_short, product_across, product_far
        Element-wise products: one, what is added where the operands do not lie alike, an inner
        loop, an entry; what is added for one in inner loops of less than `LONG`, for one read
        across its memory, and for such a one among more than `FAR`.
    sum_call, sum_loop, dot, reduce, apart, sum_across
        Products and their sum: one, an inner loop, an entry where the sum runs along the memory,
        where it runs across, where it does so and the product is formed first; and what is added
        for an entry where one operand is not read in its own order.
    nest
        What is added in these two for each pair of loops over the two innermost axes.
    far, vast, fresh
        What is added for each entry of a kernel that touches more than `FAR`; for one read where
        that are more than `VAST`; and for an entry of a new array of `FRESH` or more.
    """

    call: float = 1.05e-6
    view: float = 0.25e-6
    matrix: float = 30e-9
    gemm: float = 0.028e-9
    gemm_read: float = 0.24e-9
    gemm_write: float = 0.12e-9
    turned: float = 0.002e-9
    vector: float = 18e-9
    gemv: float = 0.066e-9
    gemv_batch: float = 0.01e-9
    gemv_turned: float = 0.01e-9
    gemv_read: float = 0.05e-9
    gemv_loop: float = 0.5e-9
    outer: float = 1.0e-9
    narrow: float = 0.015e-9
    packed: float = 0.1e-9
    gram: float = 0.018e-9
    copy_call: float = 0.96e-6
    copy_loop: float = 2.8e-9
    copy_entry: float = 0.18e-9
    copy_strided: float = 0.085e-9
    copy_aliased: float = 0.32e-9
    copy_far: float = 0.33e-9
    product_call: float = 0.65e-6
    product_view: float = 0.63e-6
    loop: float = 2.8e-9
    product: float = 0.115e-9
    product_short: float = 0.19e-9
    product_across: float = 0.18e-9
    product_far: float = 0.15e-9
    sum_call: float = 2.0e-6
    sum_loop: float = 3.5e-9
    dot: float = 0.19e-9
    reduce: float = 0.4e-9
    apart: float = 0.27e-9
    sum_across: float = 0.9e-9
    nest: float = 6e-9
    far: float = 0.025e-9
    vast: float = 0.07e-9
    fresh: float = 0.55e-9

    def matmul(self, batch: int, m: int, n: int, k: int) -> float:
        """Return the seconds of `batch` products (m, k) x (k, n).

        The operands may be transposed views with one dense axis, which BLAS reads as fast.
        """
        if k == 1:
            return self.call + batch * (self.vector + m * n * self.outer)
        if m == 1 or n == 1:
            entry = self.gemv + self.gemv_batch if batch > 1 else self.gemv
            entries = m * n * k
            if batch * entries > FAR:
                entry += self.far
                if batch * entries > VAST:
                    entry += self.vast
            ends = (m + n + k) * self.gemv_read
            return self.call + batch * (self.vector + entries * entry + ends)
        read, write = (m + n) * k * self.gemm_read, m * n * self.gemm_write
        if n < NARROW and n < m:
            read += m * k * self.narrow
        if batch * m * n >= FRESH:
            write += m * n * self.fresh
        return self.call + batch * (self.matrix + m * n * k * self.gemm + read + write)

    def syrk(self, batch: int, n: int, k: int) -> float:
        """Return the seconds of `batch` products (n, k) x (k, n) of a matrix and its transpose."""
        read, write = n * k * self.gemm_read, 2 * n * n * self.gemm_write
        return self.call + batch * (self.matrix + n * n * k * self.gram + read + write)

    def copy(self, size: int, run: int, length: int = 0, stride: int = 0) -> float:
        """Return the seconds of permuting `size` entries in memory, `run` at a time.

        Parameters
        ----------
        size
            Entries.
        run
            Entries that stay neighbours.
        length, stride
            Where `run` is 1: entries of an inner loop along the new order, that is the length
            of the last axis after neighbouring axes that stay neighbours are joined, and how
            far apart these entries lay before. By default a middling case.
        """
        if run > 1:
            length = run
            entry = self.copy_entry
        else:
            entry = self.copy_entry + self.copy_strided
            if size > FAR or (length > LINES and stride >= 8):
                entry += self.copy_far
            if stride and stride % PAGE == 0 and size > FAR >> 4:
                entry += self.copy_aliased
        if size > FAR:
            entry += self.far
            if size > VAST:
                entry += self.vast
            if size >= FRESH:
                entry += self.fresh
        return self.copy_call + size * (entry + self.copy_loop / (length or 16))

    def multiply(self, size: int, run: int, *, across: bool, tile: int = 0) -> float:
        """Return the seconds of an element-wise product with `size` results.

        `run` is the length of the inner loop, `across` tells that an operand is not read in
        its own order; `tile` are the entries of the two innermost axes, or 0 for all.
        """
        call = self.product_call
        if run < size:
            call += self.product_view
        entry = self.product + self.product_across if across else self.product
        if run < LONG and run < size:
            entry += self.product_short
        if size > FAR:
            entry += self.far + self.product_far if across else self.far
            if size > VAST:
                entry += self.vast
            if size >= FRESH:
                entry += self.fresh
        loops = self.loop / (run or 1) + self.nest / (tile or size or 1)
        return call + size * (entry + loops)

    def multiply_sum(
        self,
        size: int,
        run: int,
        *,
        along: bool,
        across: bool,
        outer: bool = False,
        tile: int = 0,
    ) -> float:
        """Return the seconds of a product and its sum over `size` products.

        `along` tells that the innermost axis in memory is summed, `outer` that the outermost is,
        `across` that one operand is not read in its own order; `tile` as for `multiply`.
        """
        if along:
            entry = self.dot
        elif not across and (outer or size <= FAR):
            entry = self.apart
        else:
            entry = self.reduce
        if across:
            entry += self.sum_across
        if size > FAR:
            entry += self.far
        loops = self.sum_loop / (run or 1) + self.nest / (tile or size or 1)
        return self.sum_call + size * (entry + loops)

    def to_dict(self) -> dict[str, float]:
        """Return the rates by name, as plain data for JSON.

        Examples
        --------
        >>> CostModel.from_dict(CPU.to_dict()) == CPU
        True
        """
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CostModel:
        """Return the model that `to_dict` wrote.

        Raises
        ------
        InputError
            A rate is missing, unknown, or not a finite number >= 0.
        """
        names = {field.name for field in fields(cls)}
        if set(data) != names:
            odd = sorted(map(str, names.symmetric_difference(data)))
            raise InputError(f"a cost model has the rates {sorted(names)}; odd or missing: {odd}.")
        for name, rate in data.items():
            if isinstance(rate, bool) or not isinstance(rate, (int, float)):
                raise InputError(f"the rate `{name}` is a number of seconds, got {rate!r}.")
            if not 0.0 <= rate <= SLOWEST:
                raise InputError(f"the rate `{name}` is finite and >= 0, at most {SLOWEST:g} s.")
        return cls(**{name: float(rate) for name, rate in data.items()})


CPU = CostModel()
# calls take longer there, and so do products with few columns and views of them
TORCH = CostModel(
    call=1.4e-6, view=2.2e-6, matrix=280e-9, gemm=0.031e-9, gemm_read=0.3e-9, gemm_write=0.15e-9,
    turned=0.01e-9, narrow=1.2e-9, packed=0.05e-9, vector=15e-9, gemv=0.085e-9,
    gemv_batch=0.3e-9, gemv_turned=1.2e-9, gemv_loop=0.05e-9,
    gemv_read=0.05e-9, copy_call=6.2e-6, copy_loop=3.8e-9, copy_entry=0.09e-9,
    copy_strided=0.3e-9, copy_aliased=0.2e-9, copy_far=0.6e-9, product_call=1.25e-6,
    product_view=1.1e-6, loop=1.3e-9, product=0.12e-9, product_short=0.01e-9,
    product_across=0.58e-9, product_far=0.1e-9, sum_call=3.5e-6,
    sum_loop=2.5e-9, dot=0.27e-9, reduce=0.4e-9, apart=0.3e-9, sum_across=0.4e-9, nest=25e-9,
    far=0.03e-9, vast=0.1e-9, fresh=0.4e-9,
)  # fmt: skip
GPU = CostModel(
    call=8e-6, view=1e-6, matrix=2e-9, gemm=3.3e-14, gemm_read=1.9e-12, gemm_write=1.9e-12,
    turned=1e-14, narrow=1e-14, packed=1e-14, vector=2e-9, gemv=1.9e-12,
    gemv_batch=1e-14, gemv_turned=1e-14,
    gemv_read=1.9e-12, gemv_loop=1e-14, outer=2e-12, gram=3.3e-14,
    copy_call=8e-6, copy_loop=1e-12, copy_entry=3.7e-12, copy_strided=3.7e-12,
    copy_aliased=1e-12, copy_far=1e-14, product_call=8e-6, product_view=2e-6, loop=1e-12,
    product=5.6e-12, product_short=1e-14, product_across=2.4e-12, product_far=1e-14,
    sum_call=20e-6, sum_loop=1e-12, dot=4e-12,
    reduce=6e-12, apart=8e-12, sum_across=6e-12, nest=1e-12, far=1e-14,
    vast=1e-14, fresh=1e-14,
)  # fmt: skip
MODELS = {"numpy": CPU, "torch": TORCH, "cupy": GPU}  # in double precision, one thread

ARITHMETIC = frozenset(("gemm", "gram"))  # the rates that threads share
CALLS = frozenset(  # the rates that are the same for every dtype
    "call view matrix vector copy_call copy_loop product_call product_view loop sum_call "
    "sum_loop nest".split()
)
SCALES = {  # of the arithmetic and of the entries, beside double precision
    "float32": (0.5, 0.6),
    "float64": (1.0, 1.0),
    "complex64": (2.0, 1.2),
    "complex128": (4.0, 2.0),
}


def shipped_model(
    library: str = "numpy", *, device: str = "cpu", dtype: str = "float64", threads: int = 1
) -> CostModel:
    """Return rates for a machine that was not measured.

    Those of a CPU were measured on one core of a server processor of 2024 (about 68 GFLOP/s in
    double precision). Those of a GPU come from data sheets of the H200 class (60 TFLOP/s by its
    tensor cores in double precision, 50 in single precision without TF32, 4.3 TB/s, launches of
    some 8 microseconds) and **have not been measured**; neither has the gain of further threads.

    Raises
    ------
    BackendError
        An unknown library.

    Examples
    --------
    >>> shipped_model("numpy", threads=1) == CPU
    True
    >>> shipped_model("numpy", dtype="complex128").gemm / CPU.gemm
    4.0
    """
    if library not in MODELS:
        raise BackendError(f"there are rates for {', '.join(MODELS)}; got {library!r}.")
    on_gpu = library == "cupy" or device.startswith("cuda")
    base = GPU if on_gpu else MODELS[library]
    arithmetic, entries = SCALES.get(dtype, SCALES["float64"])
    if on_gpu and dtype in ("float32", "complex64"):
        arithmetic *= 2.4  # single precision without TF32 is slower than double on tensor cores
    shared = 1.0 if on_gpu else 1.0 + 0.8 * (threads - 1)
    wide = shared if library == "torch" else 1.0  # NumPy shares out matrix products only
    rates = {}
    for name, rate in base.to_dict().items():
        if name in ARITHMETIC:
            rates[name] = rate * arithmetic / shared
        else:
            rates[name] = rate if name in CALLS else rate * entries / wide
    return CostModel(**rates)


def model_for(
    library: str = "numpy",
    *,
    device: str = "cpu",
    dtype: str = "float64",
    threads: int | None = None,
) -> CostModel:
    """Return the rates of a library: measured on this machine if `calibrate` was run, else shipped.

    Parameters
    ----------
    library
        "numpy", "torch" or "cupy".
    device
        "cpu", or "cuda" with or without a number.
    dtype
        Of the arrays; for anything but the four floating dtypes the rates of float64 serve.
    threads
        Of the library; by default as many as it uses unless told otherwise.

    Raises
    ------
    BackendError
        An unknown library.

    Notes
    -----
    About a microsecond after the first call; profiles are read once in a process.

    Examples
    --------
    >>> model_for("numpy", threads=1).matmul(1, 1000, 1000, 1000) > 0.0
    True
    """
    return _model(library, device, dtype, threads, os.environ.get("TNET_CACHE"))


@lru_cache(maxsize=128)
def _model(
    library: str, device: str, dtype: str, threads: int | None, folder: str | None
) -> CostModel:
    """Find a model; `folder` is a key, for another cache folder holds other profiles."""
    from contraction.machine import resolved_key, stored_profile

    if library not in MODELS:
        raise BackendError(f"there are rates for {', '.join(MODELS)}; got {library!r}.")
    key = resolved_key(library, device=device, dtype=dtype, threads=threads)
    profile, _ = stored_profile(key)
    if profile is not None:
        return profile.model
    return shipped_model(library, device=key.device, dtype=key.dtype, threads=key.threads)


def forget_models() -> None:
    """Let `model_for` look for profiles again."""
    _model.cache_clear()
