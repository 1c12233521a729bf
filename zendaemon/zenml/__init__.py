"""All that knows the ZenML server's API: the client, and the resolver that turns names into the server's ids."""

from zendaemon.zenml.auth import ApiKey, Credentials, Secret, Token, UserPassword
from zendaemon.zenml.client import Start, ZenML
from zendaemon.zenml.errors import Answer
from zendaemon.zenml.freshness import Freshness
from zendaemon.zenml.info import Generation, ServerInfo
from zendaemon.zenml.resolver import Resolver
from zendaemon.zenml.wire import Limits

__all__ = [
    "Answer",
    "ApiKey",
    "Credentials",
    "Freshness",
    "Generation",
    "Limits",
    "Resolver",
    "Secret",
    "ServerInfo",
    "Start",
    "Token",
    "UserPassword",
    "ZenML",
]
