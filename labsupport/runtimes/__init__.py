"""What can run a network besides torch."""
