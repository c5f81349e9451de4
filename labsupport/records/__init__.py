"""What a lab leaves behind: scorecards, claims, tables, and the reference beside them."""
