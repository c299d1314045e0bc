"""Readers for users' own data: a folder for each class, or a table with a column for each field."""

from quire.readers.folder import FolderDataset
from quire.readers.options import NamedTask, ReaderOptions, named_task
from quire.readers.table import TableDataset

__all__ = ["FolderDataset", "NamedTask", "ReaderOptions", "TableDataset", "named_task"]
