# SPDX-License-Identifier: GPL-2.0-or-later
"""People's own programs behind the gateway: natpmpc, transmission-daemon and libtorrent, as Debian 12 ships them.

What they were seen to do, with a lease of 10 s:

  natpmpc            opcode 0 first, then the mapping; each time a new one
  Transmission 3.00  opcode 0; then 8 s of looking for UPnP, in which answers lie unread; then TCP alone, for 3600 s, wishing for its
                     own port. It did not renew in the 15 s after. Announces the outer port when its torrent begins after the answer.
  libtorrent 2.0.8   PCP MAP first; at "unsupported version" NAT-PMP at once: TCP, opcode 0, UDP, one after the other, each for
                     3600 s. Renews after 6.9 s, wishing for the outer port that it was told last, with a portmap_alert each
                     time. The whole takes 15 ms.
"""
import hashlib
import http.server
import json
import os
import re
import socket
import struct
import threading
import time
import unittest
from urllib.parse import parse_qs, urlsplit

from lab.home import *
from pmp import TCP, UDP

LIBTORRENT = """
import json, sys, time
import libtorrent as lt
session = lt.session({"listen_interfaces": "0.0.0.0:6881", "enable_natpmp": True, "enable_upnp": False, "enable_dht": False,
                      "enable_lsd": False, "alert_mask": lt.alert.category_t.port_mapping_notification})
session.add_torrent({"info_hash": bytes.fromhex(sys.argv[1]), "save_path": sys.argv[2], "flags": lt.torrent_flags.update_subscribe})
while True:
    session.wait_for_alert(1000)
    for a in session.pop_alerts():
        said = {"alert": type(a).__name__, "text": a.message()}
        if isinstance(a, lt.portmap_alert):
            said["outer"], said["protocol"] = a.external_port, "udp" if int(a.map_protocol) == 2 else "tcp"
        print(json.dumps(said), flush=True)
"""


class Ear:
    """Hears what goes to the gateway's port 5351 on the LAN: (seconds since it began, client, payload)."""

    def __init__(self, lab):
        self.heard = []
        self.began = time.monotonic()
        self.socket = lab.socket("router", socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800), timeout=None)
        self.socket.bind(("lan", 0x0800))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        try:
            while True:
                packet = self.socket.recv(2048)
                start = (packet[0] & 15) * 4
                if packet[9] == 17 and struct.unpack("!H", packet[start + 2:start + 4])[0] == 5351:
                    self.heard.append((time.monotonic() - self.began, socket.inet_ntoa(packet[12:16]), packet[start + 8:]))
        except OSError:
            pass  # closed: the laboratory ends

    def maps(self, client, opcode, port):
        """NAT-PMP requests of one mapping: [(seconds, suggested port, lifetime)]."""
        return [(at, *struct.unpack("!HI", data[6:12])) for at, who, data in self.heard
                if who == client and len(data) == 12 and data[:2] == bytes([0, opcode]) and struct.unpack("!H", data[4:6])[0] == port]


