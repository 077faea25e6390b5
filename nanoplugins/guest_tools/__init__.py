"""What is inside guests: cloud-init seeds, the QEMU guest agent, readiness."""
