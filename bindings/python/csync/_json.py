"""Rows as JSON text and as Python values, without losing a digit.

A row is a JSON object. {"$b":"hex"} is bytes, {"$t":"hex"} is text that is not valid UTF-8 (a str with
surrogate escapes), {"$f":"NaN"} is nan and 9e999 infinity. A number with '.' or 'e' is a float, any other an
int, of any size.
"""

import collections.abc
import json
import math
from decimal import ROUND_HALF_EVEN, Context, Decimal

from csync._errors import InvalidValue

_SURE_LENGTH = 16  # 15 digits and a point: any such number is a float's own, 0 and infinity apart
_SQLITE_DIGITS = 18  # csync has SQLite print a REAL with '%!.18g'
_EXACT = Context(prec=1100)  # room for every digit of any float
_quote = json.JSONEncoder(ensure_ascii=False).encode


class Row(dict):
    """The columns of one change. Read only, as the change is; `dict(row)` and `{**row, ...}` are yours."""

    __slots__ = ()

    def _refuse(self, *args, **kwargs):
        raise TypeError("a Change cannot be altered; take dict(change.payload) or {**change.payload, ...}")

    __setitem__ = __delitem__ = _refuse
    __ior__ = _refuse  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]

    def __reduce__(self):
        return dict, (dict(self),)


def load_row(text):
    """The Row of a JSON object, given as text or as what `loads` made of it."""
    row = loads(text) if isinstance(text, str) else text
    if not isinstance(row, dict):
        raise InvalidValue(f"a row must be a JSON object, not {str(text)[:80]}")
    for name, value in row.items():
        if type(value) is dict and len(value) == 1:
            row[name] = _untag(value)
    return Row(row)


def dump_row(row):
    """The JSON object of a mapping of column names to values."""
    members = []
    for name, value in row.items():
        if not isinstance(name, str):
            raise TypeError(f"column names are str, not {type(name).__name__}: {name!r}")
        members.append(f"{_quote(name)}:{_dump_value(value, name)}")
    return "{" + ",".join(members) + "}"


def loads(text):
    """Any JSON, with exact numbers."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise InvalidValue(f"not JSON: {error}") from None
    except ValueError:  # int() refuses more digits than sys.get_int_max_str_digits()
        return _LONG_DECODER.decode(text)


def _real(text):
    """The float of a number's text, or the Decimal where the float would lose digits."""
    value = float(text)
    if math.isinf(value):
        return value if text.lstrip("-") == "9e999" else Decimal(text)
    if len(text) <= _SURE_LENGTH and value:
        return value
    exact = Decimal(text)
    count = len("".join(map(str, exact.as_tuple().digits)).strip("0"))
    if not count:
        return value  # a zero
    if not value:
        return exact
    near = Context(prec=count, rounding=ROUND_HALF_EVEN).create_decimal_from_float(value)
    return value if near == exact or _is_sqlite_real(text, exact, value, count) else exact


def _is_sqlite_real(text, exact, value, count):
    """True when the text is what SQLite prints for this float: 18 digits, and the last one may be off.

    With a large exponent more than the last is off; but then SQLite writes the exponent, and nobody else does
    who has more digits than a float.
    """
    if count > _SQLITE_DIGITS:
        return False
    if "e" in text or "E" in text:
        return True
    last_digit = Decimal((0, (1,), exact.adjusted() - _SQLITE_DIGITS + 1))
    return abs(_EXACT.subtract(exact, Decimal(value))) <= last_digit


def _refuse_constant(text):
    raise InvalidValue(f"not JSON: {text}")


_DECODER = json.JSONDecoder(parse_float=_real, parse_constant=_refuse_constant)
_LONG_DECODER = json.JSONDecoder(
    parse_float=_real, parse_int=lambda text: int(Decimal(text)), parse_constant=_refuse_constant
)


def _untag(value):
    ((tag, text),) = value.items()
    if isinstance(text, str):
        try:
            if tag == "$b":
                return bytes.fromhex(text)
            if tag == "$t":
                return bytes.fromhex(text).decode("utf-8", "surrogateescape")
        except ValueError:
            raise InvalidValue(f"not hex digits: {text[:80]}") from None
        if tag == "$f" and text == "NaN":
            return math.nan
    return value


def _dump_value(value, name):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f'{{"$b":"{bytes(value).hex().upper()}"}}'
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return f'{{"$t":"{value.encode("utf-8", "surrogateescape").hex().upper()}"}}'
        return _quote(value)
    if isinstance(value, (float, Decimal)) and math.isnan(value):
        return '{"$f":"NaN"}'
    return _dump_plain(value, name)


def _dump_plain(value, name):
    """JSON for everything but the tagged values, at any depth."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return _digits(value)
    if isinstance(value, (float, Decimal)):
        if math.isnan(value):
            raise TypeError(f"column {name!r}: NaN cannot stand inside nested JSON")
        if math.isinf(value):
            return "9e999" if value > 0 else "-9e999"
        return repr(float(value)) if isinstance(value, float) else format(value, "f")
    if isinstance(value, str):
        return _quote(value)
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_dump_plain(item, name) for item in value) + "]"
    if isinstance(value, collections.abc.Mapping):
        return "{" + ",".join(f"{_quote(str(key))}:{_dump_plain(item, name)}" for key, item in value.items()) + "}"
    raise TypeError(f"column {name!r}: a row cannot hold {type(value).__name__}")


def _digits(value):
    value = int(value)  # a subclass, such as an IntEnum, may print as something else
    try:
        return str(value)
    except ValueError:  # more than sys.get_int_max_str_digits()
        return format(Decimal(value), "f")
