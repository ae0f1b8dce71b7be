"""The typed parameters of an audit: what a YAML configuration holds, and the Prefect form."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from contexture.contexts import AnyContext
from contexture.contexts.base import NAME_PATTERN
from contexture.estimators.options import Estimation
from contexture.readers import AnyReader


class LocalCluster(BaseModel):
    """Dask workers on this machine, for the time of the run."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="This machine")

    kind: Literal["local"] = "local"
    workers: int | None = Field(
        default=None,
        ge=1,
        title="Workers",
        description="Number of processes; one for each core if left out.",
        json_schema_extra={"position": 10},
    )
    threads: int = Field(
        default=1,
        ge=1,
        title="Threads",
        description="Threads of each worker; they share its memory.",
        json_schema_extra={"position": 20},
    )
    memory: str | None = Field(
        default=None,
        pattern=r"^\d+(\.\d+)?\s*([kKMGT]i?)?B$",
        title="Memory",
        description="Memory of each worker, such as 4GiB; an equal share of the machine's if "
        "left out. More than that share does not count.",
        json_schema_extra={"position": 30},
    )


class ClusterAddress(BaseModel):
    """A Dask cluster that runs already."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="A running cluster")

    kind: Literal["address"] = "address"
    address: str = Field(
        pattern=r"^(tcp|tls)://\S+$",
        title="Address",
        description="Address of the scheduler, such as tcp://127.0.0.1:8786. Its workers must "
        "have contexture installed and reach the store.",
        json_schema_extra={"position": 10},
    )


AnyCluster: TypeAlias = Annotated[LocalCluster | ClusterAddress, Field(discriminator="kind")]

# Bounds that a configuration and the form of the flow share.
AuditName: TypeAlias = Annotated[str, Field(pattern=NAME_PATTERN)]
Rank: TypeAlias = Annotated[int, Field(ge=1, le=8192)]
Beta: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed: TypeAlias = Annotated[int, Field(ge=0)]
StorePlace: TypeAlias = Annotated[str, Field(min_length=1)]
ChunkRows: TypeAlias = Annotated[int, Field(ge=1)]


class AuditParameters(BaseModel):
    """What to audit, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Audit")

    name: AuditName = Field(
        title="Name",
        description="What the corpus is called; also the default name of the store.",
        json_schema_extra={"position": 0},
    )
    corpus: AnyReader = Field(
        title="Corpus",
        description="Where the data lie and what the columns are for.",
        json_schema_extra={"position": 1},
    )
    contexts: tuple[AnyContext, ...] = Field(
        min_length=1,
        title="Contexts",
        description="The contexts to compare.",
        json_schema_extra={"position": 2},
    )
    max_rank: Rank = Field(
        default=512,
        title="Largest rank d_0",
        description="Number of singular values that count in the usefulness τ.",
        json_schema_extra={"position": 3},
    )
    beta: Beta = Field(
        default=1.0,
        title="β",
        description="Weight of the second term of the usefulness τ.",
        json_schema_extra={"position": 4},
    )
    rank_kept: Rank = Field(
        default=128,
        title="Functions kept",
        description="Singular functions that the store keeps of each context.",
        json_schema_extra={"position": 5},
    )
    seed: Seed = Field(
        default=0,
        title="Seed",
        description="Reference rows, masks and samples are drawn by it.",
        json_schema_extra={"position": 6},
    )
    store: StorePlace | None = Field(
        default=None,
        title="Store",
        description="Folder or URL of the Zarr store; <name>.zarr in the working directory if "
        "left out.",
        json_schema_extra={"position": 7},
    )
    cluster: AnyCluster = Field(
        default=LocalCluster(),
        title="Cluster",
        description="The Dask workers that compute.",
        json_schema_extra={"position": 8},
    )
    chunk_rows: ChunkRows | None = Field(
        default=None,
        title="Rows of a block",
        description="Rows computed and written at a time; chosen by size if left out.",
        json_schema_extra={"position": 9},
    )

    estimation: Estimation = Field(
        default=Estimation(),
        title="Estimation",
        description="How the spectra are computed; chosen by the plan where nothing is said.",
        json_schema_extra={"position": 10},
    )

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        times = Counter(context.label for context in self.contexts)
        double = [name for name, count in times.items() if count > 1]
        if double:
            raise ValueError(f"two contexts are called '{double[0]}'; give one of them a 'name'")
        return self

    def resolved(self, base: Path) -> Self:
        """Return a copy in which the paths of corpus and contexts are absolute.

        Parameters
        ----------
        base : Path
            The folder where relative ones start.
        """
        contexts = tuple(context.resolved(base) for context in self.contexts)
        return self.model_copy(update={"corpus": self.corpus.resolved(base), "contexts": contexts})

    @property
    def store_url(self) -> str:
        """The store, as an absolute path or a URL."""
        url = self.store or f"{self.name}.zarr"
        return url if "://" in url else os.path.abspath(os.path.expanduser(url))
