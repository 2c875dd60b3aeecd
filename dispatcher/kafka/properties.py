"""Which librdkafka properties may be passed through from settings, and why the others may not.

What is in neither list is refused too: what a property does that a newer library brings nobody here knows.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

from confluent_kafka import Consumer, KafkaException, Producer

from dispatcher.errors import InvalidSettings
from dispatcher.kafka.faults import error_of
from dispatcher.masking import masked as mask

_OWN = "the dispatcher names it itself"
_COMMIT = "the promise of one committed record depends on it"
_TIME = "a hidden repetition of a commit is found by its time, which this would change"
_MEMBER = "how fast a hand-over is depends on it"
_OFFSETS = "where reading begins comes from the ledger alone"
_SHARD = "the shard of a job decides its partition"
_ORDER = "a batch must fit the queue and be told of as a whole"
_CODE = "it would load code into the process"
_CALLBACK = "callbacks are the dispatcher's own"
_TEST = "it replaces the cluster by a mock without isolation or fencing"

REFUSED: Mapping[str, str] = {
    "bootstrap.servers": "use the setting bootstrap_servers",
    "metadata.broker.list": "use the setting bootstrap_servers",
    "client.id": _OWN,
    "group.*": _OWN,
    "transactional.id": _OWN,
    "transaction.*": _TIME,
    "enable.idempotence": _COMMIT,
    "enable.gapless.guarantee": _COMMIT,
    "acks": _COMMIT,
    "request.required.acks": _COMMIT,
    "isolation.level": _COMMIT,
    "max.in.flight*": _COMMIT,
    "broker.version.fallback": _COMMIT,
    "api.version.request*": _COMMIT,
    "retries": _TIME,
    "message.send.max.retries": _TIME,
    "retry.backoff*": _TIME,
    "reconnect.backoff*": _TIME,
    "socket.timeout.ms": _TIME,
    "socket.max.fails": _TIME,
    "request.timeout.ms": _TIME,
    "message.timeout.ms": _TIME,
    "delivery.timeout.ms": _TIME,
    "linger.ms": _TIME,
    "queue.buffering.*": _ORDER,
    "queuing.strategy": _ORDER,
    "queue.*": _ORDER,
    "message.max.bytes": "the limit of each topic decides (max.message.bytes)",
    "topic.metadata.propagation.max.ms": "an unknown topic must be told before the transaction times out",
    "delivery.report.only.error": _ORDER,
    "produce.offset.report": _ORDER,
    "session.timeout.ms": _MEMBER,
    "heartbeat.interval.ms": _MEMBER,
    "max.poll.interval.ms": _MEMBER,
    "partition.assignment.strategy": _MEMBER,
    "coordinator.query.interval.ms": _MEMBER,
    "enable.auto.commit": _OFFSETS,
    "auto.commit.*": _OFFSETS,
    "enable.auto.offset.store": _OFFSETS,
    "enable.partition.eof": _OFFSETS,
    "auto.offset.reset": _OFFSETS,
    "offset.store.*": _OFFSETS,
    "partitioner*": _SHARD,
    "sticky.partitioning.linger.ms": _SHARD,
    "msg_order_cmp": _ORDER,
    "allow.auto.create.topics": "topics are made by `dispatcher topics ensure`",
    "plugin.library.paths": _CODE,
    "ssl.engine.*": _CODE,
    "ssl.providers": _CODE,
    "sasl.kerberos.kinit.cmd": "it would run a command; the library's own is used",
    "test.mock.*": _TEST,
    "internal.*": "it is the library's own",
    "log.queue": "the library's log goes into the dispatcher's",
    "log.thread.name": "the library's log goes into the dispatcher's",
    "logger": _CALLBACK,
    "interceptors": _CALLBACK,
    "opaque": _CALLBACK,
    "default.topic.config": _CALLBACK,
    "default_topic_conf": _CALLBACK,
    "enabled_events": _CALLBACK,
    "on_delivery": _CALLBACK,
    "on_commit": _CALLBACK,
    "callback": _CALLBACK,
}
"""Property name to the reason why it is not passed through; a `*` at the end stands for any ending."""

PASSED = (
    *("security.protocol", "sasl.*", "ssl.*", "enable.ssl.certificate.verification", "https.ca.*"),
    *("enable.sasl.oauthbearer.unsecure.jwt", "client.rack", "client.dns.lookup"),
    *("compression.*", "batch.*", "fetch.*", "max.partition.fetch.bytes", "receive.message.max.bytes"),
    *("message.copy.max.bytes", "check.crcs", "socket.*", "broker.address.*", "connections.max.idle.ms"),
    *("metadata.*", "topic.metadata.refresh.*", "enable.metrics.push", "debug", "log_level"),
    "log.connection.close",
)
"""Properties that are passed through, unless refused above: encryption, who one is, sizes, sockets, names."""


def check_properties(properties: Mapping[str, str]) -> None:
    """Raise InvalidSettings, naming every property that is refused, unknown or malformed, with the reason."""
    faults = list(_faults(properties))
    if not faults and (fault := _fault_of(properties)):
        faults.append(f"kafka properties: {fault}")
    if faults:
        raise InvalidSettings("\n".join(faults))


def refusal(name: str) -> str | None:
    """Return why a property is not passed through, None when it may be."""
    if name in REFUSED:
        return REFUSED[name]
    if name.endswith("_cb"):
        return _CALLBACK
    for pattern, reason in REFUSED.items():
        if pattern.endswith("*") and name.startswith(pattern[:-1]):
            return reason
    return None


def is_passed(name: str) -> bool:
    """Return whether a property is one of those that may be passed through, if it is not refused."""
    return any(
        name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in PASSED
    )


def masked(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the properties fit to be shown: secret values as asterisks."""
    return {name: str(mask(name, value)) for name, value in properties.items()}


