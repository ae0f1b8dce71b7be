"""All knowledge of the Zarr layout."""

from contexture.store.audit import Audit, open_store, run_table
from contexture.store.base import Store

__all__ = ["Audit", "Store", "open_store", "run_table"]
