"""A recorded run for people: its curves, its pictures, its page."""
