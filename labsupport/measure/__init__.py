"""Measuring: outside counters, latency, memory, energy model, machine report, roofline, scorecard.

Import from the modules themselves: the scorecard is read where torch is not needed, so this
package loads nothing on its own.
"""
