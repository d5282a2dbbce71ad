"""One run of a stage, the same for every worker: begin, heartbeats, outcome.

`stage` runs it, `run` is what the work sees of it, `heartbeat` and `outcome` talk to statussvc.
"""

from pipeline.run.outcome import failure_of
from pipeline.run.run import Limits, Run
from pipeline.run.stage import run_stage

__all__ = ["Limits", "Run", "failure_of", "run_stage"]
