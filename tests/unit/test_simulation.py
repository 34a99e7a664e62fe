"""The real engine on a host that is made of data."""

import re
from pathlib import Path

import pytest

from actuator.data.exposition import Parser
from actuator.decision import Decision
from actuator.knobs import HOST, KNOBS, Knob, connect
from actuator.knobs.files import FileKnob
from actuator.placement import HostCpus
from actuator.promql.labels import Labels, make
from actuator.rules import config, policy
from actuator.simulated import shown
from actuator.simulated.simulatedhost import Fixture, Guest
from actuator.simulated.simulation import Simulation
from kvmhost.domains import DeclaredPolicy
from kvmhost.fs import HostFS
from tests.golden import HOSTS
from tests.host import unasked

MIB = 2**20
FASTER = """
groups:
  - name: g
    rules:
      - tune: faster
        because: b
        when: kvm_memory_available_bytes < 1000
        set: {ksm.pages_to_scan: kvm_ksm_pages_to_scan * 1.5}
"""


def series(name: str, **labels: str) -> Labels:
    return make({"__name__": name, **labels})


def simulation(rules: str, fixture: Fixture | None = None, **options: bool) -> Simulation:
    return Simulation(config.loads(rules), policy.load(), fixture or Fixture(), **options)


def told(decisions: tuple[Decision, ...]) -> list[tuple[str, object, object, str]]:
    return [(one.outcome, one.before, one.after, one.detail) for one in decisions]


SHORT = {series("kvm_memory_available_bytes"): 500.0}
PAGES = series("kvm_ksm_pages_to_scan")


def run(model: Simulation, *scrapes: dict[Labels, float], seconds: float = 5.0) -> list[list[tuple[object, ...]]]:
    """What was decided after each of the scrapes."""
    found = []
    for index, scrape in enumerate(scrapes):
        model.feed(index * seconds, scrape.items())
        found.append([decision[:3] for decision in told(model.tick(index * seconds))])
    return found


def test_what_was_written_is_where_the_rule_goes_on_from() -> None:
    with simulation(FASTER) as model:
        assert run(model, *[SHORT | {PAGES: 100.0}] * 3) == [
            [("written", 100, 150)],
            [("written", 150, 225)],
            [("written", 225, 337)],
        ]


def test_in_a_dry_run_nothing_moves() -> None:
    with simulation(FASTER, apply=False) as model:
        assert run(model, *[SHORT | {PAGES: 100.0}] * 2) == [[("would write", 100, 150)]] * 2


def test_data_that_do_not_follow_lead_to_the_same_value_again() -> None:
    with simulation(FASTER, follows=False) as model:
        assert run(model, *[SHORT | {PAGES: 100.0}] * 2) == [[("written", 100, 150)], [("unchanged", 150, None)]]


def test_a_series_that_changes_itself_was_changed_by_someone_else() -> None:
    with simulation(FASTER) as model:
        assert run(model, SHORT | {PAGES: 100.0}, SHORT | {PAGES: 100.0}, SHORT | {PAGES: 400.0}) == [
            [("written", 100, 150)],
            [("written", 150, 225)],
            [("drifted", 400, None)],
        ]


def test_an_exporter_that_is_down_changes_no_knob() -> None:
    with simulation(FASTER) as model:
        full = SHORT | {PAGES: 100.0}
        assert run(model, full, {}, full) == [[("written", 100, 150)], [], [("written", 150, 225)]]
        assert model.faults["faster"] == ()


def test_rules_wait_for_data_that_are_younger_than_their_last_write() -> None:
    with simulation(FASTER) as model:
        model.feed(0, (SHORT | {PAGES: 100.0}).items())
        assert [told(model.tick(time))[0][0] for time in (0, 5)] == ["written", "waiting"]
        model.feed(10, (SHORT | {PAGES: 100.0}).items())
        assert told(model.tick(10))[0][:3] == ("written", 150, 225)


