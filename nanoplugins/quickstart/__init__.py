"""Sets up a fresh machine, builds the demo disk image and starts the first instance."""
