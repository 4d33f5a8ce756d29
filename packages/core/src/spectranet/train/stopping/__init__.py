"""How does a run end before its last step: signals, ranks that hang or are lost, exit codes."""
