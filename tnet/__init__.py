"""tnet: one frozen network graph, and everything that changes a network."""

from contraction.truncation import Truncation as Truncation
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
from tnet.network import Network as Network
from tnet.network import contract as contract
from tnet.network import random_network as random_network
from tnet.network import scale as scale
from tnet.structure import Structure as Structure
from tnet.tree import RootedTree as RootedTree
from tnet.tree import rooted as rooted
