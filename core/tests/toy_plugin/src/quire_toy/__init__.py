"""A small classifier of points, for tests of quire-core."""
