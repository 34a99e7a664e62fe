"""What is shown of domains in the odd cases. The ordinary ones are in the golden pages."""

from __future__ import annotations

import pytest

from exporter.collectors.domains import DomainsCollector
from kvmhost.virt import STATES
from tests.collected import collected, domain


@pytest.mark.parametrize("state", STATES)
def test_exactly_one_state_holds(state: str) -> None:
    samples, _ = collected(DomainsCollector(), domain(state))
    states = {name: value for name, value in samples.items() if name.startswith("kvm_domain_state")}
    assert len(states) == len(STATES)
    assert [name for name, value in states.items() if value] == [f"kvm_domain_state{{{state}}}"]
