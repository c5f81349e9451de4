"""Coursework: student versions of the labs without answers, and submissions graded apart."""
