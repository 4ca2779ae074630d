"""The web server's own errors, for requests that are not valid HTTP, in the shape of the API's.

gunicorn answers these before any application code runs, and knows no path where the request line
cannot be read. So every such error has the envelope of `/v1`.
"""

import json
import socket

from gunicorn import util

FIXES = {
    408: "Send the whole request within 10 seconds, and at least 1,000 bytes a second.",
    413: "Send a smaller file.",
    414: "Shorten the address; send data in the body.",
    431: "Send fewer or shorter headers.",
}


def install() -> None:
    """Use the envelope in this process."""
    util.write_error = write_error


def write_error(sock: socket.socket, status: int, reason: str, message: str) -> None:
    """Write the error to a connection that gunicorn closes afterwards."""
    code = "VALIDATION_ERROR" if status < 500 else "INTERNAL_ERROR"
    text = " ".join(
        filter(None, [f"{reason}: {message}." if message else f"{reason}.", FIXES.get(status)])
    )
    body = json.dumps({"success": False, "error": {"code": code, "message": text}}).encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Access-Control-Allow-Origin: *\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    util.write_nonblock(sock, head.encode("latin-1") + body)
