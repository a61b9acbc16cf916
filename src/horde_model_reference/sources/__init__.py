"""Where a reader gets snapshots: the store, files, PRIMARY over HTTP, the package itself, and policies over them."""
