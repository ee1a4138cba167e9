# SPDX-License-Identifier: MIT
"""What the NAT before this machine does, by libstunway.

    from stunway import get_nat_info
    print(get_nat_info(("stun.example.org", 3478), port_mode_check=True))

The signature and the dictionary are those of stuntools. Standard library only; the environment
variable STUNWAY_LIBRARY names another libstunway.so than the one the loader finds.
"""
import ctypes
import functools
import json
import os

__all__ = ["get_nat_info"]

ROOM = 4096  # STUNWAY_JSON_MAX


@functools.lru_cache(maxsize=None)
def _library(name):
    lib = ctypes.CDLL(name)
    lib.stunway_nat_json.restype = ctypes.c_int
    lib.stunway_nat_json.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t,  # the answer's room
        ctypes.c_char_p, ctypes.c_uint16,  # server, port
        ctypes.c_char_p, ctypes.c_uint16,  # local address, port
        ctypes.c_int, ctypes.c_uint, ctypes.c_int]  # ip_version, timeout_ms, port_mode
    return lib


def _port(value, least):
    if not isinstance(value, int) or not least <= value <= 65535:
        raise ValueError(f"port {value!r}: must be a number from {least} to 65535")
    return value


def get_nat_info(stun_addr, local_addr=None, ip_version=4, timeout=2, port_mode_check=False):
    """Asks the STUN server stun_addr, (host, port), and waits for the verdict, at most timeout seconds.

    local_addr: (address, port) to ask from, ('0.0.0.0', port) for any address; ip_version: 4 or 6.
    Returns {'type', 'external', 'info', 'port_mode'}: external is (address, port), or () when not
    known; info says why, for Error, Blocked and Unknown; port_mode is '' when not asked or not known.
    ValueError for arguments that are wrong in themselves, OSError when there is no libstunway.
    """
    host, port = stun_addr[:2]
    local, local_port = local_addr[:2] if local_addr is not None else (None, 0)
    if local == "":
        raise ValueError("local_addr: an empty address; say '0.0.0.0' or '::' for any")
    if ip_version not in (4, 6):
        raise ValueError(f"ip_version {ip_version!r}: must be 4 or 6")
    if not 0.1 <= timeout <= 600:
        raise ValueError(f"timeout {timeout!r}: must be seconds from 0.1 to 600")
    text = ctypes.create_string_buffer(ROOM)
    err = _library(os.environ.get("STUNWAY_LIBRARY", "libstunway.so.0")).stunway_nat_json(
        text, ROOM, host.encode(), _port(port, 1), local.encode() if local else None, _port(local_port, 0), ip_version,
        int(timeout * 1000), int(bool(port_mode_check)))
    if err == -12:
        raise MemoryError
    if err < 0:
        raise ValueError(f"stun_addr {stun_addr!r}, local_addr {local_addr!r}, ip_version {ip_version}: {os.strerror(-err)}")
    info = json.loads(text.value)
    external = info["external"]
    return {"type": info["type"], "external": (external["address"], external["port"]) if external else (),
            "info": info["info"], "port_mode": info["port_mode"]}
