"""
Where the rooms meet, a module a seam: who offers it, who uses it, what it promises.

Values that cross a seam stand beside it. Nothing here knows a protocol or a table.
Coroutines are driven with Deferreds on the reactor thread; all methods are called there.
"""

from lmrelay.interfaces.acceptance import Awaited, IAcceptance, IBody, IReturns, Submission
from lmrelay.interfaces.delivery import (
    IContent,
    IDispatch,
    IPolicyStore,
    IQueue,
    ITlsCounts,
    Lane,
    Leased,
    LeasedRecipient,
    RecipientKey,
    SiteState,
    StsRecord,
)
from lmrelay.interfaces.dns import Answer, IResolver, MxRecord
from lmrelay.interfaces.hooks import Due, Endpoint, IHooks, Telling, Told, Want
from lmrelay.interfaces.oversight import IOversight, Record, Untold, Waiting
from lmrelay.interfaces.settings import ISettings
from lmrelay.interfaces.submitters import ICramCredentials, ISubmitter, ITokenCredentials, ITokenUse

__all__ = [
    "Answer",
    "Awaited",
    "Due",
    "Endpoint",
    "IAcceptance",
    "IBody",
    "IContent",
    "ICramCredentials",
    "IDispatch",
    "IHooks",
    "IOversight",
    "IPolicyStore",
    "IQueue",
    "IResolver",
    "IReturns",
    "ISettings",
    "ISubmitter",
    "ITlsCounts",
    "ITokenCredentials",
    "ITokenUse",
    "Lane",
    "Leased",
    "LeasedRecipient",
    "MxRecord",
    "RecipientKey",
    "Record",
    "SiteState",
    "StsRecord",
    "Submission",
    "Telling",
    "Told",
    "Untold",
    "Waiting",
    "Want",
]
