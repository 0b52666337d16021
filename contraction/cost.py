"""What a step costs, in estimated seconds: the one place where the machine's rates stand.

The rates describe one core of a current server processor in double precision. Only their
ratios matter: they rank the ways to do the same work, they do not predict a clock.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Rates of the kernels a step can be lowered to.

    A matrix product takes its call, its share per matrix of a batch, and the larger of the
    arithmetic and the memory traffic (a roofline); a copy runs at a rate set by how many
    neighbouring entries stay neighbours.
    """

    call: float = 0.8e-6  # seconds per kernel
    view: float = 0.3e-6  # seconds per reshape or permutation without a copy
    per_matrix: float = 0.05e-6  # seconds per matrix of a batch
    gemm: float = 3.5e10  # multiply-adds per second, large matrices
    half: float = 8.0  # matrix side at which the rate is halved
    bandwidth: float = 1.2e9  # entries per second, streaming
    copies: tuple[float, ...] = (0.15e9, 0.3e9, 0.5e9, 0.7e9, 0.9e9)  # entries per second
    reduce: float = 2.2e9  # multiply-adds per second of a fused multiply and sum
    per_run: float = 0.012e-6  # seconds per inner loop of an element-wise kernel

    def matmul(self, batch: int, m: int, n: int, k: int) -> float:
        """Return the seconds of `batch` products (m, k) x (k, n)."""
        half = self.half
        slow = (1.0 + half / (m or 1)) * (1.0 + half / (n or 1)) * (1.0 + half / (k or 1))
        work = batch * m * n * k * slow / self.gemm
        traffic = batch * (m * k + k * n + m * n) / self.bandwidth
        return self.call + batch * self.per_matrix + max(work, traffic)

    def copy(self, size: int, run: int) -> float:
        """Return the seconds of permuting `size` entries in memory, `run` at a time."""
        rate = self.copies[
            0 if run < 2 else 1 if run < 4 else 2 if run < 8 else 3 if run < 32 else 4
        ]
        return self.call + size / rate

    def multiply(self, size: int, run: int) -> float:
        """Return the seconds of an element-wise product with `size` results."""
        return self.call + 2 * size / self.bandwidth + size / run * self.per_run

    def multiply_sum(self, size: int, run: int) -> float:
        """Return the seconds of a fused multiply and sum over `size` products."""
        return 2 * self.call + size / self.reduce + size / run * self.per_run


CPU = CostModel()
