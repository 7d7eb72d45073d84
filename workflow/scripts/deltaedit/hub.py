"""Ask the Hugging Face Hub with patience, and say in one line why it refuses.

huggingface_hub resumes a file within a call when the connection closes or stalls, and repeats the
question for a file's address (timeouts, network errors, 408, 429, 5xx). Added here, because it does
neither: the same patience for the list of files, for a connection that is reset, for a 5xx answer
to the transfer itself and for its Xet client.
"""

import itertools
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from deltaedit.errors import UserError

T = TypeVar("T")

log = logging.getLogger(__name__)


class SourceError(UserError):
    """A user's mistake or a source refused; one line that says where, what and what to do."""


@dataclass(frozen=True)
class Commit:
    """A repository of the Hub at one commit.

    Raises:
        SourceError: the revision is missing, or not a full commit hash.
    """

    repo: str
    revision: str | None
    folder: str = ""  # where such repositories stand on the Hub, "datasets/" or, of models, none
    key: str = "revision"  # where the config states the revision
    retries: int = 5  # how often a request that failed for a passing reason is repeated
    wait: float = 2.0  # seconds before the first repetition; it doubles with each further one

    def __post_init__(self) -> None:
        if self.revision is None:
            raise SourceError(
                f"hub {self.folder}{self.repo}: {self.key} is null; fill in the 40 digits of a "
                f"commit, to be copied from {self.page}/commits/main"
            )
        if not re.fullmatch("[0-9a-f]{40}", self.revision):
            raise SourceError(
                f"{self.where}: revision {self.revision!r} is not a full commit hash; copy its 40 "
                f"digits from {self.page}/commits/main"
            )

    @property
    def where(self) -> str:
        """What begins every message."""
        offline = " (offline, from the cache)" if constants.is_offline_mode() else ""
        return f"hub {self.folder}{self.repo}@{self.revision[:8]}{offline}"

    @property
    def page(self) -> str:
        """Where a person sees the repository."""
        return f"{constants.ENDPOINT}/{self.folder}{self.repo}"

    def ask(self, act: Callable[..., T], *args: Any) -> T:
        """Return `act(repo, revision, *args)`, repeated after a failure that may pass.

        Raises:
            SourceError: it failed for good.
        """
        question = partial(act, self.repo, self.revision, *args)
        return _retried(question, self.where, self.page, self.retries, self.wait)


def refuse_open(downloads: Iterable[tuple[str, str, str]]) -> None:
    """Refuse downloads whose revision the config leaves open.

    Args:
        downloads: one or more; of each the key of the config that is to state the revision, and
            the folder of such repositories on the Hub and the repository, as for `Commit`.

    Raises:
        SourceError: what to write for the first of them, and the keys of the others.
    """
    (key, folder, repo), *others = sorted(downloads)
    try:
        Commit(repo, None, folder, key)
    except SourceError as error:
        also = f"; also null: {', '.join(key for key, *_ in others)}" if others else ""
        raise SourceError(f"{error}{also}") from None


def _retried(act: Callable[[], T], where: str, page: str, retries: int, wait: float) -> T:
    """Return `act()`; after a failure that may pass wait, and try again, `retries` times."""
    for attempt in itertools.count(1):
        try:
            return act()
        except SourceError:
            raise
        except (httpx2.HTTPError, OSError, RuntimeError, ValueError) as raised:
            # huggingface_hub wraps what went wrong when it asked for a file's address
            error = (isinstance(raised, LocalEntryNotFoundError) and raised.__cause__) or raised
            what = " ".join(str(error).split()) or type(error).__name__
            if attempt > retries or not _may_pass(error):
                raise SourceError(f"{where}: {_refusal(error, what, page)}") from raised
            pause = wait * 2 ** (attempt - 1)
            log.warning("%s: %s; retry %d of %d in %g s", where, what, attempt, retries, pause)
            time.sleep(pause)


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code in (408, 429) or error.response.status_code >= 500
    if isinstance(error, OfflineModeIsEnabled | httpx2.UnsupportedProtocol | ValueError):
        return False
    if isinstance(error, OSError):
        return error.errno is None  # the machine's own errors have a number, as a full disk has
    return True  # not connected, or a RuntimeError, which is all that Xet's client raises


def _refusal(error: BaseException, what: str, page: str) -> str:
    """Say in one line what went wrong and what to do."""
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    if isinstance(error, GatedRepoError):
        return f"gated; accept the licence on {page} and set HF_TOKEN to a token of that account"
    if isinstance(error, RevisionNotFoundError):
        return f"no such revision; copy a full commit hash from {page}/commits/main"
    if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
        return f"no such repository, or not for you; check {page}, and that HF_TOKEN may read it"
    if isinstance(error, OfflineModeIsEnabled):
        return "not complete in the cache; unset HF_HUB_OFFLINE, and run again with a connection"
    if isinstance(error, HFValidationError):
        return f"{what}; write repo as organisation/name"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{what}; mend it, or set HF_HOME to a folder on a disk with room"
    return f"{what}; check connection and HF_ENDPOINT and run again: whole files are kept"
