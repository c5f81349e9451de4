"""What can be asked of any network: its modes, calls, graph, parts, cost, and file."""
