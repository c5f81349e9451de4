"""What everything stands on: errors, files, tensors on disk."""
