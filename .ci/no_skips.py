# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: a skip is a failure, unless the machine lacks what no package can install."""

import re

import pytest

ALLOWED = re.compile(r"needs (a GPU|cupy)\b|this machine cannot run\b")


def refuse(report):
    """Turn a skip without an allowed reason into a failure; leave an expected failure alone."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not ALLOWED.match(reason.removeprefix("Skipped: ")):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: skipped where nothing may be: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    report = yield
    refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    refuse(report)
    return report
