"""Stages of a flow: thin Prefect tasks that call the library and return store keys."""
