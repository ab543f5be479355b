"""The errors that tell users of the toolkit what is wrong with their input, and what to do."""


class UserError(ValueError):
    """Input that cannot be used; the message names the file or field, what was expected, and what to do.

    Command lines print the message without a traceback and exit with code 2.
    """


class DataError(UserError):
    """A dataset that is unknown, cannot be fetched, or does not hold sequences of items."""


class CheckpointError(UserError):
    """A file that is not a checkpoint this version can read."""


class ConfigError(UserError):
    """A setting outside its allowed range, or settings that do not fit together."""
