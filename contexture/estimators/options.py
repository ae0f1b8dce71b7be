"""What a user may decide about the way in which spectra are computed; the plan does the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from contexture.errors import ConfigurationError, nearest

Route: TypeAlias = Literal["auto", "exact", "krylov", "distributed", "matrix-free", "moments"]

KernelRoute: TypeAlias = Literal["auto", "tiles", "nystroem", "truncated"]

DRAWS = 3
"""Draws of references unless something else is said: the fewest that give a usable error."""


class Estimation(BaseModel):
    """How spectra are computed; every choice of the plan can be overruled here."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Estimation")

    route: Route = Field(
        default="auto",
        title="Route",
        description="auto: chosen by the plan for each context. exact: dense eigenproblem of the "
        "smaller side. krylov: block Krylov on one worker. distributed: block Krylov with "
        "products on all workers. matrix-free: kernel tiles computed on the fly. moments: one "
        "streaming pass over the rows, for drawn references.",
        json_schema_extra={"position": 10},
    )
    routes: Mapping[str, Route] = Field(
        default_factory=dict,
        title="Routes of single contexts",
        description="Context names, each with a route that it takes instead, such as "
        '{"rbf-10": "matrix-free"}.',
        json_schema_extra={"position": 15},
    )
    kernel: KernelRoute = Field(
        default="auto",
        title="Kernels without a matrix",
        description="How the route matrix-free goes. tiles: block Lanczos from a start by some of "
        "the rows. nystroem: the same from Nyström vectors, for spectra that decay fast. "
        "truncated: negligible weights are dropped, and a sparse operator is decomposed. auto: "
        "truncated where few weights count, else tiles.",
        json_schema_extra={"position": 17},
    )
    tolerance: float = Field(
        default=1e-5,
        gt=0,
        lt=1,
        title="Tolerance",
        description="Largest error of the s_i² that an iterative solver may make.",
        json_schema_extra={"position": 20},
    )
    reference_error: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        title="Wanted error of τ",
        description="Error of τ, against all rows as references, at which the plan aims where it "
        "chooses the number of references and of their draws.",
        json_schema_extra={"position": 30},
    )
    draws: int | None = Field(
        default=None,
        ge=1,
        le=64,
        title="Reference draws",
        description="Independent draws of the references of a context that is kept as moments; "
        f"{DRAWS} if left out, or more where the plan chooses the references and that costs less. "
        "With one, no error over references is known.",
        json_schema_extra={"position": 40},
    )
    left_functions: Literal["auto", "always", "never"] = Field(
        default="auto",
        title="Functions on the inputs",
        description="Whether the store keeps the left singular functions, rows × functions "
        "numbers. auto: up to 200 000 rows, and never for moments, where they cost a second pass "
        "over the rows.",
        json_schema_extra={"position": 50},
    )
    local_order: Literal["auto", "never"] = Field(
        default="auto",
        title="Local order",
        description="auto: an operator whose entries are known before it is computed is stored "
        "in an order in which neighbours are near, if there is memory to find one. never: in the "
        "order of the corpus.",
        json_schema_extra={"position": 60},
    )

    def route_of(self, context: str) -> Route:
        """Return the route of a context, by its name."""
        return self.routes.get(context, self.route)

    def require_contexts(self, names: Sequence[str]) -> None:
        """Refuse routes of contexts that there are not.

        Raises
        ------
        ConfigurationError
            Naming the first, and what was probably meant.
        """
        for name in self.routes:
            if name not in names:
                raise ConfigurationError(
                    f"estimation.routes names '{name}', and there is no such context: "
                    f"{nearest(name, names)}"
                )
