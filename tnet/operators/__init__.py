"""Operators on trees: sums of products of local matrices, compiled to one tree of sparse cores."""

from typing import TYPE_CHECKING

from contraction._lazy import attach

if TYPE_CHECKING:
    from tnet.operators.couplings import coupling_strengths as coupling_strengths
    from tnet.operators.entry import Compiler as Compiler
    from tnet.operators.entry import operator as operator
    from tnet.operators.identities import IdentityChannels as IdentityChannels
    from tnet.operators.identities import identity_channels as identity_channels
    from tnet.operators.local_matrices import local_operator as local_operator
    from tnet.operators.terms import Pairs as Pairs
    from tnet.operators.terms import Term as Term
    from tnet.operators.tree_operator import SparseCore as SparseCore
    from tnet.operators.tree_operator import TreeOperator as TreeOperator

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "tnet.operators.couplings": ["coupling_strengths"],
        "tnet.operators.entry": ["Compiler", "operator"],
        "tnet.operators.identities": ["IdentityChannels", "identity_channels"],
        "tnet.operators.local_matrices": ["local_operator"],
        "tnet.operators.terms": ["Pairs", "Term"],
        "tnet.operators.tree_operator": ["SparseCore", "TreeOperator"],
    },
)
