"""Functions on tensors: each fast form beside the slow reference."""
