"""Reads the header of a file that is somewhere else, in a confined child that asks for the bytes it needs.

Imports `pipeline.formats` and `pipeline.sandbox`.
"""

from pipeline.formats.probe.parent import MOST_NUMBER, MOST_WORDS, Budget, Probe, is_plausible, probe

__all__ = [
    "MOST_NUMBER",
    "MOST_WORDS",
    "Budget",
    "Probe",
    "is_plausible",
    "probe",
]
