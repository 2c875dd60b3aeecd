from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import eventually, is_running, nothing_left

from dispatcher.core.outcome import Cancelled, Failed, Outcome, Succeeded
from dispatcher.errors import InvalidPayload
from dispatcher.work.handlers.shell import Shell, ShellPayload
from dispatcher.work.handling import Cancel, Task
from dispatcher.work.payloads import read
from dispatcher.work.ward import MOST_KEPT

SH, ENV, ECHO, SLEEP = "/bin/sh", "/usr/bin/env", "/bin/echo", "/bin/sleep"
PYTHON = sys.executable


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Have every run leave nothing: no process, zombie, open file or directory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with nothing_left(tmp_path):
        yield tmp_path


def task(payload: dict[str, Any], seconds: float | None = 20.0, cancel: Cancel | None = None) -> Task:
    model = read(ShellPayload, {"graceSeconds": 0.3, **payload})
    return Task("j@1970-01-01T00:00:01Z", 2, "j", 1000, model, cancel or Cancel(), seconds, "00-a-b-01")


def run(*command: str, seconds: float | None = 20.0, cancel: Cancel | None = None, **more: Any) -> Outcome:
    shell = Shell((SH, ENV, ECHO, SLEEP, PYTHON))
    return shell.run(task({"command": list(command), **more}, seconds, cancel))


def script(text: str, **more: Any) -> Outcome:
    return run(SH, "-c", text, **more)


def test_output_and_exit_status_are_told() -> None:
    assert script("echo out; echo err >&2") == Succeeded({"exit": 0}, output="out\nerr\n")


def test_another_exit_status_than_expected_is_a_failure() -> None:
    assert script("echo no; exit 3") == Failed("'/bin/sh' ended with status 3, 0 was expected", output="no\n")


def test_expected_exit_statuses_are_a_success() -> None:
    assert script("exit 24", expectExit=[0, 24]) == Succeeded({"exit": 24})


def test_a_program_may_be_named_by_its_last_part() -> None:
    assert run("echo", "x") == Succeeded({"exit": 0}, output="x\n")


def test_a_last_part_that_two_programs_share_names_neither() -> None:
    shell = Shell(("/bin/echo", "/usr/bin/echo"))
    assert isinstance(shell.run(task({"command": ["echo"]})), Failed)
    assert isinstance(shell.run(task({"command": ["/usr/bin/echo"]})), Succeeded)


@pytest.mark.parametrize(
    "name", ["/bin/ls", "../bin/sh", "/bin/../bin/sh", "bin/sh", "/bin/sh -c id", "", "//bin/sh"]
)
def test_what_is_not_allowed_is_not_run_and_not_tried_again(name: str) -> None:
    outcome = run(name, "-c", "id")
    assert isinstance(outcome, Failed)
    assert outcome.final
    assert "is not allowed; shell_allow has `/bin/echo`, `/bin/sh`" in outcome.reason


@pytest.mark.parametrize(
    "argument",
    [
        "; id",
        "$(id)",
        "`id`",
        "a\nb",
        "-n",
        "--",
        "--help",
        "*",
        "|cat",
        "",
        "{{7*7}}",
        "${7*7}",
        "{0.__class__}",
        "💔",
    ],
)
def test_arguments_reach_the_program_as_they_are(argument: str) -> None:
    outcome = run(PYTHON, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", argument, "last")
    assert isinstance(outcome, Succeeded)
    assert json.loads(outcome.output) == [argument, "last"]


@pytest.mark.parametrize(
    "payload",
    [
        {"command": "echo hi"},
        {"command": []},
        {"command": ["echo", "a\0b"]},
        {"command": ["echo", 1]},
        {"command": ["echo"], "environment": {"A": "\0"}},
        {"command": ["echo"], "shell": True},
        {"command": ["echo"], "graceSeconds": 3600},
        {"command": ["echo"], "maxOutputBytes": MOST_KEPT + 1},
        {"command": ["echo"], "expectExit": []},
        {},
        None,
        "echo",
    ],
)
def test_bad_payloads_are_refused(payload: Any) -> None:
    with pytest.raises(InvalidPayload):
        read(ShellPayload, payload)


@pytest.mark.parametrize(
    "name",
    [
        "LD_PRELOAD",
        "PATH",
        "PYTHONPATH",
        "BASH_ENV",
        "IFS",
        "DISPATCHER_FIRE_ID",
        "GIT_SSH",
        "a-b",
        "A=B",
        "",
    ],
)
def test_an_environment_that_would_change_what_is_run_is_refused(name: str) -> None:
    with pytest.raises(InvalidPayload, match="environment"):
        read(ShellPayload, {"command": ["echo"], "environment": {name: "x"}})


def test_a_program_sees_nothing_of_the_worker(monkeypatch: pytest.MonkeyPatch, scratch: Path) -> None:
    monkeypatch.setenv("DISPATCHER_KAFKA__SASL_PASSWORD", "canary-3141")
    monkeypatch.setenv("API_TOKEN", "canary-3141")
    with (scratch / "secret").open("w") as held:
        os.set_inheritable(held.fileno(), True)  # noqa: FBT003 - it has no name
        outcome = script(
            "/usr/bin/env; pwd; ls -A; umask; ulimit -c; ulimit -n; ls -l /proc/self/fd; "
            "cat /proc/$PPID/environ; tty; cat /proc/$PPID/cmdline",
            environment={"COLOUR": "red"},
        )
    assert isinstance(outcome, Succeeded)
    text = outcome.output
    assert "canary-3141" not in text
    assert "/secret" not in text
    environment = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and "->" not in line)
    home = environment["HOME"]
    assert (
        environment.items()
        >= {
            "DISPATCHER_FIRE_ID": "j@1970-01-01T00:00:01Z",
            "DISPATCHER_ATTEMPT": "2",
            "DISPATCHER_JOB": "j",
            "DISPATCHER_PLANNED": "1970-01-01T00:00:01Z",
            "DISPATCHER_SECONDS": "20",
            "TRACEPARENT": "00-a-b-01",
            "COLOUR": "red",
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "TMPDIR": home,
        }.items()
    )
    assert f"\n{home}\n0077\n0\n1024\n" in text
    assert "not a tty" in text
    assert sum("->" in line for line in text.splitlines()) == 4  # 0, 1, 2 and the directory that ls reads


