"""What holds for all tests: hypothesis prints how to replay a failure, root's tests say why they are skipped, CI skips nothing."""

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

settings.register_profile("handyrep", deadline=None, print_blob=True)
settings.load_profile("handyrep")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts work in the background with Ctrl-C ignored, and every program that a test starts would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)

IN_CI = os.environ.get("CI", "") not in ("", "false")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root, tests that need it are skipped with the reason."""
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root") or item.get_closest_marker("lab"):
            item.add_marker(pytest.mark.skip(reason="needs root: real accounts, namespaces and systemd"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: nothing may quietly not be tried."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI: {report.longrepr}"
    return report
