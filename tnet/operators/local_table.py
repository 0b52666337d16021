"""The distinct local matrices of one mode, found again by name, by object or by content."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraction.errors import ShapeError
from tnet.operators import local_matrices as matrices_
from tnet.operators.local_matrices import Matrix

SIGN_NAME = "sign"


class LocalTable:
    """Grows while terms are read; index 0 is the identity.

    Not frozen, since it is a dictionary that is filled: nothing outside the compiler sees it.
    """

    def __init__(self, mode: str, size: int) -> None:
        self.mode = mode
        self.size = size
        self.matrices: list[Matrix] = [matrices_.local_operator("id", size)]
        self._pivots: list[complex] = [1.0]
        self._by_content: dict[Any, int] = {}
        self._by_object: dict[Any, tuple[int, complex]] = {}
        self._held: list[Any] = []  # keeps objects alive, so that their ids stay theirs

    def add(self, op: Any) -> tuple[int, complex]:
        """Return the index of a local operator, and the factor it has beside that matrix."""
        listed = isinstance(op, (tuple, list))
        named = isinstance(op, str) or (listed and all(isinstance(x, str) for x in op))
        key = (op if isinstance(op, str) else tuple(op)) if named else id(op)
        found = self._by_object.get(key)
        if found is None:
            found = self._look_up(self._product(op) if listed else self._matrix(op))
            self._by_object[key] = found
            self._held.append(op)
        return found

    def _matrix(self, op: Any) -> Matrix:
        if isinstance(op, str) and op == SIGN_NAME:
            return self._sign()
        return matrices_.as_matrix(op, self.size, f"the local operator on {self.mode!r}")

    def _sign(self) -> Matrix:
        if self.size != 2:
            raise ShapeError(
                f"a Jordan-Wigner string passes mode {self.mode!r} of {self.size} states, but "
                "fermions have 2; name the fermionic modes alone in `order`."
            )
        return np.diag([1.0, -1.0])

    def _product(self, ops: Any) -> Matrix:
        """Multiply several operators; a list of rows of numbers is one matrix."""
        if len(ops) and not isinstance(ops[0], str) and np.ndim(ops[0]) == 1:
            return self._matrix(np.asarray(ops))
        total = matrices_.local_operator("id", self.size)
        for op in ops:
            total = total @ self._matrix(op)
        return total

    def _look_up(self, matrix: Matrix) -> tuple[int, complex]:
        found = matrices_.canonical(matrix)
        if found is None:
            return 0, 0.0
        if matrices_.is_identity_key(found.key, self.size):
            return 0, found.factor * matrices_.pivot(found.matrix)
        index = self._by_content.get(found.key)
        if index is None:
            index = self._by_content[found.key] = len(self.matrices)
            self.matrices.append(found.matrix)
            self._pivots.append(matrices_.pivot(found.matrix))
            return index, found.factor
        ratio = matrices_.pivot(found.matrix) / self._pivots[index]
        return index, found.factor * ratio
