"""Evaluation: a contraction that keeps what it computes, for inputs that change a few at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import BackendError, InputError, PlanError, ShapeError
from contraction.execute import Library, is_plain
from contraction.plans import Plan
from contraction.reuse.binding import Bound
from contraction.reuse.passes import bound_messages, checked, wanted_leaves
from contraction.spec import check_ndim


@final
@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Evaluation:
    """A contraction with its inputs and every intermediate that has been asked for so far.

    Values are made when `result` or `environment` first needs them, and kept. `replace` gives
    a new evaluation that shares all of them but those that depend on the changed inputs. On
    the edges of the tree, values flow up and derivatives down; a change of one input leaves
    valid what flows towards it. Visiting the inputs of a chain in turn therefore costs a
    constant number of steps a visit, as the left and right blocks of a density-matrix
    renormalisation sweep do (White, Phys. Rev. Lett. 69, 2863 (1992)), and the same on any tree.

    Parameters
    ----------
    plan
        The plan; without slices.
    arrays
        The inputs as they are now.

    Notes
    -----
    Cost of a change: the steps between the input and the root for `result`; for `environment`
    the steps on the way to it that something changed beside, and a copy of the table of values
    (not of the values). At most one value and one derivative per edge of the tree is held.
    What an evaluation returns belongs to it: do not write to it.

    Examples
    --------
    >>> import numpy as np
    >>> from contraction import plan
    >>> p = plan("ab,bc,ca->", [(2, 3), (3, 4), (4, 2)])
    >>> first = Evaluation.start(p, [np.ones((2, 3)), np.ones((3, 4)), np.ones((4, 2))])
    >>> second = first.replace({2: np.full((4, 2), 2.0)})
    >>> float(first.result), float(second.result), second.environment(0)[0]
    (24.0, 48.0, array([8., 8., 8.]))
    """

    plan: Plan
    arrays: tuple[Array, ...]
    _bound: Bound
    _values: dict[int, Any]  # of the inputs and upward steps; those that are valid
    _derivatives: dict[int, tuple[int, Any]]  # downward values, and when they were made
    _changed: dict[int, int]  # when an input below a value was last replaced
    _time: int

    @classmethod
    def start(
        cls, plan: Plan, arrays: Sequence[Array], cotangent: Array | None = None
    ) -> Evaluation:
        """Return an evaluation of `plan` at `arrays`; nothing is contracted yet.

        Parameters
        ----------
        plan, arrays
            As for `Plan.run`.
        cotangent
            For `environment`, the weights of the entries of the result; a scalar needs none.

        Raises
        ------
        PlanError
            The plan has slices: they are there to forget what an evaluation would keep.
        ShapeError, BackendError, DTypeError
            As for `Plan.run`.
        """
        if plan.slices:
            raise PlanError(
                f"the plan is sliced over {list(plan.slices)} to save memory, and an evaluation "
                "keeps intermediates; make the plan without slices."
            )
        weighted = cotangent is not None or not plan.spec.output
        values, given, name, _ = checked(plan.spec, arrays, cotangent, needed=False)
        contiguous = Library(name).contiguous
        values = [contiguous(x) for x in values]
        kernels = bound_messages(
            plan.spec.canonical, plan.pairs, name, None, None if weighted else (), given is not None
        )
        held = {i: x for i, x in enumerate(kernels.prepared(values)) if x is not None}
        if given is not None:
            held[len(values)] = kernels.weights(given)
        return cls(
            plan=plan,
            arrays=tuple(values),
            _bound=kernels,
            _values=held,
            _derivatives={},
            _changed={},
            _time=0,
        )

    def replace(self, changes: Mapping[int, Array]) -> Evaluation:
        """Return the evaluation with other arrays for some inputs, given by position.

        The new arrays take the dtype of the evaluation.

        Raises
        ------
        InputError
            There is no input at a position.
        ShapeError, BackendError, DTypeError
            An array of another shape or library, or complex where the others are real.
        """
        if not changes:
            return self
        positions = wanted_leaves(changes, len(self.arrays))
        arrays, values = list(self.arrays), self._values.copy()
        changed, time = self._changed.copy(), self._time + 1
        loads, parents = self._bound.load_of, self._bound.messages.parents
        for i in positions:
            x = self._converted(i, changes[i])
            arrays[i] = x
            values[i] = loads[i](x) if i in loads else x
            changed[i] = time
            v = parents[i]
            while v >= 0 and changed.get(v) != time:
                values.pop(v, None)
                changed[v] = time
                v = parents[v]
        return Evaluation(
            plan=self.plan,
            arrays=tuple(arrays),
            _bound=self._bound,
            _values=values,
            _derivatives=self._derivatives.copy(),
            _changed=changed,
            _time=time,
        )

    @property
    def result(self) -> Array:
        """The result of the contraction."""
        made: Array = self._bound.result(self._value(self._bound.messages.root))
        return made

    def environment(self, leaf: int) -> Array:
        """Return the derivative by the input at position `leaf`, as `environments` does.

        Raises
        ------
        InputError
            There is no such input, or the result has axes and `start` got no cotangent.
        """
        (leaf,) = wanted_leaves([leaf], len(self.arrays))
        messages = self._bound.messages
        if leaf not in messages.derivatives:
            raise InputError(
                f"the result has axes {list(self.plan.spec.output)}; give "
                "`Evaluation.start` a `cotangent` of its shape, the weight of each entry."
            )
        found: Array = self._bound.environment(leaf, self._derivative(leaf))
        return found

    def _derivative(self, leaf: int) -> Any:
        """Return the derivative by an input as a message, from the last valid one on the way."""
        messages, changed, known = self._bound.messages, self._changed, self._derivatives
        parents, siblings, derivatives = messages.parents, messages.siblings, messages.derivatives
        path, value = [], leaf
        while parents[value] >= 0:
            path.append(value)
            value = parents[value]
        outside, start, made = 0, len(path), self._values.get(messages.inputs)
        for k in range(len(path) - 1, -1, -1):
            value = path[k]
            outside = max(outside, changed.get(siblings[value], 0))
            time, message = known.get(derivatives[value], (-1, None))
            if time >= outside:
                start, made = k, message
        for value in reversed(path[:start]):
            made = self._below(derivatives[value], made, siblings[value])
        return made

    def _below(self, derivative: int, above: Any, other: int) -> Any:
        """Return a derivative from that by the parent and the sibling."""
        beside = self._value(other)
        if derivative == other:  # under a scalar root
            return beside
        kernel, i, _ = self._bound.kernels[derivative - self._bound.messages.inputs - 1]
        made = kernel(beside, above) if i == other else kernel(above, beside)
        self._derivatives[derivative] = self._time, made
        return made

    def _value(self, value: int) -> Any:
        """Return an upward value, made with what it needs unless it is known."""
        values = self._values
        if value in values:
            return values[value]
        kernels, first = self._bound.kernels, self._bound.messages.inputs + 1
        stack = [value]
        while stack:
            v = stack[-1]
            kernel, i, j = kernels[v - first]
            if i not in values:
                stack.append(i)
            elif j not in values:
                stack.append(j)
            else:
                values[v] = kernel(values[i], values[j])
                stack.pop()
        return values[value]

    def _converted(self, position: int, given: Any) -> Any:
        spec, like = self.plan.spec, self.arrays[position]
        if is_plain([given, like], [spec.shapes[position]] * 2):
            return given
        x: Any = arrays_.as_array(given, what=f"input {position}")
        check_ndim(position, spec.inputs[position], x.shape)
        if tuple(x.shape) != spec.shapes[position]:
            raise ShapeError(
                f"input {position} with labels {spec.inputs[position]} needs shape "
                f"{spec.shapes[position]}, got {tuple(x.shape)}."
            )
        name = arrays_.namespace_name(like)
        if arrays_.namespace_name(x) != name or arrays_.device(x) != arrays_.device(like):
            raise BackendError(
                f"input {position} lies on {arrays_.namespace_name(x)}/{arrays_.device(x)}, the "
                f"evaluation on {name}/{arrays_.device(like)}; move it first "
                "(contraction.arrays.to)."
            )
        return Library(name).contiguous(arrays_.to(x, dtype=arrays_.dtype_name(like)))

    def __repr__(self) -> str:
        made = sum(v > len(self.arrays) for v in self._values)
        return (
            f"Evaluation({len(self.arrays)} inputs, {made} of {len(self.plan.pairs)} values and "
            f"{len(self._derivatives)} derivatives there)"
        )
