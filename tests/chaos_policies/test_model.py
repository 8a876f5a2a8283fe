"""The policy format: what is taken, and that every mistake is told at its place."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayx.chaos import Policy, load_policies, policies_of
from gatewayx.chaos.sample import is_hit, nth_draw, value_draw
from gatewayx.config import ConfigError

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))

CONTRACT = """
metadata: {name: late-stage}
spec:
  selector: {service: frontend, namespace: demo}
  rules:
    - match:
        method:  {exact: GET}
        path:    {prefix: /api/}
        headers: [{name: x-user-id, regex: "^test-[0-9]+$"}]
      fault:
        percentage: 50
        start_delay_ms: 200
        duration_seconds: 300
        delay: {fixed_delay_ms: 1000}
        abort: {httpStatus: 503, body: "optional text"}
"""


def with_fault(**fault: Any) -> dict[str, Any]:
    whole = {"percentage": 1, **fault}
    return {"metadata": {"name": "p"}, "spec": {"rules": [{"fault": whole}]}}


def faults_of(*documents: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        policies_of(documents)
    return [str(fault) for fault in caught.value.faults]


def test_the_contract_is_taken() -> None:
    policy = Policy.model_validate(yaml.safe_load(CONTRACT))
    assert policy.name == "late-stage"
    fault = policy.spec.rules[0].fault
    assert fault.abort is not None
    assert fault.delay is not None
    assert (fault.abort.httpStatus, fault.delay.fixed_delay_ms) == (503, 1000)


def test_an_absent_selector_and_match_are_for_all() -> None:
    policy = Policy.model_validate(with_fault(abort={"httpStatus": 500}))
    assert (policy.spec.selector.service, policy.spec.selector.namespace) == ("*", "*")
    assert policy.spec.rules[0].match.path is None


def test_every_mistake_is_told_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        "metadata: {name: Late_Stage}\n"
        "spec:\n"
        "  rulez: 1\n"
        "  selector: {service: 5}\n"
        "  rules:\n"
        "    - match:\n"
        "        method: {exact: GET, prefix: G}\n"
        '        path: {regex: "("}\n'
        '        headers: [{name: "a b", exact: x}, {exact: y}]\n'
        "      fault:\n"
        "        percentage: 101\n"
        "        start_delay_ms: -1\n"
        "        duration_seconds: soon\n"
        "        delay: {fixed_delay_ms: 30001}\n"
        "        abort: {httpStatus: 200, body: 5}\n"
        "        reset: true\n"
        "        truncate: {after_bytes: -1}\n"
        "    - fault: {percentage: 1}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_policies(str(file))
    told = {(fault.line, fault.path) for fault in caught.value.faults}
    assert told == {
        (1, "metadata.name"),
        (3, "spec.rulez"),
        (4, "spec.selector.service"),
        (7, "spec.rules[0].match.method"),
        (8, "spec.rules[0].match.path.regex"),
        (9, "spec.rules[0].match.headers[0].name"),
        (9, "spec.rules[0].match.headers[1].name"),
        (11, "spec.rules[0].fault.percentage"),
        (12, "spec.rules[0].fault.start_delay_ms"),
        (13, "spec.rules[0].fault.duration_seconds"),
        (14, "spec.rules[0].fault.delay.fixed_delay_ms"),
        (15, "spec.rules[0].fault.abort.httpStatus"),
        (15, "spec.rules[0].fault.abort.body"),
        (16, "spec.rules[0].fault.reset"),
        (17, "spec.rules[0].fault.truncate"),
        (17, "spec.rules[0].fault.truncate.after_bytes"),
        (18, "spec.rules[1].fault"),
    }


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({}, "fault: must have a delay or an abort (or reset, truncate, throttle)"),
        (
            {"delay": {"fixed_delay_ms": 30001}},
            "fault.delay.fixed_delay_ms: is 30001 ms; the longest delay is 30000 ms",
        ),
        (
            {"abort": {"httpStatus": 200}},
            "fault.abort.httpStatus: must be 400 to 599 (200 to 599 with allow_success: true)",
        ),
        (
            {"abort": {"httpStatus": 199, "allow_success": True}},
            "fault.abort.httpStatus: must be 200 to 599",
        ),
        (
            {"abort": {"httpStatus": 503, "bdy": ""}},
            "fault.abort.bdy: unknown key; did you mean body?",
        ),
        ({"delay": {}}, "fault.delay: must have either fixed_delay_ms or distribution"),
        (
            {"delay": {"distribution": "uniform", "min_ms": 5}},
            "fault.delay.max_ms: is required by distribution uniform",
        ),
        (
            {"delay": {"distribution": "uniform", "min_ms": 5, "max_ms": 4}},
            "fault.delay.min_ms: must not be above max_ms",
        ),
        (
            {"delay": {"fixed_delay_ms": 5, "max_ms": 4}},
            "fault.delay.max_ms: is not a parameter of fixed_delay_ms",
        ),
        (
            {"abort": {"httpStatus": 503}, "throttle": {"bytes_per_second": 5}},
            "fault.throttle: abort leaves no response to throttle",
        ),
        (
            {"abort": {"httpStatus": 503}, "percentage": "5"},
            "fault.percentage: must be a number",
        ),
        ({"reset": True, "seed": -1}, "fault.seed: must be at least 0"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault: dict[str, Any], told: str) -> None:
    assert faults_of(with_fault(**fault)) == [f"spec.rules[0].{told}"]


@pytest.mark.parametrize(
    "fault",
    [
        {"abort": {"httpStatus": 200, "allow_success": True}},
        {"percentage": 0.25, "delay": {"fixed_delay_ms": 30000}},
        {"delay": {"fixed_delay_ms": 0}},
        {"delay": {"distribution": "normal", "mean_ms": 100, "stddev_ms": 10.5}},
        {"delay": {"distribution": "pareto", "scale_ms": 100, "shape": 1.5}},
        {"delay": {"distribution": "uniform", "min_ms": 1, "max_ms": 2}, "reset": True},
        {"truncate": {"after_bytes": 0}, "throttle": {"bytes_per_second": 1}},
        {"reset": True, "sample_by": {"header": "x-user"}, "seed": 7, "max_active_faults": 3},
    ],
)
def test_what_goes_beyond_the_contract_is_taken(fault: dict[str, Any]) -> None:
    assert policies_of([with_fault(**fault)])


def test_of_several_the_bad_one_is_named() -> None:
    good = with_fault(reset=True)
    assert faults_of(good, 5, with_fault()) == [
        "[1]: must be a map",
        "[2].spec.rules[0].fault: must have a delay or an abort (or reset, truncate, throttle)",
    ]
    assert faults_of(good, good) == ["[1].metadata.name: p is there twice"]


def test_a_directory_is_read_whole(tmp_path: Path) -> None:
    second = CONTRACT.replace("late-stage", "second")
    (tmp_path / "a.yaml").write_text(f"{CONTRACT}---\n{second}")
    (tmp_path / "b.json").write_text(json.dumps(with_fault(reset=True)))
    (tmp_path / "notes.txt").write_text("no policy")
    names = [policy.name for policy in load_policies(str(tmp_path))]
    assert names == ["late-stage", "second", "p"]


def test_a_file_without_policies_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    file.write_text("---\n---\n")
    with pytest.raises(ConfigError, match="holds no policy"):
        load_policies(str(file))


def test_the_rules_of_the_vectors_are_policies() -> None:
    for vector in VECTORS["matching"]:
        policies_of([{"metadata": {"name": "p"}, "spec": {"rules": vector["rules"]}}])


def test_draws_are_those_of_the_vectors() -> None:
    for draw in VECTORS["draws"]:
        value = draw.get("value")
        seed = draw["seed"]
        found = nth_draw(seed, draw["n"]) if value is None else value_draw(seed, value.encode())
        assert found == int(draw["draw"])
    # The first outputs of the published SplitMix64 for seed 0.
    assert [nth_draw(0, n) for n in (0, 1)] == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]
    for vector in VECTORS["sampling"]:
        hits = [n for n in range(200) if is_hit(vector["percentage"], nth_draw(vector["seed"], n))]
        assert hits == vector["hits"]
