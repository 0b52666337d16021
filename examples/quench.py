"""A quench: all spins up, then the transverse field is switched on; beside the exact values."""

import numpy as np

import tnet
from integrators import AugmentedBUG, Lanczos, evolve
from integrators.models import ising

count, t_end = 16, 1.0
model = ising(count, coupling=1.0, field=1.0)
tree = tnet.balanced_tree(model.sites)
hamiltonian = tnet.operator(tree, model)
start = tnet.product_state(tree, {site: [1, 0] for site in model.sites})

flow = evolve(
    -1j * hamiltonian,
    start,
    t1=t_end,
    dt=0.05,
    stepper=AugmentedBUG(truncation=tnet.Truncation(tol=1e-6, max_rank=16), local=Lanczos()),
    measure={"z": tnet.local_profile("z")},
    every=5,
)


def exact(t: float) -> np.ndarray:
    """<Z_i> by free fermions."""
    A, B = 2.0 * np.eye(count), np.zeros((count, count))
    for i in range(count - 1):
        A[i, i + 1] = A[i + 1, i] = B[i, i + 1] = -1.0
        B[i + 1, i] = 1.0
    w, V = np.linalg.eigh(np.block([[A, B], [-B, -A]]))
    U = (V * np.exp(-1j * w * t)) @ V.T
    return 1.0 - 2.0 * np.sum(np.abs(U[:count, count:]) ** 2, axis=1)


for t, z, ranks in zip(flow.times, flow.values["z"], flow.ranks, strict=True):
    off = np.abs(z - exact(t)).max()
    print(
        f"t = {t:.2f}   mean <Z> = {z.mean():.6f}   off by {off:.1e}   rank {max(ranks.values())}"
    )
print(f"{flow.outcome}: norm drifted by {abs(flow.norms[-1] - 1):.1e}")
