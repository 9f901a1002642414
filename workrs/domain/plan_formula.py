"""What others recommend: Young, Daly, and the formula that Workrs was first published with.

They are here to be compared with `workrs.domain.plan`; no agent runs by them. Each gives an
interval; a job of known length is cut into the nearest whole number of segments, at least one.
"""

import math

from workrs.domain.lambert import one_plus_w0
from workrs.domain.plan import Conditions, Plan, of


def young_interval_s(conditions: Conditions) -> float:
    """Return sqrt(2 C M), the first-order approximation (J. W. Young, 1974)."""
    return math.sqrt(2.0 * conditions.cost_s * conditions.mtbf_s)


def daly_interval_s(conditions: Conditions) -> float:
    """Return the higher-order approximation of J. T. Daly (2006)."""
    cost_s, mtbf_s = conditions.cost_s, conditions.mtbf_s
    if math.isinf(mtbf_s) or cost_s >= 2.0 * mtbf_s:
        return mtbf_s
    half = cost_s / (2.0 * mtbf_s)
    return math.sqrt(2.0 * cost_s * mtbf_s) * (1.0 + math.sqrt(half) / 3.0 + half / 9.0) - cost_s


def published_interval_s(conditions: Conditions) -> float:
    """Return the optimum of `published_expected_s`: M (1 + W0((C / M - 1) / e))."""
    if math.isinf(conditions.mtbf_s):
        return math.inf
    return conditions.mtbf_s * one_plus_w0(conditions.cost_s / conditions.mtbf_s)


def published_expected_s(work_s: float, segments: int, conditions: Conditions) -> float:
    """Return the expected time where no fault strikes a checkpoint and restores take no time."""
    standing_s = (segments - 1) * conditions.cost_s
    if math.isinf(conditions.mtbf_s):
        return work_s + standing_s
    try:
        growth = math.expm1(work_s / segments / conditions.mtbf_s)
    except OverflowError:
        return math.inf
    return segments * conditions.mtbf_s * growth + standing_s


def nearest(work_s: float, interval_s: float, conditions: Conditions) -> Plan:
    """Return the plan that an interval gives for *work_s* seconds of work."""
    return of(work_s, max(1, round(work_s / interval_s)), interval_s, conditions)


def published(work_s: float, conditions: Conditions) -> Plan:
    """Return the published model's own best plan, and what the exact model expects of it."""
    interval_s = published_interval_s(conditions)
    few = max(1, math.floor(work_s / interval_s))
    segments = min(few, few + 1, key=lambda n: published_expected_s(work_s, n, conditions))
    return of(work_s, segments, interval_s, conditions)
