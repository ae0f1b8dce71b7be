"""Reading a YAML configuration, and saying in a sentence what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from contexture.contexts import KINDS
from contexture.errors import ConfigurationError, nearest
from contexture.readers import READERS
from flows.parameters import AuditParameters, ClusterAddress, LocalCluster


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
    # A misspelt key shows twice, as one unknown and one missing; the first is the one to mend.
    faults = error.errors(include_url=False)
    first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
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
