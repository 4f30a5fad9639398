"""What docs/scheduler.md quotes is what was measured."""

import json

import pytest

from benchmarks.scheduler_table import PAGE, RESULTS, updated


def test_the_page_of_the_scheduler_quotes_the_committed_figures_and_no_others() -> None:
    if not RESULTS.exists():
        pytest.skip(f"{RESULTS.name} is missing: no run of benchmarks.scheduler was kept yet")
    page = PAGE.read_text()
    assert updated(page, json.loads(RESULTS.read_text())) == page
