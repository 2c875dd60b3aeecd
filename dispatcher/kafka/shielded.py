"""Whether what goes to brokers may be read, or given to somebody else, on the way."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping

from dispatcher.errors import InvalidSettings

_BROKER = re.compile(r"(?:[A-Za-z_]+://)?(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:]+))(?::\d+)?")
_ENCRYPTED = ("ssl", "sasl_ssl")
_NO = ("false", "f", "0", "n", "no", "off")
_YES = ("true", "t", "1", "y", "yes", "on")
_ADVICE = (
    "let it pass with kafka_allow_insecure = true, or DISPATCHER_KAFKA_ALLOW_INSECURE=true, "
    "where nobody else is on that network"
)


def require_shielded(bootstrap: str, properties: Mapping[str, str]) -> None:
    """Return when all brokers are on this machine, or reached encrypted and known to be the right ones.

    Raises InvalidSettings that names what is open, and the setting that allows it. Only the brokers to start
    from are known here; where those are this machine's own, so are the others taken to be.
    """
    afar = [broker for broker in bootstrap.split(",") if not _is_here(broker)]
    faults = [f"{what}; {_ADVICE}" for what in _openings(properties)] if afar else []
    if faults:
        raise InvalidSettings("\n".join(f"brokers {','.join(afar)}: {fault}" for fault in faults))


def _openings(properties: Mapping[str, str]) -> Iterator[str]:
    said = {name: value.strip().lower() for name, value in properties.items()}
    protocol = said.get("security.protocol", "plaintext")
    if protocol not in _ENCRYPTED:
        what = "passwords and messages" if protocol.startswith("sasl") else "messages, and who sends them,"
        wanted = "SASL_SSL" if protocol.startswith("sasl") else "SSL or SASL_SSL"
        yield (
            f"security.protocol is {protocol.upper()}, so {what} could be read and changed on the way:"
            f" set kafka.security.protocol to {wanted}"
        )
    elif said.get("enable.ssl.certificate.verification", "true") in _NO:
        yield "enable.ssl.certificate.verification is off, so anybody could pass for the brokers: leave it on"
    elif said.get("ssl.endpoint.identification.algorithm", "https") == "none":
        yield (
            "ssl.endpoint.identification.algorithm is none, so whoever has any certificate of that authority"
            " could pass for the brokers: leave it at https"
        )
    if said.get("enable.sasl.oauthbearer.unsecure.jwt", "false") in _YES:
        yield "enable.sasl.oauthbearer.unsecure.jwt is on: such tokens anybody can make; use method oidc"
    if said.get("sasl.oauthbearer.token.endpoint.url", "https:").startswith("http:"):
        yield "sasl.oauthbearer.token.endpoint.url is not https, so the client's secret could be read"


def _is_here(broker: str) -> bool:
    form = _BROKER.fullmatch(broker.strip())
    host = ((form["six"] or form["host"]) if form else broker).lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
