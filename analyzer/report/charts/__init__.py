"""Charts: of a report (``report.charts.exposure()``) or of a table (``plot_exposure(sessions)``).

Each takes the matplotlib Axes to draw on (a new figure's where None) and gives them back: ``ax.figure.savefig("exposure.png")``. In a
notebook the figure appears below the cell. matplotlib is imported when the first chart is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from analyzer.report.charts.counts import plot_exposure, plot_findings, plot_mechanisms, plot_tls_suites
from analyzer.report.charts.hosts import plot_accounts, plot_clients, plot_servers
from analyzer.report.charts.moments import plot_certificates, plot_logins
from analyzer.report.charts.timeline import plot_session

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analyzer.report.tables import Report

__all__ = [
    "Charts",
    "plot_accounts",
    "plot_certificates",
    "plot_clients",
    "plot_exposure",
    "plot_findings",
    "plot_logins",
    "plot_mechanisms",
    "plot_servers",
    "plot_session",
    "plot_tls_suites",
]


class Charts:
    """The charts of a report. Those over time take the time zone of their axis, ``tz="Europe/Berlin"``."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def exposure(self, ax: Axes | None = None) -> Axes:
        """What an eavesdropper could read, by protocol and transport."""
        return plot_exposure(self._report.sessions, ax)

    def logins(self, ax: Axes | None = None, tz: str = "UTC") -> Axes:
        """Logins that could be read, over time."""
        return plot_logins(self._report.credentials, ax, tz)

    def servers(self, ax: Axes | None = None) -> Axes:
        """A heat map of servers by transport."""
        return plot_servers(self._report.sessions, ax)

    def tls_suites(self, ax: Axes | None = None) -> Axes:
        """TLS versions and cipher suites agreed on."""
        return plot_tls_suites(self._report.tls, ax)

    def mechanisms(self, ax: Axes | None = None) -> Axes:
        """Authentication mechanisms by outcome."""
        return plot_mechanisms(self._report.credentials, ax)

    def accounts(self, ax: Axes | None = None) -> Axes:
        """The accounts with most logins that could be read."""
        return plot_accounts(self._report.credentials, ax)

    def clients(self, ax: Axes | None = None) -> Axes:
        """The clients with most logins that could be read."""
        return plot_clients(self._report.credentials, ax)

    def certificates(self, ax: Axes | None = None, tz: str = "UTC") -> Axes:
        """Lifetimes of the certificates that were seen."""
        return plot_certificates(self._report.tls, ax, tz)

    def findings(self, ax: Axes | None = None) -> Axes:
        """Findings by severity."""
        return plot_findings(self._report.findings, ax)

    def session(self, session_id: str | None = None, ax: Axes | None = None, tz: str = "UTC") -> Axes:
        """One session step by step; that with the worst finding where none is named.

        Raises:
            UsageError: there is no such session.
        """
        report = self._report
        return plot_session(
            report.sessions, session_id, ax,
            credentials=report.credentials, tls=report.tls, messages=report.messages, findings=report.findings, tz=tz,
        )  # fmt: skip
