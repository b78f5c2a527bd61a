from .embedded import (
    RedisServer as RedisServer,
    ServerStatus as ServerStatus,
    server_status as server_status,
    shared_server as shared_server,
    start_to_stay as start_to_stay,
    stop_server as stop_server,
)
from ._urls import without_password as without_password
