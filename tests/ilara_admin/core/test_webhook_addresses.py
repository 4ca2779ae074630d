"""Which addresses a channel may have."""

import pytest

from ilara_admin.core.webhooks import address_problem, masked
from ilara_admin.models import ChannelKind

SLACK, DISCORD = ChannelKind.SLACK, ChannelKind.DISCORD
SLACK_URL = "https://hooks.slack.com/services/T0/B0/secretAbCd"
DISCORD_URL = "https://discord.com/api/webhooks/1/secretAbCd"


def test_addresses_of_slack_and_discord__are_allowed() -> None:
    assert not address_problem(SLACK, SLACK_URL)
    assert not address_problem(SLACK, SLACK_URL.replace(".com/", ".com:443/"))
    assert not address_problem(DISCORD, DISCORD_URL)
    assert not address_problem(DISCORD, DISCORD_URL.replace("discord", "discordapp", 1))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "https://hooks.slack.com/",
        SLACK_URL.replace("https", "http"),
        SLACK_URL.replace(".com/", ".com:8443/"),
        SLACK_URL.replace("slack.com", "slack.com.evil.example"),
        SLACK_URL.replace("//hooks", "//evil.example/hooks"),
        SLACK_URL.replace("//hooks", "//evil.example@hooks"),
        SLACK_URL.replace("//hooks.slack.com", "//hooks.slack.com@evil.example"),
        "https://127.0.0.1/services/x",
        "https://[::1/services",
        "https://hooks.slack.com:99999/services/x",
        "https://hooks.sl\u0430ck.com/services/x",
        SLACK_URL + "\nHost: evil.example",
        DISCORD_URL,
        "file:///etc/passwd",
    ],
)
def test_other_addresses__are_refused_with_a_sentence(url: str) -> None:
    assert address_problem(SLACK, url).endswith(".")


def test_further_hosts__are_allowed_as_listed() -> None:
    hosts = ["mattermost.example.com", "chat.example.com:8443", "http://10.0.0.5:8065"]
    for url in (
        "https://mattermost.example.com/hooks/x",
        "https://chat.example.com:8443/hooks/x",
        "http://10.0.0.5:8065/hooks/x",
    ):
        assert not address_problem(SLACK, url, hosts)
        assert address_problem(SLACK, url)
    for url in (
        "http://mattermost.example.com/hooks/x",
        "https://chat.example.com/hooks/x",
        "https://10.0.0.5:8065/hooks/x",
    ):
        assert address_problem(SLACK, url, hosts)


def test_masked_address__shows_host_and_end() -> None:
    assert masked(SLACK_URL) == "hooks.slack.com/…AbCd"
