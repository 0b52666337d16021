"""Simulations: one file says what to do, one file holds what came out.

`simulate` runs what a TOML file describes, `continue_run` goes on with a run that was stopped in
any way, `extend_run` with one that had finished, `read_run` looks into it.
"""

from typing import TYPE_CHECKING

from contraction._lazy import attach

if TYPE_CHECKING:
    from integrators.simulation.figures import draw_figures as draw_figures
    from integrators.simulation.records import Record as Record
    from integrators.simulation.run_files import read_run as read_run
    from integrators.simulation.running import continue_run as continue_run
    from integrators.simulation.running import extend_run as extend_run
    from integrators.simulation.running import simulate as simulate

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "integrators.simulation.figures": ["draw_figures"],
        "integrators.simulation.records": ["Record"],
        "integrators.simulation.run_files": ["read_run"],
        "integrators.simulation.running": ["continue_run", "extend_run", "simulate"],
    },
)
