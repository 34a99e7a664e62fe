"""Rules that are asked of a server, which scrapes the model host every 15 s, while the actuator ticks every 5 s."""

from pathlib import Path

import pytest

from actuator.rules import config
from tests.scenarios.model import Host, Run

SHORT = 2048
RULES = """
groups:
  - name: g
    rules:
      - record: short
        expr: kvm_memory_available_bytes / kvm_memory_total_bytes < 0.2
      - tune: faster
        because: "It is a test."
        when: kvm_memory_available_bytes / kvm_memory_total_bytes < 0.2
        set:
          ksm.pages_to_scan: kvm_ksm_pages_to_scan * 1.5
"""


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path, available=SHORT)


@pytest.fixture
def run(host: Host) -> Run:
    return Run(host, rules=config.loads(RULES).for_server, server_interval=15.0)


@pytest.mark.parametrize("apply", [True, False])
def test_a_rule_acts_once_on_each_scrape_of_the_server(host: Host, apply: bool) -> None:
    with Run(host, apply=apply, rules=config.loads(RULES).for_server, server_interval=15.0) as run:
        decisions = run.tick(9)
        word = "written" if apply else "would write"
        assert [(decision.time, decision.outcome) for decision in decisions if decision.outcome != "settled"] == [
            (15, word), (20, "waiting"), (25, "waiting"), (30, word), (35, "waiting"), (40, "waiting"), (45, word)
        ]  # fmt: skip
        assert host.ksm("pages_to_scan") == (337 if apply else 100)
        assert "the data are older than the last write" in {decision.detail for decision in decisions}


def test_the_server_makes_the_records(run: Run) -> None:
    with run:
        run.tick(4)
        assert all("0.2" not in query or "kvm_memory_available_bytes" in query for query in run.server.queries)
        assert "short" not in run.faults
        assert run.faults["faster"] == ()


def test_a_server_without_the_data_decides_nothing(host: Host, run: Run) -> None:
    host.is_up = False
    with run:
        assert run.tick(4) == []
        assert run.faults["faster"] == ("waits for data of kvm_memory_available_bytes, kvm_memory_total_bytes",)


def test_a_server_that_does_not_scrape_any_more_decides_nothing(run: Run) -> None:
    with run:
        run.tick(3)
        run.now += 102
        assert run.tick() == []
        (fault,) = run.faults["faster"]
        assert fault.endswith(
            'the newest sample of {__name__="kvm_memory_available_bytes"} is 107 s old, more than 1m30s'
        )


def test_a_server_that_cannot_be_asked_decides_nothing(run: Run) -> None:
    with run:
        run.tick(3)
        run.server.envelopes["vector(1)"] = {"status": "error", "errorType": "unavailable", "error": "starting"}
        assert run.tick(3) == []
        assert run.faults["faster"] == ("the data of this tick are missing",)


def test_the_age_of_what_was_decided_on_is_that_of_the_servers_samples(host: Host, run: Run) -> None:
    with run:
        run.tick(2)
        assert run.engine.decided_as_of is None
        run.tick(3)  # the server has scraped at 15 s, and it is 25 s
        assert run.engine.decided_as_of == 15
        host.is_up = False
        run.tick(2)
        assert run.engine.decided_as_of == 15


def test_without_a_server_it_is_that_of_the_last_scrape(host: Host) -> None:
    with Run(host, rules=config.loads(RULES)) as run:
        run.tick(3)
        assert run.engine.decided_as_of == 15
        host.is_up = False
        run.tick(2)
        assert run.engine.decided_as_of == 15
