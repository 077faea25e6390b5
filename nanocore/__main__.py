"""``python -m nanocore`` is ``nano-kernel``."""

from nanocore.cli.kernel import main

if __name__ == "__main__":
    main()
