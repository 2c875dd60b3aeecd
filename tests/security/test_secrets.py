"""A canary in every place that holds a secret: it is in no output, log, error or command line."""

from __future__ import annotations

import os
import resource
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker.process import Dispatcher, until
from click.testing import CliRunner

from dispatcher.cli.root import root
from dispatcher.errors import InvalidSettings
from dispatcher.kafka.properties import check_properties
from dispatcher.kafka.rights import Role
from dispatcher.masking import is_secret, is_unfit_for_flags
from security.site import Site

CANARY = f"canary-{secrets.token_hex(8)}"
SECRET = (
    "sasl.username", "sasl.password", "sasl.oauthbearer.config", "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.client.id", "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.private.key.pem", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password",
)  # fmt: skip
NAMES = {"sasl.username", "sasl.oauthbearer.client.id"}
"""Masked, too, but they may be flags: they are names, not what proves them."""


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the settings of the host."""
    for name in [name for name in os.environ if name.startswith(("DISPATCHER_", "CREDENTIALS_"))]:
        monkeypatch.delenv(name)


def variable(name: str) -> str:
    return f"DISPATCHER_KAFKA__{name.upper().replace('.', '_')}"


def everything_planted(directory: Path, monkeypatch: pytest.MonkeyPatch, *, by: str) -> Path | None:
    """Plant the canary in all secrets: by the environment, a settings file or credentials."""
    database = f"postgresql+psycopg://reports:{CANARY}@127.0.0.1:1/reports"
    if by == "environment":
        for name in SECRET:
            monkeypatch.setenv(variable(name), CANARY)
        monkeypatch.setenv("DISPATCHER_SQL__REPORTS", database)
        return None
    if by == "credentials":
        for name in SECRET:
            (directory / f"kafka.{name}").write_text(f"{CANARY}\n")
        (directory / "sql.reports").write_text(database)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(directory))
        return None
    file = directory / "settings.toml"
    lines = ["[sql]", f'reports = "{database}"', "[kafka]", *(f'"{name}" = "{CANARY}"' for name in SECRET)]
    file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize("by", ["environment", "file", "credentials"])
@pytest.mark.parametrize("words", [("settings",), ("settings", "--json"), ("topics", "check")])
def test_settings_and_errors_show_no_secret_wherever_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str, words: tuple[str, ...]
) -> None:
    file = everything_planted(tmp_path, monkeypatch, by=by)
    more = () if file is None else ("--config", str(file))
    result = CliRunner().invoke(root, [*words, *more])
    assert CANARY not in result.output
    assert CANARY not in repr(result.exception)
    if words == ("topics", "check"):
        assert result.exit_code == 3
    else:
        assert result.output.count("********") >= (len(SECRET) + 1 if result.exit_code == 0 else 0)


@pytest.mark.parametrize("name", SECRET)
def test_a_value_that_the_library_refuses_is_not_shown(name: str) -> None:
    assert is_secret(name)
    for more in (
        {},
        {"security.protocol": "SSL"},
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"},
    ):
        with_null = {name: f"{CANARY}\x00", **more}
        for properties in ({name: CANARY, **more}, with_null):
            assert CANARY not in _fault_of(properties)


def _fault_of(properties: dict[str, str]) -> str:
    """Return what is said against properties, nothing when they are taken."""
    try:
        check_properties(properties)
    except (InvalidSettings, ValueError, TypeError) as error:
        return f"{error} {error!r}"
    return ""


@pytest.mark.parametrize("name", SECRET)
def test_a_secret_is_refused_as_a_flag_since_every_user_sees_those(name: str) -> None:
    result = CliRunner().invoke(root, ["settings", "--kafka", f"{name}={CANARY}"])
    assert CANARY not in result.output
    assert is_unfit_for_flags(name) == (name not in NAMES)
    if name not in NAMES:
        assert result.exit_code == 3
        assert variable(name) in result.output


def test_what_only_leads_to_a_secret_may_be_a_flag() -> None:
    for name in (
        "ssl.key.location", "sasl.oauthbearer.assertion.private.key.file", "ssl.ca.location",
        "sasl.oauthbearer.token.endpoint.url", "sasl.mechanism", "sasl.oauthbearer.scope",
    ):  # fmt: skip
        assert not is_unfit_for_flags(name)


@contextmanager
def without_an_end(directory: Path, *words: str) -> Iterator[Dispatcher]:
    """Run a command that waits for brokers; they do not come, or do not let it in."""
    log = directory / f"{words[0]}.log"
    daemon = Dispatcher("", "", Path(), log)
    daemon._command = [sys.executable, "-m", "dispatcher", *words]
    with daemon:
        yield daemon


def core_limit(daemon: Dispatcher) -> list[str]:
    """Return the limits, soft and hard, of a process's core files."""
    found = [line for line in proc(daemon, "limits").splitlines() if line.startswith("Max core file size")]
    return found[0].split()[4:6]


