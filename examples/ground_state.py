"""The ground state of a spin chain, on a chain and on a binary tree, by one algorithm."""

import tnet
from integrators import ground_state
from integrators.models import heisenberg

EXACT = -8.682473334399  # 20 spins, open ends (Bethe ansatz)

model = heisenberg(20)
for shape in (tnet.tensor_train, tnet.balanced_tree):
    tree = shape(model.sites)
    hamiltonian = tnet.operator(tree, model)
    neel = {site: [1, 0] if k % 2 == 0 else [0, 1] for k, site in enumerate(model.sites)}
    found = ground_state(hamiltonian, tnet.product_state(tree, neel), max_rank=32)
    middle = tnet.correlation_matrix(found.state, "sz", "sz")[9, 10]
    print(
        f"{shape.__name__:13s} energy {found.energy:.9f}   above the exact one by "
        f"{found.energy - EXACT:.1e}   variance {found.variance:.1e}   <Sz Sz> {middle:.6f}"
    )
