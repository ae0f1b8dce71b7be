"""The deployment file fits the flow and the example configuration."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.audit import audit
from flows.configuration import load_parameters
from flows.parameters import AuditParameters
from flows.serve import parse_schedule

ROOT = Path(__file__).resolve().parents[2]
CONTENT = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))


def names(content: dict[str, Any]) -> list[str]:
    return [deployment["name"] for deployment in content["deployments"]]


@pytest.fixture(params=CONTENT["deployments"], ids=names(CONTENT))
def deployment(request: pytest.FixtureRequest) -> dict[str, Any]:
    return dict(request.param)


def test_entrypoint_is_the_flow(deployment: dict[str, Any]) -> None:
    path, name = deployment["entrypoint"].split(":")
    spec = importlib.util.spec_from_file_location("entrypoint", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert getattr(module, name).name == audit.name == "audit"


def test_schedule_is_valid_and_has_a_time_zone(deployment: dict[str, Any]) -> None:
    (schedule,) = deployment["schedules"]
    assert parse_schedule(schedule["cron"], schedule["timezone"]).timezone == schedule["timezone"]


def test_overlapping_runs_are_cancelled(deployment: dict[str, Any]) -> None:
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_description_and_tags(deployment: dict[str, Any]) -> None:
    assert deployment["description"].strip()
    assert "contexture" in deployment["tags"]
    assert deployment["work_pool"] == {"name": "contexture"}


def test_parameters_are_all_given_and_those_of_the_example(
    deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = dict(deployment["parameters"])
    assert set(given) == set(audit.parameters.properties)
    assert given.pop("force") is False
    parameters = AuditParameters.model_validate(given)
    # From the top of the checkout, where the runs start.
    monkeypatch.chdir(ROOT)
    assert Path(parameters.corpus.model_dump()["path"]).is_file()
    example = load_parameters(ROOT / "examples" / f"{deployment['name']}.yaml")
    assert parameters.contexts == example.contexts
    assert parameters.corpus.resolved(ROOT) == example.corpus
    assert parameters.store_url == str(ROOT / "abalone.zarr")
    untouched = {"name", "max_rank", "beta", "rank_kept", "seed", "cluster", "chunk_rows"}
    assert parameters.model_dump(include=untouched) == example.model_dump(include=untouched)
