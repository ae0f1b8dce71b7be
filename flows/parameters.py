"""The typed parameters of an audit: the YAML configuration, and the form in the Prefect UI."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from contexture.contexts import KINDS, AnyContext
from contexture.contexts.base import NAME_PATTERN
from contexture.errors import ConfigurationError, nearest
from contexture.readers import READERS, AnyReader


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
        "left out.",
        json_schema_extra={"position": 30},
    )


class ClusterAddress(BaseModel):
    """A Dask cluster that runs already."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="A running cluster")

    kind: Literal["address"] = "address"
    address: str = Field(
        pattern=r"^(tcp|tls|ws|wss|ucx)://\S+$",
        title="Address",
        description="Address of the scheduler, such as tcp://127.0.0.1:8786. Its workers must "
        "have contexture installed and reach the store.",
        json_schema_extra={"position": 10},
    )


AnyCluster: TypeAlias = Annotated[LocalCluster | ClusterAddress, Field(discriminator="kind")]


class AuditParameters(BaseModel):
    """What to audit, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Audit")

    name: str = Field(
        pattern=NAME_PATTERN,
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
    max_rank: int = Field(
        default=512,
        ge=1,
        le=8192,
        title="Largest rank d_0",
        description="Number of singular values that count in the usefulness τ.",
        json_schema_extra={"position": 3},
    )
    beta: float = Field(
        default=1.0,
        gt=0,
        allow_inf_nan=False,
        title="β",
        description="Weight of the second term of the usefulness τ.",
        json_schema_extra={"position": 4},
    )
    rank_kept: int = Field(
        default=128,
        ge=1,
        le=8192,
        title="Functions kept",
        description="Singular functions that the store keeps of each context.",
        json_schema_extra={"position": 5},
    )
    seed: int = Field(
        default=0,
        ge=0,
        title="Seed",
        description="Reference rows, masks and samples are drawn by it.",
        json_schema_extra={"position": 6},
    )
    store: str | None = Field(
        default=None,
        min_length=1,
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
    chunk_rows: int | None = Field(
        default=None,
        ge=1,
        title="Rows of a block",
        description="Rows computed and written at a time; chosen by size if left out.",
        json_schema_extra={"position": 9},
    )

    @model_validator(mode="after")
    def _distinct_names(self) -> Self:
        times = Counter(context.label for context in self.contexts)
        double = [name for name, count in times.items() if count > 1]
        if double:
            raise ValueError(f"two contexts are called '{double[0]}'; give one of them a 'name'")
        return self

    @property
    def store_url(self) -> str:
        """The store, as an absolute path or a URL."""
        url = self.store or f"{self.name}.zarr"
        return url if "://" in url else os.path.abspath(os.path.expanduser(url))


def load_parameters(path: str | Path) -> AuditParameters:
    """Read a YAML configuration; relative paths in it start at its own folder.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ConfigurationError
        If the file is missing, is no YAML, or does not validate: one sentence about the first
        fault.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no configuration file '{path}'; check the path."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read '{path}': {error}") from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"'{path}' is not valid YAML: {reason}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"'{path}' must hold keys such as name, corpus and contexts.")
    parameters = validate_parameters(content, str(path))
    base = path.resolve().parent
    return parameters.model_copy(
        update={
            "corpus": parameters.corpus.resolved(base),
            "contexts": tuple(c.resolved(base) for c in parameters.contexts),
        }
    )


def validate_parameters(content: dict[str, Any], source: str) -> AuditParameters:
    """Validate a configuration.

    Parameters
    ----------
    content : dict
    source : str
        What to call it in messages.

    Raises
    ------
    ConfigurationError
        One sentence about the first fault.
    """
    try:
        return AuditParameters.model_validate(content)
    except ValidationError as error:
        raise ConfigurationError(f"'{source}': {explain(error, content)}") from error


def explain(error: ValidationError, content: Any) -> str:
    """Say the first fault that pydantic found in one sentence for the person who made it."""
    first = error.errors(include_url=False)[0]
    location = first["loc"]
    place = [p for i, p in enumerate(location) if i + 1 == len(location) or not _is_tag(p)]
    if place and first["type"] != "extra_forbidden" and _is_tag(place[-1]):
        place.pop()  # the fault is that of the whole context, reader or cluster
    where = ".".join(str(part) for part in place) or "the configuration"
    more = error.error_count() - 1
    tail = f" ({more} more fault(s) after this one.)" if more else ""
    kind = first["type"]
    if kind == "extra_forbidden":
        known = _known_keys(location)
        return f"unknown key '{where}'; {nearest(str(place[-1]), known)}{tail}"
    if kind == "union_tag_invalid":
        choices = [c.strip().strip("'") for c in first["ctx"]["expected_tags"].split(",")]
        what = first["ctx"]["discriminator"].strip("'")
        tag = first["ctx"]["tag"]
        return f"{where}: unknown {what} '{tag}'; {nearest(tag, choices)}{tail}"
    if kind == "union_tag_not_found":
        what = first["ctx"]["discriminator"].strip("'")
        return f"{where} needs the key '{what}'{tail}"
    if kind == "missing":
        return f"the key '{where}' is missing{tail}"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], dict | list) else f", but it is {first['input']!r}"
    return f"{where}: {message[0].lower()}{message[1:]}{given}{tail}"


def _tagged() -> dict[str, type[BaseModel]]:
    contexts = {c.model_fields["kind"].default: c for c in KINDS}
    readers = {r.model_fields["reader"].default: r for r in READERS}
    return {**contexts, **readers, "local": LocalCluster, "address": ClusterAddress}


def _is_tag(part: Any) -> bool:
    return isinstance(part, str) and part in _tagged()


def _known_keys(location: tuple[Any, ...]) -> list[str]:
    """Keys that would have been understood where an unknown one stood."""
    for part in reversed(location[:-1]):
        if _is_tag(part):
            return list(_tagged()[part].model_fields)
    return list(AuditParameters.model_fields)
