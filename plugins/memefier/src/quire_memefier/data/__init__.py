"""Readers of the public releases' layouts and of users' own tables."""
