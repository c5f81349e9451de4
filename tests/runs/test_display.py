import io

from rich.console import Console

from labsupport.runs.display import Display
from labsupport.runs.record import LabRecord

FAILED = LabRecord(status="failed", seconds=2.04, cell=4, error="ValueError: [bold] " + "x" * 200)


def shown(terminal):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=80)
    display = Display(console)
    with display.live:
        display.started("03_profiling")
        display.cell("03_profiling", 4, 9)
        display.live.refresh()
        display.ended("03_profiling", FAILED)
        display.ended("04_next", LabRecord(status="skipped", error="it needs 03"))
    return text.getvalue()


def test_without_a_terminal_there_are_plain_whole_lines():
    assert shown(terminal=False).strip().splitlines() == [
        "03_profiling: running",
        "03_profiling: failed in 2.0 s - cell 4: ValueError: [bold] " + "x" * 200,
        "04_next: skipped - it needs 03",
    ]


def test_a_terminal_shows_lab_cells_and_seconds_live():
    text = shown(terminal=True)
    assert "03_profiling" in text
    assert "3/9" in text
    assert "0:00:0" in text
    assert "running" not in text
