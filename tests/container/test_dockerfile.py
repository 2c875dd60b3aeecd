"""The rules of the Dockerfile, each tried on one that breaks it; whether it builds, `make image` says."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from container.files import DOCKERFILE, PINNED, PROJECT, Instruction, instructions
from dispatcher.settings import Settings

TEXT = DOCKERFILE.read_text()
Rule = Callable[[list[Instruction]], Iterator[str]]


def bases_are_pinned(found: list[Instruction]) -> Iterator[str]:
    known = {name for each in found if each.name == "FROM" for name in re.findall(r" AS (\w+)$", each.rest)}
    for each in found:
        if each.name == "ARG" and each.rest.startswith("BASE=") and not PINNED.fullmatch(each.rest[5:]):
            yield f"{each.rest} is not pinned by tag and digest"
        if each.name == "FROM" and each.rest.split()[0] not in {*known, "${BASE}", "scratch"}:
            yield f"FROM {each.rest} is neither BASE nor a stage"


def the_last_stage_holds_nothing_that_was_not_put_there(found: list[Instruction]) -> Iterator[str]:
    last = [each for each in found if each.stage == found[-1].stage]
    if last[0].rest != "scratch":
        yield f"the last stage is from {last[0].rest}"
    yield from (f"the last stage runs {each.rest}" for each in last if each.name == "RUN")


def nobody_is_root(found: list[Instruction]) -> Iterator[str]:
    users = [each.rest for each in found if each.name == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]):
        yield f"the user is {users[-1:]}, not a number above 0"


def nothing_needs_a_shell(found: list[Instruction]) -> Iterator[str]:
    for name in ("ENTRYPOINT", "CMD", "HEALTHCHECK"):
        given = [each.rest for each in found if each.name == name]
        command: object = None
        with suppress(ValueError, IndexError):
            command = json.loads(given[-1].partition("CMD ")[2] if name == "HEALTHCHECK" else given[-1])
        if not isinstance(command, list):
            yield f"{name} is {given}, not a list"


def what_is_installed_is_pinned_and_hashed(found: list[Instruction]) -> Iterator[str]:
    for each in found:
        for command in re.split(r"&&|;", each.rest) if each.name == "RUN" else ():
            if " install " not in command:
                continue
            if "apt-get" in command and "--no-install-recommends" not in command:
                yield f"{command} installs what is only recommended"
            if "pip" in command and "apt-get" not in command and "--no-index" not in command:
                yield from (
                    f"{command} lacks {flag}"
                    for flag in ("--require-hashes", "--only-binary :all:", "--requirement")
                    if flag not in command
                )


def nothing_comes_from_elsewhere(found: list[Instruction]) -> Iterator[str]:
    for each in found:
        if each.name == "ADD" or re.search(r"\b(curl|wget|git clone)\b|https?://", each.rest):
            yield f"{each.name} {each.rest}"


def no_secret_stays_in_it(found: list[Instruction]) -> Iterator[str]:
    for each in found:
        if each.name in {"ARG", "ENV", "LABEL"} and re.search(r"(?i)passw|secret|token|_key\b", each.rest):
            yield f"{each.name} {each.rest}"
        if each.name == "COPY" and re.search(r"pip\.conf|\.netrc|\.env\b", each.rest):
            yield f"{each.name} {each.rest}"


def labels_say_what_it_is(found: list[Instruction]) -> Iterator[str]:
    labels = " ".join(each.rest for each in found if each.name == "LABEL")
    for name in ("title", "description", "licenses", "version", "revision", "created"):
        if f"org.opencontainers.image.{name}=" not in labels:
            yield f"no label {name}"


RULES: tuple[tuple[Rule, str, str], ...] = (
    (bases_are_pinned, "-slim@sha256", "-slim@md5"),
    (bases_are_pinned, "ARG BASE=", "ARG BASE=somewhere.example/"),
    (bases_are_pinned, "FROM ${BASE} AS build", "FROM python AS build"),
    (the_last_stage_holds_nothing_that_was_not_put_there, "FROM scratch", "FROM ${BASE}"),
    (the_last_stage_holds_nothing_that_was_not_put_there, "WORKDIR /tmp", "RUN true"),
    (nobody_is_root, "USER 65532:65532", "USER dispatcher"),
    (nobody_is_root, "USER 65532:65532", "USER 0:0"),
    (nothing_needs_a_shell, 'CMD ["run"]', "CMD run"),
    (nothing_needs_a_shell, "HEALTHCHECK", "ONBUILD HEALTHCHECK"),
    (what_is_installed_is_pinned_and_hashed, " --require-hashes", ""),
    (what_is_installed_is_pinned_and_hashed, " --no-install-recommends", ""),
    (nothing_comes_from_elsewhere, "COPY dispatcher", "ADD dispatcher"),
    (nothing_comes_from_elsewhere, "WORKDIR /tmp", "RUN wget -q x"),
    (no_secret_stays_in_it, "ARG REVISION=unknown", "ARG REVISION=unknown\nARG PASSWORD=x"),
    (labels_say_what_it_is, "image.revision", "image.hash"),
)


@pytest.mark.parametrize("rule", {rule for rule, _, _ in RULES}, ids=lambda rule: rule.__name__)
def test_the_dockerfile_keeps_the_rule(rule: Rule) -> None:
    assert list(rule(instructions(TEXT))) == []


@pytest.mark.parametrize(("rule", "there", "instead"), RULES)
def test_a_dockerfile_that_breaks_the_rule_is_found(rule: Rule, there: str, instead: str) -> None:
    assert there in TEXT
    assert list(rule(instructions(TEXT.replace(there, instead)))) != []


def test_the_build_sees_what_it_copies_and_no_more() -> None:
    ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    seen = {line[1:] for line in ignored if line.startswith("!")}
    assert ignored[1] == "*"
    copied = {
        source
        for each in instructions(TEXT)
        if each.name == "COPY" and not each.rest.startswith("--from")
        for source in each.rest.split()[:-1]
    }
    assert copied == seen
    assert [name for name in seen if not fnmatch.filter([name], name) or not (PROJECT / name).exists()] == []


def test_memory_is_bounded_in_the_image_as_in_the_units() -> None:
    (bound,) = re.findall(
        r"MALLOC_ARENA_MAX=\d+", " ".join(e.rest for e in instructions(TEXT) if e.name == "ENV")
    )
    for unit in (PROJECT / "systemd").glob("*.service"):
        assert f"\nEnvironment={bound}\n" in unit.read_text(), unit.name


def test_what_the_image_says_to_the_program_the_program_knows() -> None:
    named = re.findall(r"DISPATCHER_(\w+)=", " ".join(e.rest for e in instructions(TEXT) if e.name == "ENV"))
    assert [name for name in named if name.lower() not in Settings.model_fields] == []
