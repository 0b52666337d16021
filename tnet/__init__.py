"""tnet: one frozen network graph, and everything that changes a network."""

from typing import TYPE_CHECKING

from contraction._lazy import attach

if TYPE_CHECKING:
    from contraction.factor import Method as Method
    from contraction.truncation import Truncation as Truncation
    from tnet.affinity import tree_from_affinity as tree_from_affinity
    from tnet.algebra import add as add
    from tnet.algebra import adjoint as adjoint
    from tnet.algebra import apply as apply
    from tnet.algebra import compose as compose
    from tnet.algebra import hadamard as hadamard
    from tnet.algebra import subtract as subtract
    from tnet.allocation import allocate as allocate
    from tnet.als.dense import Target as Target
    from tnet.als.entries import Entries as Entries
    from tnet.als.entry import fit as fit
    from tnet.als.options import ALS as ALS
    from tnet.als.options import FirstStart as FirstStart
    from tnet.als.options import Fit as Fit
    from tnet.als.options import FitOutcome as FitOutcome
    from tnet.als.start import carried_over as carried_over
    from tnet.als.sweep_program import planned_flops as planned_flops
    from tnet.certificate import Certificate as Certificate
    from tnet.certificate import ErrorKind as ErrorKind
    from tnet.convert import from_quimb as from_quimb
    from tnet.convert import from_tensorly as from_tensorly
    from tnet.convert import to_quimb as to_quimb
    from tnet.convert import to_tensorly as to_tensorly
    from tnet.convert_states import from_pytreenet as from_pytreenet
    from tnet.convert_states import from_tenpy as from_tenpy
    from tnet.convert_states import to_pytreenet as to_pytreenet
    from tnet.convert_states import to_tenpy as to_tenpy
    from tnet.decomposition.entry import decompose as decompose
    from tnet.drawing import Drawing as Drawing
    from tnet.drawing import draw as draw
    from tnet.drawing import draw_axes as draw_axes
    from tnet.drawing import draw_svg as draw_svg
    from tnet.evaluation import evaluate as evaluate
    from tnet.evaluation import select as select
    from tnet.evaluation import sum_over as sum_over
    from tnet.formats import balanced_tree as balanced_tree
    from tnet.formats import cp as cp
    from tnet.formats import fully_connected as fully_connected
    from tnet.formats import grid as grid
    from tnet.formats import operator_structure as operator_structure
    from tnet.formats import tensor_ring as tensor_ring
    from tnet.formats import tensor_train as tensor_train
    from tnet.formats import tree as tree
    from tnet.formats import tt_matrix as tt_matrix
    from tnet.formats import tucker as tucker
    from tnet.gauge import move_center as move_center
    from tnet.gauge import orthogonalize as orthogonalize
    from tnet.measure.correlations import correlation_matrix as correlation_matrix
    from tnet.measure.entropies import bond_entropies as bond_entropies
    from tnet.measure.entropies import entropy as entropy
    from tnet.measure.entropies import mutual_information as mutual_information
    from tnet.measure.expectations import expectation as expectation
    from tnet.measure.expectations import variance as variance
    from tnet.measure.local import local_values as local_values
    from tnet.measure.observables import correlations as correlations
    from tnet.measure.observables import energy as energy
    from tnet.measure.observables import energy_variance as energy_variance
    from tnet.measure.observables import entanglement as entanglement
    from tnet.measure.observables import entanglement_profile as entanglement_profile
    from tnet.measure.observables import local_average as local_average
    from tnet.measure.observables import local_profile as local_profile
    from tnet.measure.partial import reduced_density as reduced_density
    from tnet.measure.partial import schmidt_values as schmidt_values
    from tnet.measure.product_states import product_state as product_state
    from tnet.measure.sampling import Samples as Samples
    from tnet.measure.sampling import sample as sample
    from tnet.network import Network as Network
    from tnet.network import contract as contract
    from tnet.network import random_network as random_network
    from tnet.network import scale as scale
    from tnet.norms import distance as distance
    from tnet.norms import inner as inner
    from tnet.norms import log_norm as log_norm
    from tnet.norms import norm as norm
    from tnet.norms import relative_error as relative_error
    from tnet.operators.couplings import coupling_strengths as coupling_strengths
    from tnet.operators.entry import Compiler as Compiler
    from tnet.operators.entry import operator as operator
    from tnet.operators.local_matrices import local_operator as local_operator
    from tnet.operators.terms import Pairs as Pairs
    from tnet.operators.terms import Term as Term
    from tnet.operators.tree_operator import SparseCore as SparseCore
    from tnet.operators.tree_operator import TreeOperator as TreeOperator
    from tnet.reconnecting import Criterion as Criterion
    from tnet.reconnecting import Reconnection as Reconnection
    from tnet.reconnecting import reconnect as reconnect
    from tnet.rounding import Rounding as Rounding
    from tnet.rounding import truncate as truncate
    from tnet.spectra import bond_spectra as bond_spectra
    from tnet.storage import FileInfo as FileInfo
    from tnet.storage import file_info as file_info
    from tnet.storage import load as load
    from tnet.storage import save as save
    from tnet.structure import Structure as Structure
    from tnet.text_drawing import draw_text as draw_text
    from tnet.trees import RootedTree as RootedTree
    from tnet.trees import rooted as rooted

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "contraction.factor": ["Method"],
        "contraction.truncation": ["Truncation"],
        "tnet.affinity": ["tree_from_affinity"],
        "tnet.algebra": ["add", "adjoint", "apply", "compose", "hadamard", "subtract"],
        "tnet.allocation": ["allocate"],
        "tnet.als.dense": ["Target"],
        "tnet.als.entries": ["Entries"],
        "tnet.als.entry": ["fit"],
        "tnet.als.options": ["ALS", "FirstStart", "Fit", "FitOutcome"],
        "tnet.als.start": ["carried_over"],
        "tnet.als.sweep_program": ["planned_flops"],
        "tnet.certificate": ["Certificate", "ErrorKind"],
        "tnet.convert": ["from_quimb", "from_tensorly", "to_quimb", "to_tensorly"],
        "tnet.convert_states": ["from_pytreenet", "from_tenpy", "to_pytreenet", "to_tenpy"],
        "tnet.decomposition.entry": ["decompose"],
        "tnet.drawing": ["Drawing", "draw", "draw_axes", "draw_svg"],
        "tnet.evaluation": ["evaluate", "select", "sum_over"],
        "tnet.formats": [
            "balanced_tree",
            "cp",
            "fully_connected",
            "grid",
            "operator_structure",
            "tensor_ring",
            "tensor_train",
            "tree",
            "tt_matrix",
            "tucker",
        ],
        "tnet.gauge": ["move_center", "orthogonalize"],
        "tnet.measure.correlations": ["correlation_matrix"],
        "tnet.measure.entropies": ["bond_entropies", "entropy", "mutual_information"],
        "tnet.measure.expectations": ["expectation", "variance"],
        "tnet.measure.local": ["local_values"],
        "tnet.measure.observables": [
            "correlations",
            "energy",
            "energy_variance",
            "entanglement",
            "entanglement_profile",
            "local_average",
            "local_profile",
        ],
        "tnet.measure.partial": ["reduced_density", "schmidt_values"],
        "tnet.measure.product_states": ["product_state"],
        "tnet.measure.sampling": ["Samples", "sample"],
        "tnet.network": ["Network", "contract", "random_network", "scale"],
        "tnet.norms": ["distance", "inner", "log_norm", "norm", "relative_error"],
        "tnet.operators.couplings": ["coupling_strengths"],
        "tnet.operators.entry": ["Compiler", "operator"],
        "tnet.operators.local_matrices": ["local_operator"],
        "tnet.operators.terms": ["Pairs", "Term"],
        "tnet.operators.tree_operator": ["SparseCore", "TreeOperator"],
        "tnet.reconnecting": ["Criterion", "Reconnection", "reconnect"],
        "tnet.rounding": ["Rounding", "truncate"],
        "tnet.spectra": ["bond_spectra"],
        "tnet.storage": ["FileInfo", "file_info", "load", "save"],
        "tnet.structure": ["Structure"],
        "tnet.text_drawing": ["draw_text"],
        "tnet.trees": ["RootedTree", "rooted"],
    },
)
