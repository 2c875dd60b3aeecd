"""Adds Debian's packages to a bill of materials, CycloneDX in JSON, from standard input to standard output.

Usage: bill.py DIRECTORY, which holds one entry of dpkg's status for each package. The same content gives the
same bytes.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from pathlib import Path
from typing import Any

_FIELD = re.compile(r"([A-Z][A-Za-z-]*): (.*)")


def main() -> int:
    """Write the whole bill."""
    bill = json.load(sys.stdin)
    packages = [_component(path) for path in sorted(Path(sys.argv[1]).iterdir())]
    bill["components"] += packages
    bill["dependencies"] += [{"ref": each["bom-ref"], "dependsOn": []} for each in packages]
    content = json.dumps([bill["serialNumber"], packages], sort_keys=True)
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    json.dump(bill, sys.stdout, indent=1)
    sys.stdout.write("\n")
    return 0


def _component(path: Path) -> dict[str, Any]:
    lines = (_FIELD.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines())
    fields = {line[1]: line[2] for line in lines if line}
    name, version = fields["Package"], fields["Version"]
    purl = f"pkg:deb/debian/{_quoted(name)}@{_quoted(version)}?arch={fields['Architecture']}&distro=debian-12"
    return {
        "type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl,
        "description": fields["Description"],
    }  # fmt: skip


def _quoted(text: str) -> str:
    return text.replace("+", "%2B").replace(":", "%3A")


if __name__ == "__main__":
    sys.exit(main())
