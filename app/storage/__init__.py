"""Where studies come from and where they go: allowed directories, archives, object stores."""
