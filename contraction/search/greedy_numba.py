"""One trial of the random greedy search, compiled: the steps of `greedy_plain` over arrays.

Both make the same trees. A value lives in the slot of one of its leaves. Bond e has the half
bonds 2e and 2e+1, in a linked list for each slot; a hyper label has a pin on each holder. What is
dead stays in its list, and is unlinked when the list is walked next. Imported by
`contraction.search.compiled` only.
"""

# mypy: disallow_untyped_defs=False, disallow_untyped_decorators=False, disallow_untyped_calls=False

from __future__ import annotations

import math
from typing import NamedTuple

from numba import njit

from contraction.search import greedy_network
from contraction.search.greedy_network import Floats, Ints
from contraction.search.heap_numba import (
    HALF,
    INLINED,
    Heap,
    Partners,
    before,
    compacted,
    pop,
    propose,
    push,
)

FEW, FIRST, SECOND = greedy_network.FEW, greedy_network.FIRST, greedy_network.SECOND
HUGE, LN2 = greedy_network.HUGE, greedy_network.LN2

_I, _F = "int64[::1]", "float64[::1]"
_BONDS = f"{_I}, {_I}, {_I}, {_F}, {_I}"
_PINS = f"{_I}, {_I}, {_I}, {_I}, {_I}, {_I}, {_I}, {_I}, {_F}, {_I}, {_I}, {_I}"
_VALUES, _FOUND = f"{_F}, {_F}, {_I}, {_I}", f"{_I}, {_I}, {_F}, {_I}"
_HEAP, _PARTNERS = f"{_F}, {_I}", f"{_F}, {_I}, {_I}, {_I}"
SIGNATURES = {  # the fields of the tuples below, one after the other: tuples are slow to pass
    "run_trial": f"float64({_BONDS}, {_PINS}, {_VALUES}, {_FOUND}, {_HEAP}, {_PARTNERS}, {_HEAP}, "
    f"{_F}, float64, float64, int64, float64, {_I})"
}
LATER = (1 << HALF) - 1  # the bits of a code that are for the later value


class Bonds(NamedTuple):
    """Half bonds: the slot where each is (-1: dead), the next of the slot, the first of a slot."""

    at: Ints
    next: Ints
    head: Ints
    weight: Floats  # of a bond
    degree: Ints  # of a slot, or more


class Pins(NamedTuple):
    """Pins of hyper labels: as half bonds by slot, and the live ones of each label together."""

    at: Ints
    next: Ints
    head: Ints
    label: Ints  # of a pin
    order: Ints  # the pins of label x are order[start[x] : start[x] + held[x]]
    where: Ints  # in `order`
    start: Ints
    held: Ints  # how many those are
    weight: Floats  # of a label
    kept: Ints
    seen: Ints  # the last value for which a label was marked
    pin: Ints  # and its pin there


class Values(NamedTuple):
    """Log2 of the entries, the entries, and the newest value of each slot; slots of values."""

    size: Floats
    power: Floats
    names: Ints
    slots: Ints  # -1 for what is joined


class Found(NamedTuple):
    """The neighbours of the newest value, and half of what a join with each saves in log2."""

    seen: Ints  # the last value for which a slot was found
    bond: Ints  # the bond that leads to it
    saved: Floats
    slots: Ints


@INLINED
def join_bonds(bonds, a, b):
    """Give slot a the bonds of slot b; return the weight of those between them."""
    between = 0.0
    half = bonds.head[b]
    while half >= 0:
        after = bonds.next[half]
        if bonds.at[half] >= 0:
            if bonds.at[half ^ 1] == a:
                between += bonds.weight[half >> 1]
                bonds.at[half] = bonds.at[half ^ 1] = -1
            else:
                link(bonds, half, a)
        half = after
    bonds.head[b] = -1
    return between


@INLINED
def link(bonds, half, slot):
    """Put a half bond on a slot."""
    bonds.at[half] = slot
    bonds.next[half] = bonds.head[slot]
    bonds.head[slot] = half
    bonds.degree[slot] += 1


@INLINED
def remove_pin(pins, pin):
    """Take a pin off its label; it stays in the list of its slot, dead."""
    label = pins.label[pin]
    pins.held[label] -= 1
    last = pins.order[pins.start[label] + pins.held[label]]
    pins.order[pins.where[pin]] = last
    pins.where[last] = pins.where[pin]
    pins.at[pin] = -1


