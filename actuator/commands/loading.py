"""From the flags to the rules and the policy that are in force."""

from __future__ import annotations

import argparse

from actuator import promql
from actuator.rules import config, policy
from actuator.rules.policy import Policy
from actuator.rules.ruleset import RuleSet
from kvmhost.yamltree import InvalidConfig, Problem


def load(options: argparse.Namespace, *, for_server: bool = False) -> tuple[RuleSet, Policy]:
    """Rules and policy; `InvalidConfig` with the problems of both. `for_server`: a server evaluates them."""
    rules, limits = read(options, for_server=for_server)
    return rules.for_server if for_server else rules, limits


def read(options: argparse.Namespace, *, for_server: bool = False) -> tuple[RuleSet, Policy]:
    """Like `load`, with the records that the server makes."""
    rules, limits = RuleSet(()), Policy()
    problems: list[Problem] = []
    try:
        rules = config.load(options.rules, promql.compile_for_server if for_server else config.for_memory)
    except InvalidConfig as error:
        problems += error.problems
    try:
        limits = policy.load(options.policy)
    except InvalidConfig as error:
        problems += error.problems
    if problems:
        raise InvalidConfig(problems)
    return rules, limits
