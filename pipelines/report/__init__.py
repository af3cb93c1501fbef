"""The report: one HTML page that needs nothing but itself, from the runs, shards and models of a workspace."""
