"""The one kind of error that is the user's to mend."""


class UserError(ValueError):
    """What went wrong and what to do about it, in one plain sentence.

    The command line prints the message alone and exits with 1; `--debug` shows the traceback. Anything that is our own
    mistake stays an `AssertionError` or whatever Python raised.
    """


class Interrupted(Exception):
    """The user asked to stop and everything is saved; the message says how to go on."""
