"""The command line `labs`, and the doctor."""
