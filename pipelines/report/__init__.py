"""The report: one HTML page that needs nothing but itself, from the runs, shards and models of a workspace."""

from pipelines.report.writer import ReportPlan, write_report

__all__ = ["ReportPlan", "write_report"]
