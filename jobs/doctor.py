"""Doctor: look at this machine, the workspace and the cluster, and say what a job would meet."""

import argparse

from jobs.cli import Report, run_job
from pipeline.config import RunConfig
from pipeline.stages.doctor import examine, print_findings


def run(config: RunConfig, _: argparse.Namespace) -> Report:
    """Runs every examination; the first that failed decides the exit code."""
    findings = examine(config)
    print_findings(findings)
    for finding in findings:
        if finding.error is not None:
            raise finding.error
    return {finding.subject: finding.found for finding in findings}


if __name__ == "__main__":
    run_job(__doc__ or "", run)
