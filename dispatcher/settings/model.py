"""Every setting: its name, default, limits and the sentence that describes it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from dispatcher.errors import InvalidSettings
from dispatcher.settings import forms

ENV_PREFIX = "DISPATCHER_"

_HOSTNAME = socket.gethostname()


def flag_name(setting: str) -> str:
    """Return the flag of a setting, e.g. `--bootstrap-servers`."""
    return "--" + setting.replace("_", "-")


def env_name(setting: str) -> str:
    """Return the environment variable of a setting, e.g. `DISPATCHER_BOOTSTRAP_SERVERS`."""
    return ENV_PREFIX + setting.upper()


WORK = frozenset({
    "seats_least", "seats_most", "drain_seconds", "work_topics", "work_begin", "work_address",
    "http_allow_private", "shell_allow", "python_allow", "sql",
})  # fmt: skip
"""Settings of workers alone."""


class Settings(BaseSettings):
    """Every setting with its default. Build it with `load`, which knows the sources."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        allow_inf_nan=False,
        validate_default=True,
    )

    bootstrap_servers: Annotated[str | None, AfterValidator(forms.broker_list)] = Field(
        None,
        description="Kafka brokers to start from, host:port, separated by commas",
        examples=["localhost:9092"],
    )
    schedule: Path = Field(
        Path("schedule/schedule.json"), description="The schedule file", examples=["schedule/schedule.json"]
    )
    schedule_trust: Literal["refuse", "warn", "off"] = Field(
        "refuse",
        description="What becomes of a schedule file that others than root and this user may change: "
        "refuse, warn or off",
        examples=["warn"],
    )
    prefix: Annotated[str, AfterValidator(forms.topic_prefix)] = Field(
        "dispatcher",
        description="What the names of topics, transactional ids and the group begin with",
        examples=["dispatcher"],
    )
    shards: int = Field(4, ge=1, le=1024, description="Shards of the jobs; the ledger pins it", examples=[4])
    instance: Annotated[str, AfterValidator(forms.plain_name)] = Field(
        _HOSTNAME,
        description="Name of this replica, the same after a restart; the host name by default",
        examples=["dispatcher-0"],
    )
    session_seconds: float = Field(
        6,
        ge=1,
        le=300,
        description="How long a replica may be silent before others take its shards; brokers bound it",
        examples=[6],
    )
    lock_dir: Path | None = Field(
        None,
        description="Where the lock lies that keeps the instance single on its machine; "
        "$RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR, else the temporary directory by default",
        examples=["/run/dispatcher"],
    )
    max_file_bytes: ByteSize = Field(
        ByteSize(64 * 1024 * 1024),
        ge=2,
        description="Largest schedule file that is read; units such as 64MiB are understood",
        examples=["64MiB"],
    )
    poll_seconds: float = Field(
        5, ge=0.05, le=3600, description="Longest time a change of the file goes unseen", examples=[5]
    )
    removal_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="A file that removes more than this share of the jobs is held",
        examples=[0.5],
    )
    removal_least: int = Field(
        5, ge=1, description="A file that removes fewer jobs than this is never held", examples=[5]
    )
    stale_hold_seconds: float = Field(
        120,
        ge=0,
        description="How long a superseded file is held before it counts as a roll-back",
        examples=[120],
    )
    clock_jump_limit_seconds: float = Field(
        3600, gt=0, description="A clock that jumps further than this holds the shards", examples=[3600]
    )
    catch_up_per_second: int = Field(
        1000,
        ge=0,
        description="Most missed fires that each shard sends in a second; 0 is no limit",
        examples=[1000],
    )
    catch_up_most: int = Field(
        100_000,
        ge=0,
        description="Most missed fires of one job that catchUp all sends after an outage; 0 is no limit",
        examples=[100_000],
    )
    batch_messages: int = Field(
        2000, ge=1, le=10_000, description="Most messages in one transaction", examples=[2000]
    )
    stage_ahead_seconds: float = Field(
        2,
        ge=0,
        le=2,
        description="How long before its instant a burst may be written, to be committed at it; 0: never",
        examples=[2],
    )
    heartbeat_seconds: float = Field(
        300, gt=0, description="Longest silence of a shard in the ledger", examples=[300]
    )
    address: Annotated[str | None, AfterValidator(forms.address)] = Field(
        None,
        description="Where a dispatcher tells how it is over HTTP, host:port; nowhere by default",
        examples=["127.0.0.1:9464"],
    )
    metrics_per_job: Annotated[tuple[str, ...], NoDecode, BeforeValidator(forms.names)] = Field(
        (),
        max_length=100,
        description="Jobs whose fires are counted by name too, separated by commas; at most 100",
        examples=["nightly-report,heartbeat"],
    )
    wait_seconds: float | None = Field(
        None, ge=0, description="How long to wait for Kafka at the start; for ever by default", examples=[60]
    )
    stop_seconds: float = Field(
        10, gt=0, le=3600, description="How long a stop may take before it is forced", examples=[10]
    )
    partitions_jobs: int = Field(
        12,
        ge=1,
        le=10_000,
        description="Partitions of each job topic, a multiple of the shards",
        examples=[12],
    )
    replication: int | None = Field(
        None,
        ge=1,
        le=100,
        description="Replication factor of new topics; the broker's default if not set",
        examples=[3],
    )
    seats_least: int = Field(
        1, ge=1, le=10_000, description="Runs that a worker has seats for at the least", examples=[1]
    )
    seats_most: int = Field(
        64, ge=1, le=10_000, description="Runs that a worker has seats for at the most", examples=[64]
    )
    drain_seconds: float = Field(
        30, gt=0, le=86_400, description="How soon workers are to have run what waits", examples=[30]
    )
    work_topics: Annotated[tuple[str, ...], NoDecode, BeforeValidator(forms.names)] = Field(
        (),
        description="Topics of jobs' own that workers read beside the lanes, separated by commas",
        examples=["reports,imports"],
    )
    work_begin: Literal["earliest", "latest"] = Field(
        "earliest",
        description="Where workers begin that know no offsets: with all that is kept, or what comes",
        examples=["earliest"],
    )
    work_address: Annotated[str | None, AfterValidator(forms.address)] = Field(
        None,
        description="Where a worker tells how it is over HTTP, host:port; nowhere by default",
        examples=["127.0.0.1:9465"],
    )
    http_allow_private: bool = Field(
        default=False,
        description="Whether `http` may call private and local addresses",
        examples=["true"],
    )
    shell_allow: Annotated[tuple[str, ...], NoDecode, BeforeValidator(forms.names)] = Field(
        (),
        description="Programs that `shell` may run, by absolute path, separated by commas; none by default",
        examples=["/usr/bin/rsync,/opt/jobs/report"],
    )
    python_allow: Annotated[tuple[str, ...], NoDecode, BeforeValidator(forms.names)] = Field(
        (),
        description="Callables that `python` may call, by the names of their entry points; none by default",
        examples=["nightly,cleanup"],
    )
    sql: dict[str, str] = Field(
        default_factory=dict,
        repr=False,
        description="Databases that `sql` may use, by name; secret, so from environment or file alone",
        examples=["postgresql+psycopg://user:password@host/database"],
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged: debug, info, warning or error", examples=["info"]
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="json, console, or auto: console on a terminal, JSON lines elsewhere",
        examples=["json"],
    )
    kafka_allow_insecure: bool = Field(
        default=False,
        description="Whether brokers on other machines may be reached without encryption, or without "
        "knowing that they are the right ones",
        examples=["true"],
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/@]+(/\S*)?$",
        description="OpenTelemetry collector that gets traces by OTLP over HTTP; none by default",
        examples=["http://localhost:4318"],
    )
    otlp_share: float = Field(
        1, ge=0, le=1, description="Share of the traces that is sent; a fire's is sent whole", examples=[0.1]
    )
    kafka: Annotated[dict[str, str], BeforeValidator(forms.properties)] = Field(
        default_factory=dict,
        repr=False,
        description="librdkafka properties passed through, for all clients",
        examples=["security.protocol=SSL"],
    )

    @model_validator(mode="after")
    def _seats_have_an_order(self) -> Self:
        if self.seats_least > self.seats_most:
            raise ValueError(
                f"seats_least is {self.seats_least}, more than seats_most, which is {self.seats_most}"
            )
        return self

    @model_validator(mode="after")
    def _partitions_fit_shards(self) -> Self:
        if self.partitions_jobs % self.shards:
            raise ValueError(
                f"partitions_jobs is {self.partitions_jobs}, no multiple of shards, which is {self.shards}: "
                f"a shard could not keep to its own partitions; set it to e.g. {self.shards * 3}"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from `load` alone, which asks the sources itself to know where each came from."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)

    def brokers(self) -> str:
        """Return the brokers. Raises InvalidSettings, saying how to name them, when there are none."""
        if self.bootstrap_servers is None:
            raise InvalidSettings(
                "bootstrap_servers is not set and has no default: name the Kafka brokers with "
                f"--bootstrap-servers host:9092, with {env_name('bootstrap_servers')}=host:9092, "
                'or with bootstrap_servers = "host:9092" in the settings file'
            )
        return self.bootstrap_servers
