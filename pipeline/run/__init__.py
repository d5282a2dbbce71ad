"""One run of a stage, the same for every worker: begin, heartbeats, outcome.

`stage` does the run. `run` has the object that the work reports to. `heartbeat` and `outcome` call statussvc.
Imports the rest of `pipeline`, except `formats` and `sandbox`. The workers import what is listed here.
"""

from pipeline.run.outcome import failure_of
from pipeline.run.run import Limits, Run
from pipeline.run.stage import run_stage

__all__ = ["Limits", "Run", "failure_of", "run_stage"]
