"""What every benchmark against a reference way shares: its rows, how it is timed, and the page that they make."""
