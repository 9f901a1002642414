"""The outbox file of workrs.py: only a device that wants it imports, and needs, this.

1. Records are appended, each with its checksum, and the file system is asked to write them
   before `append` returns. One that a loss of power tore was of a `submit` that never returned.
2. The file is written anew, beside the old one, when a job ends: it holds the open jobs alone.
3. FAT puts no file in another's place, so there the old one is removed first; what a loss of
   power leaves between the two is found by `load`.
"""

import os
from binascii import crc32

_PAYLOAD_MAX = 98304


class Outbox:
    """The jobs of one device, in one file."""

    def __init__(self, path):
        self._path = path

    def append(self, kind, topic, payload=b""):
        """Add a record: S a job, A its acceptance, C the wish to cancel it. Raises OSError."""
        with open(self._path, "ab") as file:
            _put(file, kind, topic, payload)
        _sync()

    def rewrite(self, jobs):
        """Keep the jobs that have not ended. Raises OSError; then the old file is still right."""
        new = self._path + ".new"
        with open(new, "wb") as file:
            for job in jobs.values():
                if job.payload is not None and not job.done:
                    _put(file, b"S", job.topic, job.payload)
                    if job.accepted:
                        _put(file, b"A", job.name)
                    if job.cancel:
                        _put(file, b"C", job.name)
        _sync()
        try:
            os.rename(new, self._path)
        except OSError:
            os.remove(self._path)
            os.rename(new, self._path)
        _sync()

    def load(self, jobs, make):
        """Put the jobs of the file into *jobs*, by name; cut off a torn end."""
        try:
            os.stat(self._path)
        except OSError:
            try:
                os.rename(self._path + ".new", self._path)
            except OSError:
                return
        with open(self._path, "rb") as file:
            while _read(file, jobs, make):
                pass
        self.rewrite(jobs)


def _read(file, jobs, make):
    head = file.read(10)
    length = int.from_bytes(head[2:6], "big")
    if len(head) < 10 or length > _PAYLOAD_MAX:
        return False
    topic, payload = file.read(head[1]), file.read(length)
    if _sum(head[:6], topic, payload) != head[6:]:
        return False
    topic = topic.decode()
    name = topic.split("/")[-1]
    if head[:1] == b"S":
        jobs[name] = make(name, topic, payload)
    elif name in jobs:  # else the record of the job itself was lost with the file before this one
        if head[:1] == b"A":
            jobs[name].accepted = True
        else:
            jobs[name].cancel = 1
    return True


def _put(file, kind, topic, payload=b""):
    topic = topic.encode()
    head = kind + bytes((len(topic),)) + len(payload).to_bytes(4, "big")
    file.write(head + _sum(head, topic, payload) + topic)
    file.write(payload)


def _sum(head, topic, payload):
    return crc32(payload, crc32(topic, crc32(head))).to_bytes(4, "big")


def _sync():
    # Ports without it write a file when it is closed.
    if hasattr(os, "sync"):
        os.sync()
