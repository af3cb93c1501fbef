"""The commands one after the other, as a user runs them."""
