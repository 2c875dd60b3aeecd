"""Certificates for a broker of the tests, made by `openssl`: a good one, and each way to be wrong."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


class NoPapers(Exception):
    """No certificates can be made on this machine."""


@dataclass(frozen=True)
class Papers:
    """An authority that clients trust; `keystore` names the file of a broker's key and certificate."""

    directory: Path

    @property
    def authority(self) -> Path:
        """The certificate that clients are to trust."""
        return self.directory / "trusted.pem"

    def keystore(self, kind: str) -> Path:
        """Return the file of a certificate: "good", "expired", "alien" or "misnamed"."""
        return self.directory / f"{kind}.store.pem"


def make_papers(directory: Path) -> Papers:
    """Make an authority that is trusted, one that is not, and a certificate of each kind."""
    if shutil.which("openssl") is None:
        raise NoPapers("no openssl on the path")
    directory.mkdir()
    papers = Papers(directory)
    for authority in ("trusted", "stranger"):
        _openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                 f"/CN={authority}", "-keyout", f"{authority}.key", "-out", f"{authority}.pem")  # fmt: skip
    for kind, authority, address, days in (
        ("good", "trusted", "IP:127.0.0.1", "2"),
        ("expired", "trusted", "IP:127.0.0.1", "-1"),
        ("alien", "stranger", "IP:127.0.0.1", "2"),
        ("misnamed", "trusted", "DNS:another.example", "2"),
    ):
        (directory / "names").write_text(f"subjectAltName={address}\n")
        _openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={kind}",
                 "-keyout", f"{kind}.key", "-out", f"{kind}.request")  # fmt: skip
        _openssl(directory, "x509", "-req", "-in", f"{kind}.request", "-CA", f"{authority}.pem",
                 "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", days, "-extfile", "names",
                 "-out", f"{kind}.pem")  # fmt: skip
        parts = [(directory / f"{kind}{end}").read_text() for end in (".key", ".pem")]
        papers.keystore(kind).write_text("".join(parts))
    return papers


def _openssl(directory: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)
