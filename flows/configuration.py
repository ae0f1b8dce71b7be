"""Reading a YAML configuration, and saying in a sentence what is wrong with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from contexture.contexts import KINDS
from contexture.errors import ConfigurationError, nearest
from contexture.readers import READERS
from flows.parameters import AuditParameters, ClusterAddress, LocalCluster


class _RepeatedKeyError(yaml.YAMLError):
    """A key that stands twice in one mapping."""


class _DistinctKeys(yaml.SafeLoader):
    """Refuses a key that stands twice; YAML forbids it, and PyYAML would take the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping, and compare its keys before any merge (``<<``) adds to them."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            before = lines.get((key.tag, key.value))
            if before is not None:
                raise _RepeatedKeyError(
                    f"the key '{key.value}' in line {line} stands in line {before} already; "
                    "keep one of them."
                )
            lines[key.tag, key.value] = line
        return node


def load_parameters(path: str | Path) -> AuditParameters:
    """Read a YAML configuration; relative paths in it start at its own folder.

    Parameters
    ----------
    path : str or Path

    Raises
    ------
    ConfigurationError
        If the file is missing, is no YAML, holds a key twice, or does not validate: one sentence
        about the first fault.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_DistinctKeys)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no configuration file '{path}'; check the path."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read '{path}': {error}") from error
    except _RepeatedKeyError as error:
        raise ConfigurationError(f"'{path}': {error}") from error
    except RecursionError as error:
        raise ConfigurationError(
            f"'{path}' is not valid YAML: its brackets are nested too deeply"
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: such as a date with month 13
        reason = " ".join(str(error).split())[:200]
        raise ConfigurationError(f"'{path}' is not valid YAML: {reason}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"'{path}' must hold keys such as name, corpus and contexts.")
    return validate_parameters(content, str(path)).resolved(path.resolve().parent)


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
    faults = _own_faults(error)
    # A misspelt key shows twice, as one unknown and one missing; the first is the one to mend.
    first = min(faults, key=lambda fault: fault["type"] != "extra_forbidden")
    location = first["loc"]
    where = ".".join(str(part) for part in _without_tags(location)) or "the configuration"
    more = sum(not _is_meant(first, fault) for fault in faults) - 1
    tail = f" ({more} more {'fault' if more == 1 else 'faults'} after this one.)" if more else ""
    kind = first["type"]
    if kind == "extra_forbidden":
        return f"unknown key '{where}'; {nearest(str(location[-1]), _known_keys(location))}{tail}"
    if kind == "union_tag_invalid":
        what = first["ctx"]["discriminator"].strip("'")
        tag = first["ctx"]["tag"]
        choices = _quoted(first["ctx"]["expected_tags"])
        return f"{where}: unknown {what} '{tag}'; {nearest(tag, choices)}{tail}"
    if kind == "union_tag_not_found":
        what = first["ctx"]["discriminator"].strip("'")
        return f"{where} needs the key '{what}'{tail}"
    if kind == "missing":
        return f"the key '{where}' is missing{tail}"
    if kind == "literal_error" and isinstance(first["input"], str):
        choices = _quoted(first["ctx"]["expected"])
        return (
            f"{where}: unknown value '{first['input']}'; {nearest(first['input'], choices)}{tail}"
        )
    return f"{where}{_complaint(first)}{tail}"


def _own_faults(error: ValidationError) -> list[ErrorDetails]:
    """Return all faults but lists that are too short only because their entries are faulty."""
    faults = error.errors(include_url=False)

    def is_echo(fault: ErrorDetails) -> bool:
        place = fault["loc"]
        return fault["type"] == "too_short" and any(
            len(other["loc"]) > len(place) and other["loc"][: len(place)] == place
            for other in faults
        )

    return [fault for fault in faults if not is_echo(fault)]


def _is_meant(unknown: ErrorDetails, missing: ErrorDetails) -> bool:
    """Whether the missing key is the one that the unknown key is a misspelling of."""
    *place, key = missing["loc"] or ("",)
    return (
        (unknown["type"], missing["type"]) == ("extra_forbidden", "missing")
        and list(unknown["loc"][:-1]) == place
        and f"'{key}'" in nearest(str(unknown["loc"][-1]), _known_keys(unknown["loc"]))
    )


def _complaint(fault: ErrorDetails) -> str:
    """Say what is wrong with a value, to follow the place where it stands."""
    kind, context, value = fault["type"], fault.get("ctx", {}), fault["input"]
    given = f", but it is {_shown(value)}"
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f" must be {words} {context[name]:g}{given}"
    if kind == "string_pattern_mismatch" and fault["loc"][-1] in _SHAPES:
        return f" must {_SHAPES[str(fault['loc'][-1])]}{given}"
    if kind == "too_short":
        return f": at least {context['min_length']} entry is needed, but the list is empty"
    if kind == "string_too_short":
        return " must not be empty"
    if kind == "string_type":
        quotes = "; put it between quotes" if isinstance(value, int | float) else ""
        return f" must be text{given}{quotes}"
    for start, words in _KINDS.items():
        if kind.startswith(start):
            return f"{words}{given}"
    message = fault["msg"].removeprefix("Value error, ")
    given = "" if isinstance(value, dict | list) else given
    return f": {message[0].lower()}{message[1:]}{given}"


_LIMITS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_SHAPES = {
    "address": "be the protocol, host and port of a Dask scheduler, such as tcp://127.0.0.1:8786",
    "memory": "be a number and a unit of bytes, such as 4GiB",
    "delimiter": "be one ASCII character, such as ';'",
    "name": "begin with a letter or digit and hold up to 80 letters, digits, '.', '_' or '-', such "
    "as my-data_2",
}
_KINDS = {
    "tuple_type": ": a list is needed",
    "model": ": keys with values are needed",
    "int_": " must be a whole number",
    "float_": " must be a number",
    "finite_number": " must be a finite number",
    "bool_": " must be true or false",
}


def _shown(value: Any) -> str:
    """Write a value as YAML knows it, cut where it is long."""
    if value is None or isinstance(value, bool):
        return {None: "empty", True: "true", False: "false"}[value]
    if isinstance(value, dict | list):
        return "keys with values" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _quoted(text: str) -> list[str]:
    """Return the words between quotes in a message of pydantic's."""
    return re.findall(r"'([^']*)'", text)


def _without_tags(location: tuple[int | str, ...]) -> list[int | str]:
    """Drop the kind of context, reader or cluster that pydantic puts after the place of one."""
    at = {"contexts": 2, "corpus": 1, "cluster": 1}.get(str(location[0]), 0) if location else 0
    return [part for i, part in enumerate(location) if not at or i != at or not _is_tag(part)]


def _tagged() -> dict[str, type[BaseModel]]:
    contexts = {c.model_fields["kind"].default: c for c in KINDS}
    readers = {r.model_fields["reader"].default: r for r in READERS}
    return {**contexts, **readers, "local": LocalCluster, "address": ClusterAddress}


def _is_tag(part: Any) -> bool:
    return isinstance(part, str) and part in _tagged()


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    """Keys that would have been understood where an unknown one stood."""
    for part in reversed(location[:-1]):
        if _is_tag(part):
            return list(_tagged()[str(part)].model_fields)
    return list(AuditParameters.model_fields)
