"""Long-range Ising quench on a binary tree: three integrators and what they conserve."""

import tnet
from integrators import AugmentedBUG, ParallelBUG, ParallelBUG2, evolve
from integrators.models import long_range_ising

EXACT = 0.944002849640  # mean <Z> of 8 spins at t = 1, by a dense exponential

model = long_range_ising(8, exponent=1.0)
tree = tnet.balanced_tree(model.sites)
hamiltonian = tnet.operator(tree, model, method=tnet.Compiler.NESTED_SVD, tol=1e-10)
start = tnet.product_state(tree, {site: [1, 0] for site in model.sites})
print("ranks of the operator:", max(hamiltonian.ranks.values()), "of", len(model), "terms")

for stepper in (AugmentedBUG, ParallelBUG, ParallelBUG2):
    flow = evolve(
        -1j * hamiltonian,
        start,
        t1=1.0,
        dt=0.02,
        stepper=stepper(truncation=tnet.Truncation(tol=1e-6, max_rank=16)),
        measure={"mz": tnet.local_average("z")},
        every=10,
    )
    energy = abs(flow.energies[-1] - flow.energies[0])
    print(
        f"{stepper.__name__:13s} mean <Z> off by {abs(flow.values['mz'][-1] - EXACT):.1e}   "
        f"norm {abs(flow.norms[-1] - 1):.1e}   energy {energy:.1e}"
    )