def test_a_knob_without_series_starts_as_the_fixture_says_and_is_shown() -> None:
    with simulation(FASTER, Fixture(values={("ksm.pages_to_scan", HOST): 100})) as model:
        assert run(model, SHORT, SHORT) == [[("written", 100, 150)], [("written", 150, 225)]]


HALF = """
groups:
  - name: g
    rules:
      - tune: half
        because: b
        when: kvm_domain_balloon_usable_bytes / kvm_domain_balloon_actual_bytes > 0.3
        set: {balloon.target: kvm_domain_balloon_actual_bytes - 0.5 * kvm_domain_balloon_usable_bytes}
"""


def guest(usable: float = 768, **more: float) -> dict[Labels, float]:
    """A guest of 1 GiB; sizes in MiB."""
    sizes = {"actual_bytes": 1024, "maximum_bytes": 1024, "usable_bytes": usable} | more
    return {series(f"kvm_domain_balloon_{name}", domain="web", uuid="u"): size * MIB for name, size in sizes.items()}


def test_what_a_guest_uses_stays_as_it_is_when_its_balloon_moves() -> None:
    with simulation(HALF) as model:
        # 30 % a step by the policy; then 10 % and at least 16 MiB beyond the 256 MiB that it uses
        sizes = [decisions[0][2] for decisions in run(model, *[guest()] * 5) if decisions]
        assert sizes == [717 * MIB, 502 * MIB, 379 * MIB, 318 * MIB]
        assert model.host.live(KNOBS["balloon.target"])[(("domain", "web"),)].low == round(256 * 1.1 * MIB)


def test_a_balloon_without_series_moves_what_the_guest_can_give_along() -> None:
    usable = {one: size for one, size in guest().items() if "actual" not in str(one)}
    with simulation(HALF, Fixture(values={("balloon.target", (("domain", "web"),)): 1024 * MIB})) as model:
        sizes = [decisions[0][2] for decisions in run(model, *[usable] * 5) if decisions]
        assert sizes == [717 * MIB, 502 * MIB, 379 * MIB, 318 * MIB]


@pytest.mark.parametrize(
    ("data", "fixture", "why"),
    [
        (guest(stats_age_seconds=60 / MIB), Fixture(), "has not answered for 60 s"),
        ({one: size for one, size in guest().items() if "maximum" not in str(one)}, Fixture(), "reports no balloon"),
        (guest(), Fixture(guests={"web": Guest(refusal="it migrates")}), "it migrates"),
        (guest() | {series("kvm_domain_state", domain="web", uuid="u", state="paused"): 1.0}, Fixture(), "is paused"),
        (guest(), Fixture(guests={"web": Guest(DeclaredPolicy(opt_out=True))}), "own metadata opt it out"),
    ],
)
def test_a_guest_that_must_not_be_touched(data: dict[Labels, float], fixture: Fixture, why: str) -> None:
    with simulation(HALF, fixture) as model:
        model.feed(0, data.items())
        ((outcome, _, _, detail),) = told(model.tick(0))
        assert outcome == "refused"
        assert why in detail


WORDS = """
groups:
  - name: g
    rules:
      - tune: words
        because: b
        when: kvm_memory_available_bytes > 0
        set: {thp.enabled: never, tuned.profile: virtual-host, ksm.sleep_millisecs: "200"}
      - tune: pin
        because: b
        when: kvm_domain_balloon_actual_bytes > 0
        set: {vcpu.affinity: 0-1}
"""


