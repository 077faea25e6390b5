"""What the kernel itself calls or offers; everything here is public to plugins."""
