"""What goes wrong inside a step: not finite, out of step, samples that fail."""
