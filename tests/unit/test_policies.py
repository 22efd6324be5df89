"""The sections of policies, as text. What they do is shown on real HAProxy, in tests/integration."""

from __future__ import annotations

import pytest

from haproxy import policies, policy
from haproxy.capabilities import capabilities
from haproxy.model import Balance, RetryOn
from haproxy.policy import Policy
from haproxy.settings import Settings

OLD, NEW = capabilities((2, 6, 12)), capabilities((3, 4, 7))
SETTINGS = Settings()


def lines(of: Policy, settings: Settings = SETTINGS) -> list[str]:
    head, *rest = policies.section(settings, NEW, of).splitlines()
    assert head == f"defaults {of.name}"
    return [line.strip() for line in rest]


def test_there_is_one_for_each() -> None:
    heads = [section.split("\n")[0] for section in policies.sections(SETTINGS, OLD)]
    assert heads == [f"defaults {each.name}" for each in policy.POLICIES]


@pytest.mark.parametrize("each", policy.POLICIES, ids=lambda each: each.kind)
def test_each_says_what_it_is(each: Policy) -> None:
    text = lines(each)
    assert text[0] == ("mode tcp" if each.tcp else "mode http")
    assert ("option httpchk" in text) is each.checked
    assert ("hash-type consistent sdbm avalanche" in text) is (each.balance is Balance.HASH)
    short = each.retry_on is not RetryOn.CONNECT
    assert ("retries 4" in text, "timeout connect 1000ms" in text) == (short, short)
    assert any(line.startswith("http-request disable-l7-retry") for line in text) is (each.retry_on is RetryOn.SAFE)
    assert any(line.startswith("http-request wait-for-body") for line in text) is (each.retry_on is RetryOn.ALL)


@pytest.mark.parametrize("each", [each for each in policy.POLICIES if each.retry_on is RetryOn.CONNECT])
def test_what_reached_a_task_is_not_repeated_by_default(each: Policy) -> None:
    text = lines(each, Settings(hold_timeout=9000, connect_timeout=300))
    assert "retries 30" in text
    assert [line for line in text if line.startswith("retry-on")] == ([] if each.tcp else ["retry-on conn-failure"])


def test_two_of_the_own_timeouts_need_3_4() -> None:
    of_each = [policies.section(SETTINGS, able, policy.DEFAULT).count("set-timeout") for able in (OLD, NEW)]
    assert of_each == [2, 4]


def test_servers_with_a_limit_stay_below_the_placeholder() -> None:
    assert policy.LONGEST_CONNECTIONS * 400 < policy.HOLD_THRESHOLD < policy.HOLD_CONNECTIONS - 20_000
