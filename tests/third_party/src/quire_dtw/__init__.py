"""Nearest neighbours of time series under dynamic time warping."""
