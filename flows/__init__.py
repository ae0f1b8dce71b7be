"""Flows: what Prefect orchestrates, its parameters, and the command line."""
