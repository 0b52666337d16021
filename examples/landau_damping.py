"""Landau damping: a wave in a plasma fades although nothing collides.

The electrons' density f(t, x, v) follows Vlasov's equation f_t + v f_x - E f_v = 0, with the
field of their own charge, E_x = 1 - (integral of f over v). Streaming is an operator; the force
depends on the state, so it is given as a function of it. The field's logarithm falls along a
line whose slope is known: 0.1533 for waves of k = 1/2, which swing with frequency 1.4156.
"""

import numpy as np

import tnet
from integrators import AugmentedBUG, Nonlinear, RungeKutta4, Together, evolve

cells, speeds, length, fastest = 32, 128, 4 * np.pi, 6.0
x = length / cells * np.arange(cells)
dv = 2 * fastest / speeds
v = -fastest + dv * (np.arange(speeds) + 0.5)
waves = 2j * np.pi / length * np.fft.fftfreq(cells, 1 / cells)


def derivative(n: int, period: float) -> np.ndarray:
    """Fourier's derivative on a periodic grid."""
    k = 2j * np.pi / period * np.fft.fftfreq(n, 1 / n)
    k[n // 2] = 0
    return np.fft.ifft(k[:, None] * np.fft.fft(np.eye(n), axis=0), axis=0).real


def field(f: tnet.Network) -> np.ndarray:
    """Solve Poisson's equation for the charge of a state."""
    charge = np.fft.fft(1 - dv * (f["g0"] @ f["g1"].sum(axis=1)))
    charge[[0, cells // 2]] = 0
    return np.fft.ifft(charge / np.where(waves == 0, 1, waves)).real


dv_matrix = derivative(speeds, 2 * fastest)


def force(t: float, f: tnet.Network) -> tnet.Network:
    """Return E f_v: one factor for each of the two nodes of the chain."""
    return tnet.Network(
        f.structure, {"g0": field(f)[:, None] * f["g0"], "g1": f["g1"] @ dv_matrix.T}
    )


tree = tnet.tensor_train({"x": cells, "v": speeds})
streaming = tnet.operator(tree, [(-1.0, {"x": derivative(cells, length), "v": np.diag(v)})])
maxwell = np.exp(-(v**2) / 2) / np.sqrt(2 * np.pi)
flow = evolve(
    Together([streaming, Nonlinear(force)]),
    tnet.product_state(tree, {"x": 1 + 0.01 * np.cos(x / 2), "v": maxwell}),
    t1=20.0,
    dt=0.05,
    stepper=AugmentedBUG(truncation=tnet.Truncation(tol=1e-4, max_rank=20), local=RungeKutta4()),
    measure={"field": lambda f: np.linalg.norm(field(f))},
)
t, size = flow.times, flow.values["field"]
peaks = 1 + np.flatnonzero((size[1:-1] > size[:-2]) & (size[1:-1] > size[2:]))
for peak in peaks:
    print(f"t = {t[peak]:5.2f}   |E| = {size[peak]:.5f}")
rate = -np.polyfit(t[peaks[1:]], np.log(size[peaks[1:]]), 1)[0]
print(f"rank {max(flow.ranks[-1].values())} of {cells}, {flow.counts.steps} steps")
print(f"damping rate {rate:.4f} (0.1533), frequency {np.pi / np.mean(np.diff(t[peaks])):.4f}")
