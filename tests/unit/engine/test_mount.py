"""Goal: mounts are read as the kernel writes them. Method: lines of real mountinfo files."""

from pathlib import Path

from workrs.engine.mount import below, is_shared, parse_mountinfo

MOUNTINFO = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 master:1 - cgroup2 cgroup2 rw,nsdelegate
42 27 254:0 /run/e /run/e rw,relatime shared:1 - ext4 /dev/vda rw,discard
43 42 0:40 / /run/e/docker/merged\040one rw,relatime shared:2 - overlay overlay rw,lowerdir=a
44 42 0:41 / /run/elsewhere rw - tmpfs tmpfs rw
45 42 0:41 / /run/e rw - tmpfs tmpfs rw
""".strip()

MOUNTS = parse_mountinfo(MOUNTINFO)


def test_optional_fields_and_escapes_are_understood() -> None:
    assert [mount.kind for mount in MOUNTS][:2] == ["ext4", "cgroup2"]
    assert [mount.shared for mount in MOUNTS] == [False, True, True, True, False, False]
    assert MOUNTS[3].point == Path("/run/e/docker/merged one")


def test_mounts_below_a_folder_come_innermost_first_and_no_neighbour_is_among_them() -> None:
    assert below(MOUNTS, Path("/run/e")) == [
        Path("/run/e"),
        Path("/run/e/docker/merged one"),
        Path("/run/e"),
    ]


def test_of_two_mounts_on_one_point_the_upper_decides_what_is_shared() -> None:
    assert not is_shared(MOUNTS, Path("/run/e/x"))
    assert is_shared(MOUNTS[:-1], Path("/run/e/x"))
    assert not is_shared(MOUNTS, Path("/home"))
