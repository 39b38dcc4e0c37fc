"""Who acts."""

import os


def user() -> str:
    """Who runs this process, as the operating system knows: not what an environment variable says."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        import getpass

        return getpass.getuser() if not hasattr(os, "geteuid") else f"uid {os.geteuid()}"
