"""Finding, checking and calling plugins. The home of pluggy, with `hookspecs`."""
