"""Finds dead links in Markdown files; they are its arguments.

A link to a file must point at one inside the project, a link with a fragment at a heading that exists.
Links to other hosts are not followed: a build must not depend on them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

_FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]\n]*\]\(<?([^)\s>]+)>?[^)]*\)|^\[[^\]\n]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """Return the fragments that the headings of a Markdown text can be reached by."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCE.sub("", text)):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found


def dead_links(file: Path) -> Iterator[str]:
    """Yield one sentence for each link of the file that leads nowhere."""
    text = file.read_text(encoding="utf-8")
    for groups in _LINK.findall(_CODE.sub("", _FENCE.sub("", text))):
        link = groups[0] or groups[1]
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, fragment = link.partition("#")
        target = file.parent / path if path else file
        if not target.exists():
            yield f"{file}: {link}: there is no {target}"
        elif (
            fragment
            and target.suffix == ".md"
            and fragment not in anchors(target.read_text(encoding="utf-8"))
        ):
            yield f"{file}: {link}: {target} has no heading #{fragment}"


def main() -> int:
    """Check the files named on the command line; return 1 when a link is dead."""
    dead = [line for name in sys.argv[1:] for line in dead_links(Path(name))]
    sys.stderr.writelines(f"{line}\n" for line in dead)
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
