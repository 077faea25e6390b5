"""The public HTTP API: listeners, routes, events, consoles, uploads and the portal's files."""
