"""The floor where there is no C compiler: the same program in Python."""

import resource
import select
import socket
import sys
import time

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n:\n\n\r\n"
EVENT = b"x" * 362 + b"\n\n\r\n"


def main() -> None:
    """Until the input ends."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16_384), most))
    clients: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            ready, _, _ = select.select([listener, sys.stdin], [], [])
            if listener in ready:
                client, _ = listener.accept()
                client.recv(4096)
                client.send(HEAD)
                clients.append(client)
            elif not (line := sys.stdin.readline()):
                return
            elif line.startswith("t"):
                began = time.perf_counter()
                for client in clients:
                    client.send(EVENT)
                print(began, began, flush=True)
            else:
                print(time.process_time(), flush=True)


main()
