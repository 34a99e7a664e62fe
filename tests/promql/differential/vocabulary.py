"""The words that random expressions are made of; names and labels are those of the data."""

LABELS = ("job", "instance", "mode", "n", "le", "version")
VALUES = {
    "job": ("api", "db", "web"),
    "instance": ("a1", "a10", "a2"),
    "mode": ("idle", "user", "1"),
    "n": ("0", "1", "2"),
    "le": ("0.5", "+Inf"),
    "version": ("1.0", "1.2"),
}
METRICS = (
    "gauge",
    "requests_total",
    "errors_total",
    "level",
    "extreme",
    "swing",
    "epoch",
    "info",
    "latency_bucket",
    "none",
)
PATTERNS = ("a.*", ".*1", ".+", ".*", "", "a1|a2", "[a-d]+", "(?i)API", "idle|", "db|web", "no .*")
RANGES = ("15s", "30s", "1m", "61s", "2m", "5m", "7m30s", "10m", "20m", "1h")
DURATIONS = ("1ms", "14s", "15s", "1m", "90s", "5m", "11m")
STEPS = ("15s", "30s", "1m", "97s", "2m", "5m")
NUMBERS = ("0", "1", "2", "-1", "0.5", "3", "10", "1e3", "0x1F", ".5", "1e-3", "Inf", "-Inf", "NaN", "60", "1e300", "7")
RATIOS = ("0", "0.1", "0.5", "0.9", "0.99", "1", "-0.5", "1.5", "NaN")

ARITHMETIC = ("+", "-", "*", "/", "%", "^", "atan2")
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
SETS = ("and", "or", "unless")
AGGREGATIONS = ("sum", "avg", "min", "max", "count", "group", "stddev", "stdvar")
ELEMENTWISE = (
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "deg", "exp", "floor", "ln"),
    *("log10", "log2", "rad", "round", "sgn", "sin", "sinh", "sort", "sort_desc", "sqrt", "tan", "tanh", "timestamp"),
)
DATES = ("day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year")
OVER_TIME = (
    *("avg_over_time", "changes", "count_over_time", "delta", "deriv", "idelta", "increase", "irate", "last_over_time"),
    *("max_over_time", "min_over_time", "present_over_time", "rate", "resets", "stddev_over_time", "stdvar_over_time"),
    *("sum_over_time", "absent_over_time", "rate", "increase", "delta"),
)

WRONG = (
    "rate({vector})",
    "{vector}[5m:1m]",
    "sum({matrix})",
    "1 > {number}",
    "{vector} and 1",
    "abs({vector}, 1)",
    "{{job=~'.*'}} + {vector}",
    "gauge{{job=~'('}} or {vector}",
    "label_replace({vector}, 'a', '', 'job', '(')",
    "{vector} + group_left on(job) {vector}",
    "gauge + on(job) {vector}",
    "gauge > bool on() {vector}",
    "holt_winters(gauge[5m], {number}, 0.5)",
    "topk(NaN, {vector})",
    "rate({{__name__=~'.+_total'}}[5m])",
    "-{{job='api'}}",
    "label_replace({vector}, 'job', 'x', 'job', '.*')",
    "nothing({vector})",
    "{vector} +",
    "quantile({vector}, 0.5)",
)
"""Templates of what is mostly refused, at once or on these data."""
