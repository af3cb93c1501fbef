"""Order, failure and processes: the steps behind the commands."""
