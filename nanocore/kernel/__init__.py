"""The kernel: routing, membership, dispatch, operations, streams, and the node that joins them."""
