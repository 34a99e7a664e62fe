"""The JSON Schemas of rule files and policy: they are as the code says, and agree with the reader."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from actuator.rules import config, policy, schema
from kvmhost.yamltree import InvalidConfig
from tests import golden

TOP = Path(__file__).parents[2]
VALIDATORS = {file: jsonschema.Draft202012Validator(json.loads(schema.text(file))) for file in schema.FILES}


class Yaml12(yaml.SafeLoader):
    """Editors read YAML 1.2, to which `off` and `12:30` are text."""


Yaml12.yaml_implicit_resolvers = {}
Yaml12.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789"))
Yaml12.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+\.[0-9]+$"), list("-+0123456789"))
Yaml12.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(true|false)$"), list("tf"))


def problems(text: str, file: str = "rules") -> list[str]:
    return sorted(error.message for error in VALIDATORS[file].iter_errors(yaml.load(text, Yaml12)))


@pytest.mark.parametrize("file", schema.FILES)
def test_it_is_a_schema(file: str) -> None:
    jsonschema.Draft202012Validator.check_schema(VALIDATORS[file].schema)


@pytest.mark.parametrize("file", schema.FILES)
def test_the_committed_schema_is_that_of_the_code(file: str) -> None:
    assert golden.SCHEMAS[file].read_text() == schema.text(file), "make golden"


def test_the_shipped_policy_is_valid() -> None:
    assert problems(policy.DEFAULT_PATH.read_text(), "policy") == []


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        ("{}", True),
        ("limits: {ksm.pages_to_scan: {max: 500, step: 50%}}", True),
        ("limits: {ksm.pages_to_scam: {max: 500}}", False),
        ("limits: {ksm.pages_to_scan: {most: 500}}", False),
        ("guests: [{match: web-*, min_guarantee: 1GiB, opt_out: true, pin: exclusive}]", True),
        ("guests: [{min_guarantee: 1GiB}]", False),
        ("guests: [{match: web-*, pin: alone}]", False),
        ("blast_radius: {share: 30%, at_least: 2}", True),
        ("blast_radius: {share: a third}", False),
        ("blast_radius: 30%", False),
        ("guest: []", False),
    ],
)
def test_a_policy_is_valid_for_the_schema_as_for_the_reader(text: str, is_valid: bool) -> None:
    assert (problems(text, "policy") == []) == is_valid
    if is_valid:
        policy.loads(text)
    else:
        with pytest.raises(InvalidConfig):
            policy.loads(text)


@pytest.mark.parametrize(
    "file",
    sorted((TOP / "rules").glob("[!p]*/*.yml")) + sorted((TOP / "rules").glob("*.yml")),
    ids=lambda file: file.name,
)
def test_the_shipped_rules_are_valid(file: Path) -> None:
    if not file.name.endswith(".test.yml"):
        assert problems(file.read_text()) == []


RULE = """
groups:
  - name: g
    rules:
      - tune: a
        because: b
        when: up == 0
        set: {ksm.run: 1}
"""


@pytest.mark.parametrize(
    ("keys", "is_valid"),
    [
        ("", True),
        ("mode: off", True),
        ("mode: on", False),
        ("for: 1m30s", True),
        ("for: 90", False),
        ("every: ''", False),
        ("priority: high", False),
        ("on_clear: restore", True),
        ("on_clear: reset", False),
        ("persist: false", True),
        ("persist: often", False),
        ("bogus: 1", False),
        ("place: {knob: vcpu.affinity, strategy: spread}", False),
        ("limits: {writes_per_minute: 3}", True),
        ("limits: {writes_per_minute: 0}", False),
        ("limits: {stride: 3}", False),
        ("verify: {expr: up == 1, within: 10s, else: revert}", True),
        ("verify: {expr: up == 1}", False),
        ("verify: {expr: up == 1, within: 10s, else: keep}", False),
        ("require_fresh: {x_age_seconds: 10s}", True),
        ("require_fresh: {x_age: 10s}", False),
        ("require_fresh: {x_age_seconds: 10}", False),
    ],
)  # fmt: skip
def test_it_agrees_with_the_reader(keys: str, is_valid: bool) -> None:
    text = f"{RULE}        {keys}\n"
    assert (problems(text) == []) == is_valid
    if is_valid:
        assert config.loads(text).tunes
    else:
        with pytest.raises(InvalidConfig):
            config.loads(text)


@pytest.mark.parametrize(
    "text",
    [RULE.replace("ksm.run", "ksm.rum"), RULE.replace("set: {ksm.run: 1}", "set: {}"), "groups: 7", "gruops: []"],
)
def test_it_refuses_what_the_reader_refuses(text: str) -> None:
    assert problems(text)
    with pytest.raises(InvalidConfig):
        config.loads(text)
