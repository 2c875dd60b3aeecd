"""Writes the table of least rights into SECURITY.md, between its marks; a test compares the two."""

from __future__ import annotations

from pathlib import Path

from dispatcher.kafka.rights import table

PAGE = Path(__file__).resolve().parents[1] / "SECURITY.md"
BEGIN, END = "<!-- rights -->\n", "<!-- /rights -->"


def main() -> None:
    """Write the page anew."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}{table()}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
