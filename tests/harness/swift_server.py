"""OpenStack Swift in one process: a proxy with tempauth, and one account, container and object server.

    swift_server.py DIRECTORY PORT USER KEY

USER is `account:name`. There is one device, a directory, and one replica. memcached, where tempauth keeps its
tokens, runs beside it and ends with it. Everything listens on 127.0.0.1.
"""

import ctypes
import os
import signal
import subprocess
import sys

import eventlet

eventlet.monkey_patch()

PR_SET_PDEATHSIG = 1

directory, port, user, key = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
settings = os.path.join(directory, "etc")
devices = os.path.join(directory, "devices")
for path in settings, os.path.join(devices, "d"):
    os.makedirs(path, exist_ok=True)
try:
    os.setxattr(devices, "user.holdfast", b"")
except OSError as error:
    sys.exit(f"{devices}: {error}: Swift needs a file system with extended attributes, say which by TMPDIR")


def write(name, text):
    path = os.path.join(settings, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


# Swift reads this file when it is imported.
import swift.common.utils as utils

utils.SWIFT_CONF_FILE = write("swift.conf", """[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
""")
utils.validate_hash_conf()

from swift.common import storage_policy

storage_policy.SWIFT_CONF_FILE = utils.SWIFT_CONF_FILE
storage_policy.reload_storage_policies()

from eventlet import wsgi
from swift.common.ring import RingBuilder
from swift.common.wsgi import loadapp


def listen(number=0):
    return eventlet.listen(("127.0.0.1", number))


common = f"""[DEFAULT]
swift_dir = {settings}
devices = {devices}
mount_check = false
log_level = WARNING
"""
servers = []
for kind in "account", "container", "object":
    listener = listen()
    rings = RingBuilder(4, 1, 0)
    rings.add_dev({"id": 0, "region": 1, "zone": 1, "ip": "127.0.0.1", "port": listener.getsockname()[1],
                   "device": "d", "weight": 1, "meta": ""})
    rings.rebalance()
    rings.get_ring().save(os.path.join(settings, kind + ".ring.gz"))
    text = f"[pipeline:main]\npipeline = server\n[app:server]\nuse = egg:swift#{kind}\n"
    servers.append((listener, write(kind + ".conf", common + text)))

memory = listen()
memory_port = memory.getsockname()[1]
memory.close()
subprocess.Popen(
    ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(memory_port), "-m", "8"],
    preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
)
filters = "catch_errors gatekeeper cache listing_formats bulk tempurl tempauth copy slo dlo"
pipeline = f"[pipeline:main]\npipeline = {filters} server\n[app:server]\nuse = egg:swift#proxy\naccount_autocreate = true\n"
options = {
    "cache": f"memcache_servers = 127.0.0.1:{memory_port}\n",
    "tempauth": f"user_{user.replace(':', '_')} = {key} .admin\n",
}
for name in filters.split():
    egg = "memcache" if name == "cache" else name
    pipeline += f"[filter:{name}]\nuse = egg:swift#{egg}\n{options.get(name, '')}"
servers.append((listen(port), write("proxy.conf", common + pipeline)))
silent = open(os.devnull, "w", encoding="utf-8")
threads = [eventlet.spawn(wsgi.server, listener, loadapp(conf), silent) for listener, conf in servers]
for thread in threads:
    thread.wait()
