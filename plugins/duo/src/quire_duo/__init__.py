"""DUO: a tester of classifiers by semantic fusion."""
