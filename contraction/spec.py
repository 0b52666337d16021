"""Spec: what to contract. Index sets and sizes, no arrays and no network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Spec:
    """A contraction: the labels of each input, the labels of the output, the sizes."""

    inputs: tuple[tuple[Hashable, ...], ...]
    output: tuple[Hashable, ...]
    sizes: Mapping[Hashable, int] = field(hash=False)
