"""EleutherAI's lm_eval on runs: its tasks, their results by example, and studies compared on them."""
