"""`make evidence` leaves nothing out and keeps no path of a machine."""

from __future__ import annotations

from pathlib import Path

import evidence
import pytest

ROOT = Path(__file__).parents[1]


def test_every_file_with_an_evidence_mark_is_part_of_a_job() -> None:
    places = [word for command in evidence.JOBS.values() for word in command if word.startswith("tests/")]
    assert all((ROOT / place).exists() for place in places)
    marked = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "tests").rglob("test_*.py")
        if "mark.evidence" in path.read_text(encoding="utf-8") and path != Path(__file__)
    ]
    assert len(marked) > 15
    assert [path for path in marked if not path.startswith(tuple(places))] == []


def test_a_report_holds_command_exit_code_and_output_but_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import sys; print(sys.argv[0], r'" + str(ROOT / "tests" / "x.py") + "'); sys.exit(3)"
    monkeypatch.setattr(evidence, "JOBS", {"one": ("python", "-c", code), "two": ("python", "-c", "print('fine')")})
    monkeypatch.setattr(evidence, "OUT", tmp_path)
    assert evidence.main([]) == 1
    first, second = ((tmp_path / f"{name}.txt").read_text() for name in ("one", "two"))
    assert "exit code 3" in first
    assert "-c tests/x.py" in first
    assert str(ROOT) not in first
    assert second.endswith("fine\n")
    with pytest.raises(SystemExit):
        evidence.main(["three"])
