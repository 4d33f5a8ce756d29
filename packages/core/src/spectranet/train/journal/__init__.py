"""What a run tells: figures and events in files, lines in the terminal, trackers."""