def test_it_reads_its_input_or_nothing() -> None:
    assert script("cat", input="a\nb") == Succeeded({"exit": 0}, output="a\nb")
    assert script("cat") == Succeeded({"exit": 0})


def test_a_large_input_that_nobody_reads_blocks_nothing() -> None:
    assert script("echo done", input="x" * 5_000_000) == Succeeded({"exit": 0}, output="done\n")


def test_what_it_writes_to_its_directory_goes_with_it() -> None:
    outcome = script("mkdir -p a/b; echo x > a/b/c; chmod 0 a; ln -s / root; pwd")
    assert isinstance(outcome, Succeeded)
    assert not Path(outcome.output.strip()).exists()


def test_the_end_by_a_signal_is_told_in_words() -> None:
    assert script("kill -9 $$") == Failed("'/bin/sh' was ended by signal 9 (SIGKILL)")


def test_a_program_that_cannot_be_started_is_told(scratch: Path) -> None:
    plain = scratch / "plain"
    plain.write_text("no program")
    for path, why in ((str(plain), "Permission denied"), (f"{scratch}/none", "No such file")):
        outcome = Shell((path,)).run(task({"command": [path]}))
        assert isinstance(outcome, Failed)
        assert why in outcome.reason
        assert not outcome.final


def test_a_hanging_program_is_ended_in_time() -> None:
    began = time.monotonic()
    outcome = run(SLEEP, "1000", seconds=0.3)
    assert time.monotonic() - began < 5
    assert outcome == Failed("it took longer than 0.3 s and was ended by signal 15 (SIGTERM)")


def test_the_shorter_limit_counts() -> None:
    began = time.monotonic()
    assert isinstance(run(SLEEP, "1000", seconds=100, timeoutSeconds=0.2), Failed)
    assert time.monotonic() - began < 5


def test_a_program_that_ends_itself_when_asked_may_say_last_words() -> None:
    outcome = script("trap 'echo bye; exit 5' TERM; echo ready; while :; do :; done", seconds=0.5)
    assert outcome == Failed("it took longer than 0.5 s and ended with status 5", output="ready\nbye\n")


def test_a_program_that_ignores_sigterm_is_killed() -> None:
    outcome = script("trap '' TERM; echo $$; while :; do sleep 1000; done", seconds=0.3)
    assert isinstance(outcome, Failed)
    assert "signal 9" in outcome.reason
    assert not is_running(int(outcome.output))


def test_a_stopped_program_is_ended() -> None:
    outcome = script("kill -STOP $$", seconds=0.3)
    assert isinstance(outcome, Failed)
    assert "signal 15" in outcome.reason


FAMILY = """
import os, signal, sys, time
def daemon():
    if os.fork(): return
    os.setsid()
    if os.fork(): os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    while True: time.sleep(1000)
daemon(); daemon()
for _ in range(3):
    if not os.fork():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print(os.getpid(), flush=True)
        while True: time.sleep(1000)
time.sleep(float(sys.argv[1]))
"""


