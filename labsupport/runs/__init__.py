"""The labs in order: parameters checked, notebooks executed, failures contained, resumable."""
