"""Benchmarks: how fast, how frugal and how exact, against the other ways to a spectrum."""
