"""The outbox file of workrs.py: only a device that wants it imports, and needs, this.

1. Records are appended, each with its checksum, and the file system is asked to write them
   before `append` returns. One that a loss of power tore was of a `submit` that never returned.
   What a full disk tore is taken away before the next is written, which would else not be found.
2. The file is written anew, beside the old one, when a job ends: it holds the open jobs alone.
3. FAT puts no file in another's place, so there the old one is removed first; what a loss of
   power leaves between the two is found by `load`.
"""

import os
from binascii import crc32


class Outbox:
    """The jobs of one device, in one file."""

    def __init__(self, path):
        self.path = path
        self.done = True  # whether the last record is whole

    def append(self, kind, topic, payload=b""):
        """Add a record: S a job, A its acceptance, C the wish to cancel it. Raises OSError.

        The letters are given as numbers: a constant of bytes takes 32 of the heap.
        """
        if not self.done:
            self.rewrite(self._jobs)
        self.done = False
        with open(self.path, "ab") as file:
            _put(file, kind, topic, payload)
        _sync()
        self.done = True

    def rewrite(self, jobs):
        """Keep the jobs that have not ended. Raises OSError; then the old file is still right."""
        name = self.path + ".new"
        with open(name, "wb") as file:
            for job in jobs.values():
                if job.payload is not None and not job.done:
                    _put(file, 0x53, job.topic, job.payload)
                    if job.accepted:
                        _put(file, 0x41, job.name)
                    if job.cancel:
                        _put(file, 0x43, job.name)
        _sync()
        try:
            os.rename(name, self.path)
        except OSError:
            os.remove(self.path)
            os.rename(name, self.path)
        _sync()
        self.done = True

    def load(self, jobs, make):
        """Put the jobs of the file into *jobs*, by name; cut off a torn end."""
        self._jobs = jobs
        try:
            os.stat(self.path)
        except OSError:
            try:
                os.rename(self.path + ".new", self.path)
            except OSError:
                return
        with open(self.path, "rb") as file:
            while True:
                head = file.read(10)
                length = int.from_bytes(head[2:6], "big")
                if len(head) < 10 or length > 98304:
                    break
                topic, payload = file.read(head[1]), file.read(length)
                kind = head[0]
                if _head(kind, topic, payload) != head:
                    break
                topic = topic.decode()
                name = topic.split("/")[-1]
                if kind == 0x53:
                    jobs[name] = make(name, topic, payload)
                elif name in jobs:  # else its own record was lost with the file before this one
                    if kind == 0x41:
                        jobs[name].accepted = True
                    else:
                        jobs[name].cancel = 1
        self.rewrite(jobs)


def _put(file, kind, topic, payload=b""):
    topic = topic.encode()
    file.write(_head(kind, topic, payload) + topic)
    file.write(payload)


def _head(kind, topic, payload):
    """Return a record's kind, its lengths and the checksum of all of it."""
    head = bytes((kind, len(topic))) + len(payload).to_bytes(4, "big")
    return head + crc32(payload, crc32(topic, crc32(head))).to_bytes(4, "big")


def _sync():
    # Ports without it write a file when it is closed.
    if hasattr(os, "sync"):
        os.sync()
