"""What verl is told (configuration) and what runs inside it (plugins)."""
