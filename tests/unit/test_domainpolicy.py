"""The policy in a domain's metadata: what is read, and that what is malformed is said and not guessed."""

import pytest

from kvmhost import domainxml
from kvmhost.domainpolicy import NAMESPACE
from kvmhost.domains import DeclaredPolicy

MIB = 2**20


def declared(*policies: str, namespace: str = NAMESPACE) -> DeclaredPolicy:
    named = (policy.replace("</policy", "</k:policy") for policy in policies)
    metadata = "".join(policy.replace("<policy", f"<k:policy xmlns:k='{namespace}'") for policy in named)
    return domainxml.parse(f"<domain><name>a</name><uuid>u</uuid><metadata>{metadata}</metadata></domain>").policy


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("<policy/>", {}),
        ("<policy min_guarantee='512MiB'/>", {"min_guarantee_bytes": 512 * MIB}),
        ("<policy shares='200' pin='exclusive'/>", {"shares": 200, "pin": "exclusive"}),
        ("<policy opt_out='true'/>", {"opt_out": True}),
        ("<policy opt_out='false'/>", {}),
        ("<policy opt_out='yes'/>", {"faults": ("opt_out: 'yes' is neither true nor false",)}),
        ("<policy shares='-1'/>", {"faults": ("shares: '-1' is not a whole number of shares, from 1 to 999999999",)}),
        ("<policy pin='alone'/>", {"faults": ("pin: unknown 'alone' (known: exclusive, isolated, shared)",)}),
        (
            "<policy min_guarantee='512' shares='2'/>",
            {
                "shares": 2,
                "faults": ("min_guarantee: '512' is not a size: write it like 512MiB or 2GiB (B, KiB, MiB, GiB, TiB)",),
            },
        ),
        ("<policy optout='true'/>", {"faults": ("unknown attribute optout",)}),
        ("<policy><opt_out/></policy>", {"faults": ("unknown element opt_out: the policy is said in attributes",)}),
    ],
)
def test_what_a_policy_says(policy: str, said: dict[str, object]) -> None:
    assert declared(policy) == DeclaredPolicy(**said)  # type: ignore[arg-type]


def test_without_one_nothing_is_declared() -> None:
    assert declared() == declared("<policy opt_out='true'/>", namespace="urn:other") == DeclaredPolicy()


def test_two_of_them_are_a_fault() -> None:
    assert declared("<policy/>", "<policy/>").faults == ("there are 2",)
