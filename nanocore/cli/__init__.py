"""The commands `nano` and `nano-kernel`."""