@INLINED
def join_pins(pins, bonds, a, b, name, first_bond):
    """Give slot a the hyper labels of slot b; return the weight of those on both."""
    shared = 0.0
    pin = pins.head[a]
    while pin >= 0:
        if pins.at[pin] >= 0:
            pins.seen[pins.label[pin]] = name
            pins.pin[pins.label[pin]] = pin
        pin = pins.next[pin]
    pin = pins.head[b]
    while pin >= 0:
        after = pins.next[pin]
        label = pins.label[pin]
        if pins.at[pin] < 0:
            pass
        elif pins.seen[label] != name:
            pins.at[pin] = a
            pins.next[pin] = pins.head[a]
            pins.head[a] = pin
        else:
            shared += pins.weight[label]
            remove_pin(pins, pin)
            mine = pins.pin[label]
            if pins.kept[label] == 1:
                if pins.held[label] == 1:
                    remove_pin(pins, mine)
            elif pins.held[label] == 2:  # a bond from now on
                remove_pin(pins, mine)
                other = pins.order[pins.start[label]]
                slot = pins.at[other]
                remove_pin(pins, other)
                link(bonds, 2 * (first_bond + label), a)
                link(bonds, 2 * (first_bond + label) + 1, slot)
        pin = after
    pins.head[b] = -1
    return shared


@INLINED
def find_neighbours(bonds, pins, found, slot, name):
    """Fill `found` for a value; return how many neighbours it has. Parallel bonds become one."""
    count = 0
    half, before = bonds.head[slot], -1
    while half >= 0:
        after = bonds.next[half]
        other = bonds.at[half ^ 1]
        if bonds.at[half] >= 0 and found.seen[other] != name:
            found.seen[other] = name
            found.bond[other] = half >> 1
            found.saved[other] = bonds.weight[half >> 1]
            found.slots[count] = other
            count += 1
            before = half
        else:
            if bonds.at[half] >= 0:
                found.saved[other] += bonds.weight[half >> 1]
                bonds.weight[found.bond[other]] = found.saved[other]
                bonds.at[half] = bonds.at[half ^ 1] = -1
            if before < 0:
                bonds.head[slot] = after
            else:
                bonds.next[before] = after
        half = after
    bonds.degree[slot] = count
    return find_by_pins(pins, found, slot, name, count)


@INLINED
def find_by_pins(pins, found, slot, name, count):
    """Add to `found` what hyper labels give."""
    crowded = False
    pin, before = pins.head[slot], -1
    while pin >= 0:
        after = pins.next[pin]
        if pins.at[pin] < 0:
            if before < 0:
                pins.head[slot] = after
            else:
                pins.next[before] = after
        else:
            before = pin
            label = pins.label[pin]
            if pins.held[label] > FEW:
                crowded = True
                pins.seen[label] = name
            else:
                start = pins.start[label]
                for k in range(start, start + pins.held[label]):
                    other = pins.at[pins.order[k]]
                    if other != slot:
                        if found.seen[other] != name:
                            found.seen[other] = name
                            found.saved[other] = 0.0
                            found.slots[count] = other
                            count += 1
                        found.saved[other] += 0.5 * pins.weight[label]
        pin = after
    if crowded:
        weigh_crowded(pins, found, name, count)
    return count


@INLINED
def weigh_crowded(pins, found, name, count):
    """Add to the neighbours found the labels of very many holders."""
    for k in range(count):
        slot = found.slots[k]
        pin = pins.head[slot]
        while pin >= 0:
            label = pins.label[pin]
            if pins.at[pin] >= 0 and pins.seen[label] == name and pins.held[label] > FEW:
                found.saved[slot] += 0.5 * pins.weight[label]
            pin = pins.next[pin]


@INLINED
def huge_score(made, left, right, alpha):
    """Return the score without noise from logarithms; see `greedy_network.huge_score`."""
    top = max(made, left, right)
    value = math.exp2(made - top) / alpha
    value -= alpha * (math.exp2(left - top) + math.exp2(right - top))
    if value == 0.0:
        return 0.0
    return math.copysign(math.log(abs(value)) + top * LN2, value)


@INLINED
def score_of(values, found, slot, other, alpha):
    """Return the score without noise of joining the values of two slots."""
    left, right = values.size[slot], values.size[other]
    made = left + right - 2.0 * found.saved[other]
    if made > HUGE or left > HUGE or right > HUGE:
        return huge_score(made, left, right, alpha)
    value = math.exp2(made) / alpha - (values.power[slot] + values.power[other]) * alpha
    return math.log(1.0 + value) if value >= 0.0 else -math.log(1.0 - value)