def _faults(properties: Mapping[str, str]) -> Iterator[str]:
    for name, value in properties.items():
        if reason := refusal(name):
            yield f"kafka property {name} cannot be set: {reason}"
        elif "No such configuration property" in (fault := _fault_of({name: value}) or ""):
            yield f"kafka property {name} is unknown to the client library{_nearest(name)}"
        elif not is_passed(name):
            yield f"kafka property {name} cannot be set: it is not among those that are passed through"
        elif "Invalid value" in fault or "Expected" in fault:
            yield f"kafka property {name} cannot be {mask(name, value)!r}: {fault}"


def _fault_of(properties: Mapping[str, str]) -> str | None:
    """Return what the library says against the properties, for a producer and a consumer."""
    quiet = {**properties, "log_level": 0}
    try:
        Producer(quiet)
        Consumer({**quiet, "group.id": "check"}).close()
    except KafkaException as failure:
        return error_of(failure).str()
    return None


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(name, _COMMON, 1)
    return f"; did you mean {near[0]}?" if near else ""


_COMMON = (
    *("security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"),
    *("sasl.oauthbearer.config", "sasl.oauthbearer.method", "sasl.oauthbearer.client.id"),
    *("sasl.oauthbearer.client.secret", "sasl.oauthbearer.token.endpoint.url", "sasl.kerberos.keytab"),
    *("sasl.kerberos.principal", "sasl.kerberos.service.name", "ssl.ca.location", "ssl.ca.pem"),
    *("ssl.certificate.location", "ssl.certificate.pem", "ssl.key.location", "ssl.key.pem"),
    *("ssl.key.password", "ssl.keystore.location", "ssl.keystore.password", "ssl.cipher.suites"),
    *("ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification"),
    *("compression.type", "compression.level", "batch.size", "client.rack", "debug", "log_level"),
    *("socket.keepalive.enable", "socket.nagle.disable", "broker.address.family", "broker.address.ttl"),
    *("metadata.max.age.ms", "connections.max.idle.ms", "socket.connection.setup.timeout.ms"),
)
