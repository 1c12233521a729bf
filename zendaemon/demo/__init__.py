"""A real ZenML server of one's own: for `zendaemon demo`, the test-suite and the benchmarks."""
