"""Atomic files and folders, locks, content hashes, the feature cache, and readers that can't run code."""

from quire.storage.cache import FeatureCache, cache_root
from quire.storage.files import JSON, atomic_file, atomic_folder, read_json, recover_folder, write_json
from quire.storage.hashes import content_hash
from quire.storage.locks import lock
from quire.storage.pickles import read_checkpoint, read_pickle
from quire.storage.trees import load_tree, pack_tree, save_tree, tree_hash, unpack_tree

__all__ = [
    "JSON",
    "FeatureCache",
    "atomic_file",
    "atomic_folder",
    "cache_root",
    "content_hash",
    "load_tree",
    "lock",
    "pack_tree",
    "read_checkpoint",
    "read_json",
    "read_pickle",
    "recover_folder",
    "save_tree",
    "tree_hash",
    "unpack_tree",
    "write_json",
]
