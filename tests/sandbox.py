"""What tests of code that a model writes need of the machine."""

import pytest

from deltaedit import sandbox
from deltaedit.errors import UserError


def _why_none() -> str:
    try:
        sandbox.require()
    except UserError as error:
        return str(error)
    return ""


NEEDS_SANDBOX = pytest.mark.skipif(bool(_why_none()), reason=_why_none())