@INLINED
def fill_scores(
    partners, values, found, slot, count, filled, noise, alpha, temperature, offset
):  # fmt: skip
    """Write down the pairs of the newest value and its neighbours with their scores."""
    for k in range(count):
        other = found.slots[k]
        score, partner = score_of(values, found, slot, other, alpha), values.names[other]
        if temperature > 0.0:
            score += temperature * noise[(partner * FIRST + offset) & (len(noise) - 1)]
        partners.score[filled + k], partners.value[filled + k] = score, partner


@njit(nogil=True, _nrt=False)
def run_trial(
    b0, b1, b2, b3, b4, p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, v0, v1, v2, v3,
    f0, f1, f2, f3, h0, h1, q0, q1, q2, q3, first_score, first_code,
    noise, alpha, temperature, offset, limit, pairs,
):  # fmt: skip
    """Run one trial; return log2 of its cost, or inf once that reached `limit`.

    It is not a number where the arrays of `Partners` are too short. The arrays are the fields of
    `Bonds`, `Pins`, `Values`, `Found`, `Heap` and `Partners` before the first join, and are
    changed; the first pairs are sorted.
    """
    bonds, pins = Bonds(b0, b1, b2, b3, b4), Pins(p0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11)
    values, found = Values(v0, v1, v2, v3), Found(f0, f1, f2, f3)
    heap, partners = Heap(h0, h1), Partners(q0, q1, q2, q3)
    slots = values.slots
    leaves, first_bond = len(values.names), len(bonds.weight) - len(pins.weight)
    used = filled = first = made = 0
    limited, rest = limit < math.inf, False
    unit, total = limit if limited else -math.inf, 0.0
    while made < leaves - 1:
        if first < len(first_score) and (
            used == 0 or before(first_score[first], first_code[first], heap.score[0], heap.code[0])
        ):
            code = first_code[first]
            first += 1
        else:
            if used == 0:  # no neighbours left: by size from here
                rest = True
                used = push_all(heap, values, leaves + made)
            code = pop(heap, used)
            used -= 1
        i, j = code >> HALF, code & LATER
        if rest:
            i, j = code, pop(heap, used)
            used -= 1
        a, b = slots[i], slots[j]
        if a < 0 or b < 0:
            if b >= 0 and j >= leaves:
                used = propose(heap, used, partners, slots, j - leaves, j)
            continue
        if bonds.degree[a] < bonds.degree[b]:
            a, b = b, a
        name = leaves + made
        pairs[2 * made], pairs[2 * made + 1] = i, j
        step = join(values, bonds, pins, a, b, name, first_bond)
        slots[i] = slots[j] = -1
        if step > unit:
            if limited:
                return math.inf
            total *= math.exp2(unit - step)
            unit = step
        total += math.exp2(step - unit)
        if limited and total >= 1.0:
            return math.inf
        if rest:
            push(heap, used, values.size[a], name)
            used += 1
        else:
            count = find_neighbours(bonds, pins, found, a, name)
            if filled + count > len(partners.score):
                filled = compacted(partners, slots, leaves, made)
                if filled + count > len(partners.score):
                    return math.nan
            partners.first[made], partners.stop[made] = filled, filled + count
            fill_scores(
                partners, values, found, a, count, filled,
                noise, alpha, temperature, name * SECOND + offset,
            )  # fmt: skip
            filled += count
            used = propose(heap, used, partners, slots, made, name)
        made += 1
    return unit + math.log2(total) if total > 0.0 else -math.inf


@INLINED
def join(values, bonds, pins, a, b, name, first_bond):
    """Join the values of two slots into the first; return log2 of the multiply-adds."""
    bond = join_bonds(bonds, a, b)
    shared = bond + join_pins(pins, bonds, a, b, name, first_bond)
    step = values.size[a] + values.size[b] - shared
    values.size[a] = step - bond
    values.power[a] = math.exp2(min(step - bond, HUGE))
    values.slots[name], values.names[a] = a, name
    return step


@INLINED
def push_all(heap, values, count):
    """Fill the heap with the values there are, by size; return how many."""
    used = 0
    for name in range(count):
        if values.slots[name] >= 0:
            push(heap, used, values.size[values.slots[name]], name)
            used += 1
    return used
