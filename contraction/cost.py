"""What a step costs, in estimated seconds: the one place where the machine's rates stand.

The rates describe one core of a server processor in double precision. Only their ratios
matter: they rank the ways to do the same work, they do not predict a clock.
"""

from __future__ import annotations

from dataclasses import dataclass

CACHED = 1 << 15  # entries that stay in the nearest caches
RUNS = (2, 4, 8, 32)  # bounds of the classes of `copies`


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Rates of the kernels that a step can be lowered to.

    A matrix product takes its call, a share for each matrix of a batch, and the larger of the
    arithmetic and the memory traffic (a roofline). The arithmetic is slower for a side of few
    rows, columns or sums. A copy runs at a rate set by how many entries stay neighbours.
    """

    call: float = 0.8e-6  # seconds per kernel
    view: float = 0.3e-6  # seconds per reshape or permutation without a copy
    per_matrix: float = 0.02e-6  # seconds per matrix of a batch
    gemm: float = 2.9e10  # multiply-adds per second, large matrices
    half_m: float = 4.0  # rows of the left matrix at which the rate is halved
    half_n: float = 7.0
    half_k: float = 8.0
    matvec: float = 5e9  # multiply-adds per second of a matrix times a vector
    bandwidth: float = 1.5e9  # entries per second, streaming
    copies: tuple[float, ...] = (0.25e9, 0.3e9, 0.7e9, 1.0e9, 2.0e9)  # entries per second
    dot: float = 4e9  # multiply-adds per second of a fused product and sum along the memory
    reduce: float = 1.5e9  # the same, summing across the memory
    per_run: float = 0.012e-6  # seconds per inner loop of an element-wise kernel

    def matmul(self, batch: int, m: int, n: int, k: int) -> float:
        """Return the seconds of `batch` products (m, k) x (k, n)."""
        entries = m * k + k * n + m * n
        if m == 1 or n == 1:
            work = entries / self.matvec * (1.0 + 4.0 / (k or 1))
        else:
            slow = 1.0 + self.half_m / (m or 1)
            slow *= (1.0 + self.half_n / (n or 1)) * (1.0 + self.half_k / (k or 1))
            work = max(m * n * k * slow / self.gemm, entries / self.bandwidth / 2)
        return self.call + batch * (self.per_matrix + work)

    def copy(self, size: int, run: int) -> float:
        """Return the seconds of permuting `size` entries in memory, `run` at a time."""
        rate = self.copies[sum(run >= bound for bound in RUNS)]
        if size <= CACHED:
            rate *= 4.0
        return self.call + self.view + size / rate

    def multiply(self, size: int, run: int, *, across: bool) -> float:
        """Return the seconds of an element-wise product with `size` results."""
        rate = self.bandwidth * (0.5 if size > CACHED else 1.0) * (0.5 if across else 1.0)
        return self.call + size / rate + size / (run or 1) * self.per_run

    def multiply_sum(self, size: int, run: int, *, along: bool, across: bool) -> float:
        """Return the seconds of a fused product and sum over `size` products.

        `along` tells that the innermost axis in memory is summed, `across` that one operand is
        not read in its own order.
        """
        rate = (self.dot if along else self.reduce) * (0.4 if across else 1.0)
        return 2.0 * self.call + size / rate + size / (run or 1) * self.per_run


CPU = CostModel()
MODELS = {
    "numpy": CPU,
    # batched vectors are slow there, and so are products with few columns
    "torch": CostModel(
        call=1.5e-6, view=1.0e-6, per_matrix=0.03e-6, half_n=40.0, matvec=1.2e9, reduce=3e9
    ),
    # one launch for any batch; the view is free beside the launch
    "cupy": CostModel(
        call=1e-5, view=1e-6, per_matrix=2e-9, gemm=5e12, matvec=1.5e11, bandwidth=2e11,
        copies=(0.5e11, 0.6e11, 0.8e11, 1e11, 1.5e11), dot=1e11, reduce=1e11, per_run=0.0,
    ),
}  # fmt: skip
