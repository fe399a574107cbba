"""What waves look like inside a model: measured, drawn, and judged against a threshold."""
