"""What is measured beside the loop: speed, memory, shares, norms, collapse."""
