"""Readers of face data on their public layouts: identity folders, lists, IDX, RecordIO, insightface's files, tar archives."""
