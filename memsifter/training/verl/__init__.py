"""verl's configuration, and the plugins that run inside verl."""