def test_daemons_in_sessions_of_their_own_end_with_a_run_that_is_overdue() -> None:
    outcome = run(PYTHON, "-c", FAMILY, "1000", seconds=1)
    assert isinstance(outcome, Failed)
    family = list(map(int, outcome.output.split()))
    assert len(family) == 5
    assert [pid for pid in family if is_running(pid)] == []


def test_daemons_end_with_the_program_although_they_hold_its_output_open() -> None:
    began = time.monotonic()
    outcome = run(PYTHON, "-c", FAMILY, "0.5")
    assert time.monotonic() - began < 10
    assert isinstance(outcome, Succeeded)
    assert outcome.result == {"exit": 0, "ended": 5}
    assert [pid for pid in map(int, outcome.output.split()) if is_running(pid)] == []


HYDRA = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(5):
    if not os.fork(): break
else:
    time.sleep(1000)
while True:
    if os.fork(): os._exit(0)
    os.setsid()
"""


def test_what_leaves_its_session_again_and_again_is_ended() -> None:
    began = time.monotonic()
    outcome = run(PYTHON, "-c", HYDRA, seconds=0.5)
    assert isinstance(outcome, Failed)
    assert time.monotonic() - began < 8


def test_flooded_output_blocks_nothing_and_keeps_head_and_tail() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = script("echo first; yes | head -c 100000000; echo last")
    assert isinstance(outcome, Succeeded)
    assert outcome.output.startswith("first\ny\n")
    assert outcome.output.endswith("y\nlast\n")
    assert "… 99934475 bytes are left out …" in outcome.output
    assert len(outcome.output.encode()) <= MOST_KEPT + 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


def test_endless_output_does_not_keep_a_run_from_ending() -> None:
    outcome = script("yes", seconds=0.5)
    assert isinstance(outcome, Failed)
    assert len(outcome.output) <= MOST_KEPT + 100


def test_output_that_is_no_text_is_replaced_and_stays_within_the_limit() -> None:
    outcome = script("head -c 200000 /dev/zero | tr '\\0' '\\377'", maxOutputBytes=1000)
    assert isinstance(outcome, Succeeded)
    assert set(outcome.output.splitlines()[0]) == {"\N{REPLACEMENT CHARACTER}"}
    assert len(outcome.output.encode()) <= 1100


def test_a_program_that_leaks_open_files_hurts_itself_alone() -> None:
    text = "import os\nwhile True: os.dup(0)"
    outcome = run(PYTHON, "-c", text)
    assert isinstance(outcome, Failed)
    assert "Too many open files" in outcome.output
    assert script("echo next") == Succeeded({"exit": 0}, output="next\n")


def test_a_cancelled_run_is_ended_and_says_so() -> None:
    cancel = Cancel()
    threading.Timer(0.2, cancel.set, ("somebody asked",)).start()
    began = time.monotonic()
    outcome = script("echo begun; exec sleep 1000", cancel=cancel, seconds=None)
    assert outcome == Cancelled("somebody asked", output="begun\n")
    assert time.monotonic() - began < 5


def test_a_run_that_was_cancelled_before_it_began_ends_at_once() -> None:
    cancel = Cancel()
    cancel.set("too late")
    assert isinstance(run(SLEEP, "1000", cancel=cancel, seconds=None), Cancelled)


def test_a_cancel_after_the_end_disturbs_nobody() -> None:
    cancel = Cancel()
    script("echo", cancel=cancel)
    cancel.set("late")


def test_many_at_once_do_not_end_one_another() -> None:
    outcomes: list[Outcome] = []

    def one(number: int) -> None:
        outcomes.append(script(f"sleep 0.{number}; setsid sleep 1000 & echo {number}", seconds=30))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.output for outcome in outcomes) == [f"{number}\n" for number in range(8)]
    assert {type(outcome) for outcome in outcomes} == {Succeeded}


WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from test_handler_shell import script
text = "echo $$ > $0.tmp; mv $0.tmp $0; trap '' TERM; setsid sleep 1000 & sleep 1000"
script(text.replace("$0", sys.argv[2]))
"""


def test_everything_ends_with_the_worker(scratch: Path) -> None:
    told = scratch / "pid"
    here = str(Path(__file__).parent)
    worker = subprocess.Popen(
        [PYTHON, "-c", WORKER, here, str(told)], env={**os.environ, "TMPDIR": str(scratch)}
    )
    assert eventually(told.exists)
    pid = int(told.read_text())
    assert is_running(pid)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    assert eventually(lambda: not is_running(pid))
    assert eventually(lambda: not list(scratch.glob("dispatcher-*")))


def test_a_program_that_kills_its_warden_ends_too() -> None:
    outcome = script("sleep 0.5; kill -9 $PPID; sleep 1000")
    assert outcome == Failed("'/bin/sh' was lost: its warden did not tell how it ended")
