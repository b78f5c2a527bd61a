"""Which server an index is on, as it was said where the index was made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ragknn._checks import check_flag, described
from ragknn._secrets import guarded_url
from ragknn.errors import ConfigurationError
from ragknn.indexing._own_settings import resolve_url
from ragknn.server._connection import check_client, check_url, is_cluster
from ragknn.server._urls import as_cluster_url, is_cluster_url, reads_from_replicas

if TYPE_CHECKING:
    from ragknn.settings import Settings


@dataclass(frozen=True, slots=True)
class Reach:
    """How an index is reached.

    Attributes:
        url: the URL that was passed; its password shows nowhere.
        client: the client that was handed in, which is used as it is.
        of_cluster: whether the URL is one of a node of a cluster, whatever its scheme.
        from_replicas: whether replicas are asked, whatever the URL says.
    """

    url: str | None
    client: Any
    of_cluster: bool
    from_replicas: bool

    @classmethod
    def of(cls, url: str | None, client: Any, cluster: bool, read_from_replicas: bool, *, asynchronous: bool) -> Reach:
        """Return it as the arguments of `Index` say.

        Raises:
            TypeError, ValueError: an argument that cannot be, or two that do not fit together.
        """
        if url is not None and client is not None:
            raise ValueError("expected either url or client, got both")
        check_flag("read_from_replicas", read_from_replicas)
        if read_from_replicas and client is not None:
            raise ValueError(
                "expected url with read_from_replicas, as in redis+sentinel://host:26379/service, got client, which is "
                "used as it is"
            )
        check_url(url)
        if client is not None:
            check_client(client, asynchronous=asynchronous)
        check_flag("cluster", cluster)
        if cluster and client is not None and not is_cluster(client):
            raise ValueError(f"expected a RedisCluster as client with cluster=True, got {described(client)}")
        return cls(guarded_url(url), client, cluster, read_from_replicas)

    def resolved_url(self, settings: Settings) -> str:
        """Return the URL to connect to; starts the embedded server where none is named.

        Raises:
            ConfigurationError: none is named, and it is to be that of a cluster.
        """
        url = self.url
        if self.of_cluster:
            if not (url := url or settings.url):
                raise ConfigurationError("expected the URL of a node with cluster=True, got none: pass url=")
            url = as_cluster_url(url)
        return resolve_url(url, settings)

    def asks_replicas(self, url: str) -> bool:
        """Whether replicas answer what only asks."""
        return self.from_replicas or (not is_cluster_url(url) and reads_from_replicas(url))
