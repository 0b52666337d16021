"""Models: Hamiltonians as sums of local terms, with the sites they live on.

`tnet.operator(tree, ising(32))` writes one as an operator on any tree over its sites. Spins 1/2
are in the Pauli convention where a model says `X`, `Z`, and in the convention of spin operators
where it says `S` (Sz = Z / 2).
"""

from typing import TYPE_CHECKING

from contraction._lazy import attach

if TYPE_CHECKING:
    from integrators.models.boson_models import bose_hubbard as bose_hubbard
    from integrators.models.boson_models import grid as grid
    from integrators.models.boson_models import henon_heiles as henon_heiles
    from integrators.models.boson_models import spin_boson as spin_boson
    from integrators.models.model import Model as Model
    from integrators.models.spin_models import aklt as aklt
    from integrators.models.spin_models import heisenberg as heisenberg
    from integrators.models.spin_models import heisenberg_lattice as heisenberg_lattice
    from integrators.models.spin_models import hierarchical as hierarchical
    from integrators.models.spin_models import ising as ising
    from integrators.models.spin_models import ising_lattice as ising_lattice
    from integrators.models.spin_models import j1_j2 as j1_j2
    from integrators.models.spin_models import long_range_ising as long_range_ising
    from integrators.models.transport_models import Transport as Transport
    from integrators.models.transport_models import lattice as lattice
    from integrators.models.transport_models import line_source as line_source
    from integrators.models.transport_models import plane_source as plane_source
    from integrators.models.uncertainty import Spread as Spread
    from integrators.models.uncertainty import collocated as collocated
    from integrators.models.uncertainty import density_spread as density_spread

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "integrators.models.boson_models": ["bose_hubbard", "grid", "henon_heiles", "spin_boson"],
        "integrators.models.model": ["Model"],
        "integrators.models.spin_models": [
            "aklt",
            "heisenberg",
            "heisenberg_lattice",
            "hierarchical",
            "ising",
            "ising_lattice",
            "j1_j2",
            "long_range_ising",
        ],
        "integrators.models.transport_models": [
            "Transport",
            "lattice",
            "line_source",
            "plane_source",
        ],
        "integrators.models.uncertainty": ["Spread", "collocated", "density_spread"],
    },
)
