"""Missing entries: hide some of a real data set, fit what is left, look at what was hidden."""

import numpy as np

import tnet
from tnet.inputs import open_array

x = open_array("il2").array  # IL-2 responses: 13 ligands x 4 times x 12 doses x 8 cell types
rng = np.random.default_rng(0)
known = np.flatnonzero(~np.isnan(x))
hidden = rng.permutation(known)[: len(known) // 5]

holes = x.copy()
holes.reshape(-1)[hidden] = np.nan
print(f"{np.isnan(x).sum()} entries were never measured, {len(hidden)} more are hidden")

for structure in (tnet.tensor_train(x.shape, (4, 6, 4)), tnet.cp(x.shape, 6)):
    fit = tnet.fit(holes, structure, rng=np.random.default_rng(1))
    index = np.stack(np.unravel_index(hidden, x.shape), axis=1)
    guess = tnet.evaluate(fit.network, index)
    truth = x.reshape(-1)[hidden]
    error = np.linalg.norm(guess - truth) / np.linalg.norm(truth)
    name = "CP" if structure.hyperbonds else "tensor train"
    print(f"{name:12s} {structure.num_params:4d} numbers: {fit.error:.3f} seen, {error:.3f} hidden")