def test_words_states_and_cpus_are_shown_as_the_exporter_does() -> None:
    pins = {"domain": "web", "uuid": "u", "vcpu": "0", "configured": ""}
    data = SHORT | guest() | {
        series("kvm_thp_enabled", mode="always"): 1.0,
        series("kvm_thp_enabled", mode="never"): 0.0,
        series("kvm_tuned_profile_info", active="balanced", mode="manual"): 1.0,
        series("kvm_ksm_sleep_seconds"): 0.02,
        series("kvm_domain_vcpu_affinity_info", effective="3", **pins): 1.0,
    }  # fmt: skip
    cpus = HostCpus(cores=tuple(frozenset({cpu}) for cpu in range(4)), nodes={0: frozenset(range(4))})
    with simulation(WORDS, Fixture(cpus=cpus)) as model:
        assert run(model, data, data)[0] == [
            ("written", "always", "never"),
            ("written", "balanced", "virtual-host"),
            ("written", 20, 200),
            ("written", "3", "0-1"),
        ]
        shows = model.host.scraped(data.items())
        assert {one: value for one, value in shows.items() if data.get(one) != value} == {
            series("kvm_thp_enabled", mode="always"): 0.0,
            series("kvm_thp_enabled", mode="never"): 1.0,
            series("kvm_tuned_profile_info", active="virtual-host", mode="manual"): 1.0,
            series("kvm_ksm_sleep_seconds"): 0.2,
            series("kvm_domain_vcpu_affinity_info", effective="0-1", **pins): 1.0,
        }


PROFILES = """
groups:
  - name: g
    rules:
      - tune: on
        because: b
        when: kvm_memory_available_bytes > 1000
        set: {tuned.profile: virtual-host}
      - tune: off
        because: b
        when: kvm_memory_available_bytes < 1000
        set: {tuned.profile: "off"}
"""


def test_a_tuned_that_applies_no_profile_is_off_and_is_shown_so() -> None:
    none = series("kvm_tuned_profile_info", active="", mode="manual")
    plenty, short = ({series("kvm_memory_available_bytes"): bytes_, none: 1.0} for bytes_ in (2000.0, 500.0))
    with simulation(PROFILES) as model:
        # Not twice in a minute: that is the budget of the policy.
        assert run(model, plenty, short, seconds=60.0) == [
            [("written", "off", "virtual-host")],
            [("written", "virtual-host", "off")],
        ]
        assert model.host.scraped(plenty.items()) == plenty


def test_a_guest_of_an_old_name_has_no_value_of_ours() -> None:
    other = {make({**dict(one), "uuid": "v"}): value for one, value in guest().items()}
    with simulation(HALF) as model:
        assert run(model, guest(), other)[1] == [("written", 1024 * MIB, 717 * MIB)]


# Where the exporter shows knobs

DOCUMENTED = dict(
    re.findall(
        r"^\| `(kvm_\w+)` \| \w+ \| ([^|]*) \|", (Path(__file__).parents[2] / "docs/metrics.md").read_text(), re.M
    )
)


@pytest.mark.parametrize("knob", [knob for knob in KNOBS.values() if knob.metric], ids=lambda knob: knob.name)
def test_the_metric_of_a_knob_exists_and_has_the_labels_of_its_targets(knob: type[Knob]) -> None:
    metric = knob.metric
    assert metric is not None
    labels = {*knob.keys, *dict(metric.labels), *filter(None, [metric.word])}
    assert labels <= set(DOCUMENTED[metric.name].split(", "))
    assert {*metric.along} <= DOCUMENTED.keys()


WHOLE = [host for host in HOSTS if "files" not in host.name]  # of damaged ones, not all knobs can be read
OF_FILES = [name for name, knob in KNOBS.items() if issubclass(knob, FileKnob)]


@pytest.mark.parametrize(
    ("host", "names"),
    [*((host, OF_FILES) for host in WHOLE), (HOSTS[0].with_name("two-numa-nodes"), ["hugepages.pool"])],
    ids=lambda value: value.name if isinstance(value, Path) else len(value),
)
def test_the_exporter_shows_what_knobs_read(host: Path, names: list[str]) -> None:
    knobs = connect(HostFS(host), unasked(), lambda: 0.0)
    page = Parser(lambda one: one).parse((host / "expected.prom").read_text(), openmetrics=False)
    read = {(name, target): one.value for name in names for target, one in knobs[name].live().items()}
    assert read == {
        (name, target): one.value for name in names for target, one in shown.values(KNOBS[name], page.items()).items()
    }
