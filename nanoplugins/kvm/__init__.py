"""Hypervisor driver for libvirt and QEMU."""
