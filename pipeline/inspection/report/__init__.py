"""The HTML report: a file that shows a run's generations, its training, its triplets and its quarantine."""

from pipeline.inspection.report.write import write_report

__all__ = ["write_report"]
