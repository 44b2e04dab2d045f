"""One layout's reading of a file: what names and shapes leave of a spec, and what facts remove from that.

Names tell through clauses which native tensors there are; shapes tell sizes through equations. Both are deduced until
nothing changes. A field with several values left is open; a reading with none left for some field is no reading.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import isqrt, prod
from typing import Any

from vitzoo.layouts.domains import (
    PREFIX,
    SLOTS,
    SPEC_CLAUSES,
    Clause,
    Conjunction,
    Domains,
    Literal,
    Never,
    OneOf,
    conjunction,
    propagate,
)
from vitzoo.layouts.layout import Layout
from vitzoo.layouts.placement import Placement
from vitzoo.layouts.reads import Read, Reads, Way
from vitzoo.layouts.rules import Piece
from vitzoo.spec import Pool, PosEmbed, PosPrefix, Shape, ViTSpec
from vitzoo.spec.tensors import PARTS_OF_A_HEAD, RELATIONS, SOME, Contradiction, Equation, Term, solve

COUNTED = ("hidden_dim", "in_chans", "reg_tokens", "mlp_dim", "num_classes", "out_dim", "num_heads")
"""Sizes that are fields of the spec under the same name."""
PATCH, ROWS_COLS, REL = ("patch_rows", "patch_cols"), {"rows", "cols"}, {"rel_rows", "rel_cols"}
WITH_TABLE = (PosEmbed.LEARNED, PosEmbed.FIXED)
WHERE_NONE = tuple(
    (name, Equation((Term(1, ("attn_dim",)), Term(-1, (same,))), 0))
    for name, same in (("num_kv_heads", "kv_dim"), ("head_dim", "hidden_dim"))
)
"""What the widths of the projections are where a field says nothing of its own."""

SHOWN = frozenset({"head_dim", "num_kv_heads", "pool_mlp_dim", "img_size", "drop_remainder"})
"""Fields that follow from sizes and have no clauses."""

HEAD = frozenset({"head", "head_bias", "num_classes", "out_dim"})
"""Fields of the last layer, which training puts anew."""

Grid = tuple[int, int]


class Candidate:
    """What a file may be in one layout, its model standing where `placement` says.

    Raises:
        Contradiction: the layout has no spec with these tensors.
    """

    def __init__(self, layout: Layout, placement: Placement, shapes: Mapping[str, Shape]) -> None:
        self.layout, self.placement = layout, placement
        self.shapes = {name: tuple(shapes[key]) for name, key in placement.names.items()}
        self.depth = _depth(layout.reads, self.shapes)
        self.stored = dict(self._stored())
        self.domains = Domains(layout.domains)
        self.sizes: dict[str, int] = {}
        self.usual_size: Grid | None = None
        self._equations: list[Equation] = [*RELATIONS]
        self._read: set[tuple[int, tuple[str, ...]]] = set()
        self._present = [read for read in layout.reads.joins if all(map(self._has, read.keys))]
        self.clauses: tuple[Clause, ...] = (*SPEC_CLAUSES, *layout.clauses, *self._names())
        self.deduce()
        for clause in self._preferences():
            self._if_possible(clause)
        self.probe()

    def copy(self) -> "Candidate":
        """The same, for facts that may be taken back."""
        other: Candidate = object.__new__(Candidate)
        other.__dict__ = dict(self.__dict__)
        other.domains, other.sizes = self.domains.copy(), dict(self.sizes)
        other._equations, other._read = list(self._equations), set(self._read)
        return other

    def _stored(self) -> Iterator[tuple[str, Shape]]:
        """The rules' keys that the file has, `{i}` for all blocks, each with the shape in the first block."""
        for key in self.layout.reads.keys:
            names = (key.format(i=i) for i in range(self.depth if "{i}" in key else 1))
            if name := next((name for name in names if name in self.shapes), None):
                yield key, self.shapes[name]

    def _has(self, key: str) -> bool:
        return key in self.stored

    @property
    def missing(self) -> dict[str, Shape]:
        """What some blocks lack and others have."""
        names = ((key.format(i=i), shape) for key, shape in self.stored.items() for i in range(self.depth))
        return {name: shape for name, shape in names if name not in self.shapes}

    # --- Names --------------------------------------------------------------------------------------------------------

    def _dropped(self, key: str) -> bool:
        name = key.format(i=0)
        return any(drop.covers(name, self.stored[key]) for drop in self.layout.reads.drops)

    def _joined(self, key: str) -> tuple[Conjunction, ...]:
        """The ways in which a join may read a key of the file."""
        return tuple(way.when for read in self._present if key in read.keys for way in read.ways)

    def _fixed(self, key: str) -> tuple[Conjunction, ...]:
        """The ways in which a key of the file may follow from the spec."""
        return tuple(conjunction(fixed.given) for fixed in self.layout.reads.fixed if fixed.key == key)

    def _names(self) -> Iterator[Clause]:
        """What the names of a file say: what is there is read, what is not there is no part of the model."""
        reads = self.layout.reads
        there = {id(read) for read in self._present}
        for read in reads.joins:
            if id(read) not in there:
                yield from (Never(way.when) for way in read.ways)
        yield from (Never(conjunction(fixed.given)) for fixed in reads.fixed if not self._has(fixed.key))
        for key in self.stored:
            if not self._dropped(key):
                yield OneOf((*self._joined(key), *self._fixed(key)))
        for native, ways in reads.covers:
            lacking = ((literal.negated(),) for literal in conjunction(native.when))
            yield OneOf((*(way.when for read, way in ways if id(read) in there), *lacking))

    def _preferences(self) -> Iterator[Clause]:
        """A tensor that can be read is neither dropped nor a constant; one of which nothing is stored is not there."""
        for key in self.stored:
            if (joined := self._joined(key)) and (self._dropped(key) or self._fixed(key)):
                yield OneOf(joined)
        yield from (Never(way.when) for read in self._present if not read.stores for way in read.ways)

    def _if_possible(self, clause: Clause) -> None:
        other = self.copy()
        other.clauses = (*self.clauses, clause)
        other.domains.changed |= clause.fields
        try:
            other.deduce()
        except Contradiction:
            return
        self.__dict__ = other.__dict__

    # --- Sizes --------------------------------------------------------------------------------------------------------

    def deduce(self) -> None:
        """Remove all that what is known rules out.

        Raises:
            Contradiction: nothing is left.
        """
        while True:
            propagate(self.domains, self.clauses)
            self._equations += self._new_equations()
            before = dict(self.sizes)
            self._sizes_of_fields()
            self.sizes, self._equations = solve(self._equations, self.sizes)
            self._fields_of_sizes()
            if not self.domains.changed and self.sizes == before:
                return

    def _new_equations(self) -> Iterator[Equation]:
        """Of joins that the file certainly has; again, once more of their native tensors are certain."""
        for number, read in enumerate(self._present):
            natives = [way for way in read.ways if self._exists(way)] if read.keys else []
            mark = (number, tuple(way.native.name for way in natives))
            if not natives or mark in self._read or self._may_have_more(read, natives):
                continue
            self._read.add(mark)
            shown = ", ".join(f"'{key.format(i=0)}' {list(self.stored[key])}" for key in read.keys)
            found = [replace(one, shown=shown) for one in read.equations(natives, self.stored)]
            yield from found
            names = {name for equation in found for term in equation.terms for name in term.names}
            yield from (one for one in PARTS_OF_A_HEAD if one.terms[1].names[0] in names)
        for number, (name, equation) in enumerate(WHERE_NONE, -len(WHERE_NONE)):
            if self.domains.options(name) == {None} and (number, ()) not in self._read:
                self._read.add((number, ()))
                yield equation

    def _exists(self, way: Way) -> bool:
        """Whether a native tensor is there, or is there with no rows."""
        return all(self.domains.certain(literal) for literal in way.when if literal.field != SLOTS)

    def _may_have_more(self, read: Read, natives: Sequence[Way]) -> bool:
        sure = {way.native.name for way in natives}
        return any(
            all(self.domains.possible(literal) for literal in way.when)
            for way in read.ways
            if way.native.name not in sure
        )

    def _sizes_of_fields(self) -> None:
        fields: dict[str, Any] = {name: self.domains.only(name) for name in COUNTED}
        patch = self.domains.only("patch_size")
        if isinstance(patch, tuple):
            fields |= dict(zip(PATCH, patch, strict=True))
        if self.domains.certain(Literal("pool", (Pool.CLS_AVG,))):
            fields["pooled_tokens"] = 2
        elif not self.domains.possible(Literal("pool", (Pool.CLS_AVG,))):
            fields["pooled_tokens"] = 1
        slots = {self.slots(prefix) for prefix in self.domains.options("pos_prefix")}
        if len(slots) == 1:
            fields[SLOTS] = slots.pop()
        for name, size in fields.items():
            known = size is not None and size is not SOME and (size or name == SLOTS)
            if known and self.sizes.setdefault(name, size) != size:
                raise Contradiction(f"{name} cannot be {self.sizes[name]} and {size}")

    def _fields_of_sizes(self) -> None:
        for name in COUNTED:
            if name in self.sizes:
                self.domains.allow(name, self.sizes[name])
        if self.sizes.keys() >= set(PATCH):
            self.domains.allow("patch_size", tuple(self.sizes[name] for name in PATCH))
        if "pooled_tokens" in self.sizes:
            self.domains.demand(Literal("pool", (Pool.CLS_AVG,), self.sizes["pooled_tokens"] == 2))
        if SLOTS in self.sizes:
            self.domains.allow(SLOTS, self.sizes[SLOTS])
            for prefix in self.domains.options("pos_prefix"):
                if self.slots(prefix) not in (None, self.sizes[SLOTS]):
                    self.domains.demand(Literal("pos_prefix", (prefix,), False))

    @property
    def tokens(self) -> int | None:
        """Prefix tokens; None if they are not counted yet."""
        count = self.domains.options(PREFIX)
        return next(iter(count)) if len(count) == 1 and SOME not in count else None

    def slots(self, prefix: PosPrefix) -> int | None:
        """Slots of the position table for prefix tokens, with this `pos_prefix`; None if that is not known."""
        if not self.domains.possible(Literal("pos_embed", WITH_TABLE)):
            return 0
        if not self.domains.certain(Literal("pos_embed", WITH_TABLE)):
            return None
        return {PosPrefix.NONE: 0, PosPrefix.CLS: 1, PosPrefix.ALL: self.tokens}[prefix]

    def probe(self) -> None:
        """Try the values of what decides how a key is read; those that no sizes fit are removed."""
        for name in sorted({literal.root for literal in self._undecided()}):
            for value in self.domains.options(name):
                other = self.copy()
                try:
                    other.domains.allow(name, value)
                    other.deduce()
                except Contradiction:
                    self.domains.demand(Literal(name, (value,), False))
        self.deduce()

    def _undecided(self) -> Iterator[Literal]:
        for read in self._present:
            for way in read.ways if read.keys else ():
                if all(self.domains.possible(literal) for literal in way.when):
                    yield from (one for one in way.when if one.field != SLOTS and not self.domains.certain(one))

    # --- Grids --------------------------------------------------------------------------------------------------------

    @property
    def has_table(self) -> bool:
        """Whether the file stores a table of positions, absolute or relative, whose grid matters."""
        return bool(self._products())

    def _products(self) -> dict[str, int]:
        """Lengths of tables whose grid is not known: `rows` x `cols` with the slots, `rel_rows` x `rel_cols`."""
        found = {}
        for equation in self._equations:
            for term in equation.terms:
                if set(term.names) in (ROWS_COLS, REL):
                    others = (one for one in equation.terms if one is not term and one.names != (SLOTS,))
                    rest = equation.total - sum(
                        one.factor * prod(self.sizes[name] for name in one.names) for one in others
                    )
                    found[term.names[0]] = rest // term.factor
        if self.sizes.keys() >= ROWS_COLS:
            found["known"] = self.sizes["rows"] * self.sizes["cols"]
        return found

    def grids(self) -> list[tuple[PosPrefix, Grid]]:
        """The grids that the tables may have, each with the slots that are left over then."""
        tables, prefixes = self._products(), sorted(self.domains.options("pos_prefix"))
        if "known" in tables:
            return [(prefix, (self.sizes["rows"], self.sizes["cols"])) for prefix in prefixes]
        odd = _factors(tables["rel_rows"]) if "rel_rows" in tables else None
        relative = None if odd is None else {((a + 1) // 2, (b + 1) // 2) for a, b in odd if a % 2 and b % 2}
        found = []
        for prefix in prefixes:
            if "rows" not in tables:
                found += [(prefix, grid) for grid in sorted(relative or ())]
            elif (slots := self.slots(prefix)) is not None and tables["rows"] > slots:
                grids = _factors(tables["rows"] - slots)
                found += [(prefix, grid) for grid in grids if relative is None or grid in relative]
        return [(prefix, (r, c)) for prefix, (r, c) in found if not self.layout.square or r == c]

    def take_grid(self, grid: Grid) -> None:
        """Narrow to a grid of patches.

        Raises:
            Contradiction: the tables have another one.
        """
        kinds = {prefix for prefix, one in self.grids() if one == grid}
        if not kinds:
            raise Contradiction(f"no table of {grid[0]}x{grid[1]} patches")
        self.domains.allow("pos_prefix", *kinds)
        self.sizes |= {"rows": grid[0], "cols": grid[1]}
        self.domains.changed.add("pos_prefix")
        self.deduce()

    def square(self, usual: bool = False) -> Grid | None:
        """The square that a table is taken for, where its length alone is known; None if it may as well be none.

        A class token alone has a slot of its own, in all but a few programs: with `usual`, no other slots count. If the
        table is no square then, but would be with other slots, it may be a rectangle: of 16 positions 3x5 beside the
        slot, or 4x4. A row of patches is no picture's grid.
        """
        found: dict[int | None, list[Grid]] = {}
        for prefix, grid in self.grids():
            found.setdefault(self.slots(prefix), []).append(grid)
        squares = {slots: grid for slots, grids in found.items() for grid in grids if grid[0] == grid[1]}
        if usual or (self.tokens in (0, 1) and self.tokens in squares):
            return squares.get(self.tokens) if self.tokens in (0, 1) else None
        others = (grid for slots, grids in found.items() if slots not in squares for grid in grids)
        return next(iter(squares.values())) if len(squares) == 1 and all(min(grid) == 1 for grid in others) else None

    # --- Facts --------------------------------------------------------------------------------------------------------

    def take(self, name: str, value: Any) -> None:
        """Narrow a field to one value.

        Raises:
            Contradiction: the file, or the layout, has another one.
        """
        if name == "depth" and value != self.depth:
            raise Contradiction(f"depth is {self.depth}")
        if name == "head_dim" and value is not None:
            self._equations.append(Equation((Term(1, ("dim_per_head",)),), value))
        elif name == "pool_heads" and not self.domains.possible(Literal(name, (value,))):
            self.domains.allow(name, None)  # as many as the blocks have, which is seen once these are known
        elif name not in SHOWN and name != "depth":
            self.domains.allow(name, value)
        self.deduce()

    def unlike(self, spec: ViTSpec) -> list[str]:
        """The fields of a spec that the file, or the layout, has otherwise; sizes of tables and heads aside."""
        return [
            name for name, value in spec if (value != self.depth if name == "depth" else not self._may_be(name, value))
        ]

    def _may_be(self, name: str, value: Any) -> bool:
        allowed = WITH_TABLE if name == "pos_embed" and value in WITH_TABLE else (value,)  # trained or not, alike
        return name in SHOWN or self.domains.possible(Literal(name, allowed))

    def like(self, spec: ViTSpec) -> "Candidate":
        """Narrowed to all of a spec's fields that it may have, and to its grid if a table may have that.

        Raises:
            Contradiction: the fields do not go together in such a file.
        """
        other = self.copy()
        for name, value in spec:
            if name not in {*SHOWN, *HEAD, "depth", "pos_embed"} and self._may_be(name, value):
                other.domains.allow(name, value)
        other.deduce()
        other = other._headed(spec)
        grids = {grid for _, grid in other.grids()}
        if len(grids) > 1 and spec.grid in grids:
            other.take_grid(spec.grid)
        other.usual_size = spec.img_size
        return other

    def _headed(self, spec: ViTSpec) -> "Candidate":
        """With the spec's head, if the file may have it; the same without."""
        other = self.copy()
        try:
            for name in sorted(HEAD):
                other.domains.allow(name, getattr(spec, name))
            other.deduce()
        except Contradiction:
            return self
        return other

    def heads(self) -> dict[str, Any]:
        """head_dim and num_kv_heads, once num_heads is known."""
        sizes = self.sizes
        head_dim, heads = sizes["dim_per_head"], sizes["num_heads"]
        per_block = tuple(rows // head_dim for rows in self._rows_of_kv())
        kv_heads = per_block[0] if len(set(per_block)) == 1 else per_block
        return {
            "head_dim": None if heads * head_dim == sizes["hidden_dim"] else head_dim,
            "num_kv_heads": None if kv_heads == heads else kv_heads,
        }

    def _rows_of_kv(self) -> list[int]:
        """Rows of the key's weight in each block."""
        for read in self._present:
            keys = [part.key for part in read.rule.stored if isinstance(part, Piece) and part.size == "kv_dim"]
            if keys and read.rule.native[0].key == "blocks.{i}.attn.qkv.weight":
                return [self.shapes[keys[0].format(i=i)][0] for i in range(self.depth)]
        return [self.sizes["kv_dim"]] * self.depth


def _depth(reads: Reads, shapes: Mapping[str, Shape]) -> int:
    repeated, depth = [key for key in reads.keys if "{i}" in key], 0
    while any(key.format(i=depth) in shapes for key in repeated):
        depth += 1
    stacked = (shapes[key][:1] for read in reads.joins if read.rule.stacked for key in read.keys if key in shapes)
    return max([depth, *(length for lengths in stacked for length in lengths)])


def _factors(total: int) -> list[Grid]:
    pairs = [(rows, total // rows) for rows in range(1, isqrt(total) + 1) if total % rows == 0]
    return sorted({*pairs, *((cols, rows) for rows, cols in pairs)})
