"""Read the header of a remote file in a confined child process, which requests the bytes it needs from its parent.

Imports `pipeline.formats` and `pipeline.sandbox`. The workers import what is listed here.
"""

from pipeline.formats.probe.parent import MOST_NUMBER, MOST_WORDS, VERDICTS, Budget, Probe, is_plausible, probe

__all__ = [
    "MOST_NUMBER",
    "MOST_WORDS",
    "VERDICTS",
    "Budget",
    "Probe",
    "is_plausible",
    "probe",
]
