"""The options of `workrs node` that limit what devices and tenants may ask of it."""

from argparse import Namespace

from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.domain.quota import BAR_S, DEVICE, TENANT, Quota, Quotas

_MIB = 1 << 20


def add_quota_options(options: Options) -> None:
    """Add them; their defaults are those of `workrs.domain.quota`."""
    for name, who, quota in (
        ("device", "a device", DEVICE),
        ("tenant", "all devices of a tenant (TENANT.DEVICE)", TENANT),
    ):
        options.value(
            f"--{name}-rate",
            convert=float,
            default=quota.rate_per_s,
            metavar="PER_SECOND",
            help=f"requests of {who} in the long run",
        )
        for flag, default, metavar, text in (
            ("burst", quota.burst, "REQUESTS", "requests at once, after a silence"),
            ("jobs", quota.open_max, "JOBS", "open jobs"),
            ("mb", quota.open_max_bytes // _MIB, "MIB", "specs of open jobs"),
        ):
            options.value(
                f"--{name}-{flag}",
                convert=int,
                default=default,
                metavar=metavar,
                help=f"{text}, of {who}",
            )
    options.value(
        "--bar",
        convert=seconds,
        default=BAR_S,
        metavar="SECONDS",
        help="how long a device is shut out that goes on although it is refused",
    )


def quotas(asked: Namespace) -> Quotas:
    """Return what was asked for, or raise ConfigError."""
    return Quotas(
        device=Quota(
            rate_per_s=asked.device_rate,
            burst=asked.device_burst,
            open_max=asked.device_jobs,
            open_max_bytes=asked.device_mb * _MIB,
        ),
        tenant=Quota(
            rate_per_s=asked.tenant_rate,
            burst=asked.tenant_burst,
            open_max=asked.tenant_jobs,
            open_max_bytes=asked.tenant_mb * _MIB,
        ),
        bar_s=asked.bar,
    )
