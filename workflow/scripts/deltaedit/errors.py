"""The one exception that is a user's business."""


class UserError(ValueError):
    """Something the user can mend; the message is one line: where, what, what to do.

    A job that ends with it prints that line alone; any other exception prints its traceback.
    """
