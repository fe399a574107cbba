"""Studies: arms x seeds on one task, compared fairly, judged in pairs, and reported."""
