"""The one exception that a user is meant to read."""


class TmiError(Exception):
    """A mistake in the input or the environment, told in one sentence.

    The sentence names the file, key or array, what was found and what was expected. The command line prints it
    without a traceback and exits with code 2.
    """