class Tracker:
    """An HTTP tracker (BEP 3, compact peers of BEP 23) that tells a peer's address as it sees it and the port as announced.

    blind: addresses that hear of no peer, so that they cannot be the ones who connect.
    """

    def __init__(self, lab, role, address, blind=()):
        self.announced = []  # (address seen, port said, event)
        tracker = self

        class Announce(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                asked = parse_qs(url.query, encoding="latin-1")
                if url.path != "/announce":
                    self.send_error(404)  # a scrape, which a tracker need not know
                    return
                seen, port = self.client_address[0], int(asked["port"][0])
                others = {(a, p) for a, p, _ in tracker.announced if (a, p) != (seen, port)} if seen not in blind else ()
                tracker.announced.append((seen, port, asked.get("event", [""])[0]))
                peers = b"".join(socket.inet_aton(a) + struct.pack("!H", p) for a, p in others)
                body = b"d8:intervali60e12:min intervali1e5:peers%d:%se" % (len(peers), peers)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        s = lab.socket(role, socket.AF_INET, socket.SOCK_STREAM, timeout=None)
        s.bind((address, 6969))
        s.listen(16)
        server = http.server.ThreadingHTTPServer((address, 6969), Announce, bind_and_activate=False)
        server.socket.close()
        server.socket = s
        server.daemon_threads = True
        self.url = f"http://{address}:6969/announce"
        self._server = server
        threading.Thread(target=server.serve_forever, args=[0.2], daemon=True).start()

    def close(self):
        self._server.shutdown()


class Transmission:
    """A transmission-daemon in a role, and its remote control."""

    def __init__(self, home, role, *options):
        self.home, self.role = home, role
        self.directory = os.path.join(home.directory, role)
        self.files = os.path.join(self.directory, "files")
        os.makedirs(self.files)
        self.daemon = home.spawn(role, ["transmission-daemon", "--foreground", "--log-debug", "--config-dir", self.directory,
                                        "--download-dir", self.files, "--no-dht", "--no-lpd", "--no-utp", "--port", 9091, *options],
                                 env={**os.environ, "HOME": self.directory})
        eventually(lambda: self.remote("--list", check=False).returncode == 0, 10, "transmission-daemon's remote control")

    def remote(self, *words, check=True):
        return self.home.run(self.role, ["transmission-remote", "9091", *words], check=check)

    def percent(self):
        match = re.search(r"Percent Done: ([\d.]+)%", self.remote("--torrent", "1", "--info").stdout)
        return float(match.group(1)) if match else 0.0


class Clients(unittest.TestCase):
    """One home; each client has ports of its own."""

    @classmethod
    def setUpClass(cls):
        cls.home = cls.enterClassContext(Home())
        # Renewals come within the test; one of these flushes the carrier, and spare holes would know a little later.
        cls.gateway = cls.home.gateway("--lease", "10", "--watch", "1", "--pool", "0", ready=CHECKED)
        cls.ear = Ear(cls.home)

    def natpmpc(self, *words, check=True):
        return self.home.run("lan1", ["natpmpc", *words], check=check).stdout

    def test_natpmpc(self):
        """natpmpc finds the gateway by itself, renews and deletes, and strangers come in just as long"""
        echo = Echo(self.home, "lan1", 7001)
        self.assertIn(f"Public IP address : {PUBLIC}", self.natpmpc())
        for protocol, knock in [("udp", knock_udp), ("tcp", knock_tcp)]:
            first, again = (int(re.search(r"Mapped public port (\d+) protocol", self.natpmpc("-a", 0, 7001, protocol, seconds)).group(1))
                            for seconds in [3600, 60])
            self.assertEqual(first, again, "a renewal keeps the port")
            self.assertEqual(knock(self.home, (PUBLIC, first), b"knock"), b"echo knock")
            self.assertIn("Mapped public port 0", self.natpmpc("-a", 0, 7001, protocol, 0))
            options = {"tries": 1} if protocol == "udp" else {}
            self.assertIsNone(knock(self.home, (PUBLIC, first), b"late", timeout=0.5, **options))
            self.assertNotIn(f"{protocol}.{LAN1}.7001", self.home.elements("outbound"))
        self.assertNotIn(b"late", [seen[1] for seen in echo.seen])

    def test_transmission(self):
        """A stranger's Transmission downloads from one behind the gateway, found through a tracker by the outer port"""
        home = self.home
        tracker = Tracker(home, "stun2", STUN2, blind=[PUBLIC])
        self.addCleanup(tracker.close)
        # Nobody reaches the stranger: what is downloaded came over a connection that he opened.
        home.nft("stranger", "table inet shut { chain input { type filter hook input priority 0; iifname eth0 tcp flags & (syn | ack) == syn drop; }; }")
        seed = Transmission(home, "lan1", "--peerport", 51413, "--portmap")
        content = os.urandom(1 << 20)
        with open(os.path.join(seed.files, "film"), "wb") as file:
            file.write(content)
        torrent = os.path.join(home.directory, "film.torrent")
        home.run("lan1", ["transmission-create", "-o", torrent, "-t", tracker.url, os.path.join(seed.files, "film")])

        relay = int(eventually(lambda: home.elements("outbound").get(f"tcp.{LAN1}.51413"), 20, "the mapping"))
        outer = int(re.search(r"outer=\S+:(\d+)", self.gateway.wait_line(f"hole open: protocol=TCP client={LAN1}:51413")).group(1))
        seed.daemon.wait_line("Port 51413 forwarded successfully")
        seed.remote("--add", torrent)
        eventually(lambda: seed.percent() == 100, 20, "the seed's check of its file")
        eventually(lambda: tracker.announced, 20, "the seed's announcement")
        self.assertEqual({(a, p) for a, p, _ in tracker.announced}, {(PUBLIC, outer)}, f"relay port {relay}")

        leech = Transmission(home, "stranger", "--peerport", 51414, "--no-portmap")
        leech.remote("--add", torrent)
        eventually(lambda: leech.percent() == 100, 30, "the stranger's download")
        with open(os.path.join(leech.files, "film"), "rb") as file:
            self.assertEqual(hashlib.sha256(file.read()).digest(), hashlib.sha256(content).digest())

    def libtorrent(self, info_hash):
        # Debian's module belongs to Debian's python3
        return self.home.spawn("lan2", ["/usr/bin/python3", "-c", LIBTORRENT, info_hash.hex(), self.home.directory])

    def mapped(self, client, protocol, after=0):
        """The outer ports in libtorrent's portmap_alerts."""
        said = [json.loads(line) for line in client.lines[after:] if line.startswith("{")]
        return [s["outer"] for s in said if s["alert"] == "portmap_alert" and s["protocol"] == protocol]

    def test_libtorrent(self):
        """libtorrent falls back from PCP to NAT-PMP, reports the outer ports, and strangers reach it there over TCP and uTP"""
        info_hash = hashlib.sha1(b"stunway").digest()
        client = self.libtorrent(info_hash)
        tcp, udp = (eventually(lambda: self.mapped(client, p), 20, f"libtorrent's {p} mapping")[-1] for p in ["tcp", "udp"])
        s = self.home.socket("stranger", socket.AF_INET, socket.SOCK_STREAM)
        s.connect((PUBLIC, tcp))
        hello = b"\x13BitTorrent protocol" + bytes(8) + info_hash
        s.sendall(hello + b"-ST0001-stranger0001")
        answer = s.recv(68, socket.MSG_WAITALL)
        self.assertEqual((answer[:20], answer[28:48]), (hello[:20], info_hash))
        # uTP (BEP 29): ST_SYN is answered with ST_STATE
        syn = struct.pack("!BBHIIIHH", 0x41, 0, 4711, 0, 0, 65536, 1, 0)
        self.assertEqual(knock_udp(self.home, (PUBLIC, udp), syn)[:4], struct.pack("!BBH", 0x21, 0, 4711))
        asked = [data[:2] for _, who, data in self.ear.heard if who == LAN2]
        self.assertEqual(list(dict.fromkeys(asked)), [b"\2\1", b"\0\2", b"\0\0", b"\0\1"])  # after 250 ms it asks again

        again, _, _ = eventually(lambda: next((r for r in self.ear.maps(LAN2, UDP, 6881) if r[1] == udp), None), 15, "the renewal")
        first, _, asked = self.ear.maps(LAN2, UDP, 6881)[0]
        self.assertEqual(asked, 3600)
        self.assertLess(again - first, 10, "before the lease ends")
        # The lease is what makes it ask again, and so hear of the carrier's new port.
        mark = len(client.lines)
        self.home.nat("flush")
        new = eventually(lambda: next((outer for outer in self.mapped(client, "udp", mark) if outer != udp), None), 25, "the new port")
        self.assertEqual(knock_udp(self.home, (PUBLIC, new), syn)[:4], struct.pack("!BBH", 0x21, 0, 4711))


