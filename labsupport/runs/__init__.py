"""The sequence of labs through papermill: parameters checked, failures contained, resumable."""