def proc(daemon: Dispatcher, name: str) -> str:
    return Path(f"/proc/{daemon.pid}/{name}").read_bytes().decode(errors="replace")


@pytest.fixture
def cores() -> Iterator[None]:
    """Let processes dump cores, as far as this one may."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize("command", ["run", "work"])
def test_a_process_shows_no_secret_and_dumps_no_core(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """It waits for brokers that do not answer, with everything logged that the library can say."""
    monkeypatch.setenv("DISPATCHER_KAFKA__SASL_PASSWORD", CANARY)
    monkeypatch.setenv("DISPATCHER_KAFKA__SASL_USERNAME", CANARY)
    monkeypatch.setenv("DISPATCHER_SQL__REPORTS", f"postgresql+psycopg://reports:{CANARY}@127.0.0.1:1/x")
    words = (
        command, "--bootstrap-servers", "127.0.0.1:1", "--log-level", "debug", "--kafka", "debug=all",
        "--kafka", "security.protocol=SASL_PLAINTEXT", "--kafka", "sasl.mechanism=PLAIN",
    )  # fmt: skip
    with without_an_end(tmp_path, *words) as daemon:
        until(lambda: core_limit(daemon) == ["0", "0"], "no core is dumped", 30)
        daemon.says("127.0.0.1:1", 30)
        assert CANARY not in proc(daemon, "cmdline")
        daemon.send(signal.SIGABRT)
        daemon.wait(10)
    assert CANARY not in daemon.text()
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("core")] == []


def test_a_process_that_may_not_be_dumped_says_so() -> None:
    asked = (
        "import ctypes, resource\n"
        "from dispatcher.cli.memory import no_core_dumps\n"
        "no_core_dumps()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert told.split(maxsplit=1) == ["0", "(0, 0)\n"]


@pytest.mark.broker
@pytest.mark.timeout(240)
@pytest.mark.parametrize("role", [Role.READER, Role.OPERATOR, Role.WORKER])
def test_a_broker_that_lets_nobody_in_is_told_of_without_the_secret(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: Role
) -> None:
    """PLAIN, SCRAM and a token that is not given, each with the wrong secret and the library's whole log."""
    for name, value in site.properties(role).items():
        wrong = CANARY if name in {"sasl.password", "sasl.oauthbearer.client.secret"} else value
        monkeypatch.setenv(variable(name), wrong)
    words = ("run", "--bootstrap-servers", site.connection(role).bootstrap, "--log-level", "debug",
             "--kafka", "debug=all", "--wait-seconds", "3")  # fmt: skip
    refused = ("uthentication", "invalid_client", "401")
    with without_an_end(tmp_path, *words) as daemon:
        assert CANARY not in proc(daemon, "cmdline")
        until(lambda: any(word in daemon.text() for word in refused), "the refusal", 30)
    assert "SASL" in daemon.text(), "the library says all that it can say"
    assert CANARY not in daemon.text()
    assert not any(token in daemon.text() for token in site.issuer.issued_tokens)


def test_the_canary_would_be_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same way, with a property that is no secret."""
    monkeypatch.setenv("DISPATCHER_KAFKA__CLIENT_RACK", CANARY)
    assert CANARY in CliRunner().invoke(root, ["settings"]).output
    words = ("run", "--bootstrap-servers", "127.0.0.1:1", "--kafka", f"client.rack={CANARY}")
    with without_an_end(tmp_path, *words) as daemon:
        until(lambda: CANARY in proc(daemon, "cmdline"), "the canary among the flags", 30)
