"""The JSON Schemas of rule files and of the policy, for editors (pure). `config` checks more, and is what decides."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from actuator.knobs import KNOBS
from actuator.rules import keys
from actuator.rules.keys import Form, Table


def rule_files() -> Form:
    """The schema of a rule file."""
    tune = _mapping(
        keys.TUNE,
        {
            "set": {**_knobs(), "minProperties": 1},
            "place": _mapping(keys.PLACE),
            "allocate": _mapping(keys.ALLOCATE),
            "limits": _mapping(keys.LIMITS),
            "require_fresh": {
                "type": "object",
                "patternProperties": {f"^{keys.AGE_METRIC}$": keys.DURATION_FORM},
                "additionalProperties": False,
            },
            "verify": _mapping(keys.VERIFY),
        },
    )
    tune["oneOf"] = [{"required": [action]} for action in keys.ACTIONS]
    record = _mapping(keys.RECORD)
    # Not oneOf: an editor shall complain about the rule that is meant, and not about the other.
    rule = {"if": {"required": ["record"]}, "then": record, "else": tune}
    group = _mapping(keys.GROUP, {"rules": _list(rule)})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Rules of kvmtune-actuator",
        "type": "object",
        "properties": {"groups": _list(group)},
        "required": ["groups"],
        "additionalProperties": False,
    }


def policy_file() -> Form:
    """The schema of the policy."""
    limits = {name: _mapping(keys.LIMITS) for name in KNOBS}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Policy of kvmtune-actuator",
        "type": "object",
        "properties": {
            "limits": {"type": "object", "properties": limits, "additionalProperties": False},
            "guests": _list(_mapping(keys.GUEST)),
            "blast_radius": _mapping(keys.RADIUS),
        },
        "additionalProperties": False,
    }


FILES: Mapping[str, Callable[[], Form]] = {"rules": rule_files, "policy": policy_file}


def text(file: str) -> str:
    """The schema of one of `FILES` as JSON."""
    return json.dumps(FILES[file](), indent=2) + "\n"


def _mapping(table: Table, forms: Mapping[str, Form] | None = None) -> dict[str, object]:
    made = forms or {}
    return {
        "type": "object",
        "properties": {key.name: {"description": key.meaning, **key.form, **made.get(key.name, {})} for key in table},
        "required": list(keys.required(table)),
        "additionalProperties": False,
    }


def _knobs() -> dict[str, object]:
    properties = {
        name: {"description": knob.summary, **({"enum": list(knob.words)} if knob.words else keys.PROMQL)}
        for name, knob in KNOBS.items()
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _list(item: Form) -> Form:
    return {"type": "array", "items": item}
