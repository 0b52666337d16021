"""One real data set in every tree format, by the same call, within the same error."""

import tnet
from tnet.inputs import open_array

data = open_array("kinetic")
x = data.array
print(f"kinetic fluorescence, {' x '.join(map(str, x.shape))} = {x.size} numbers")

for tol in (0.10, 0.05, 0.03):
    print(f"\nwithin {tol:.0%}")
    for make in (tnet.tensor_train, tnet.tucker, tnet.balanced_tree):
        net = tnet.decompose(x, make, tol=tol)
        smaller = x.size / net.num_params
        print(
            f"  {make.__name__:14s} {net.num_params:6d} numbers  {smaller:6.1f}x smaller  "
            f"error {net.error:.4f} ({net.certificate.kind.value})"
        )
        assert tnet.relative_error(net, x) <= tol
