"""The result for people: terminal, Markdown, HTML."""
