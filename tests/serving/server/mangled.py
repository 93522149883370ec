"""Requests that were right once: one place of a JSON value is replaced, removed or doubled."""

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tasks.serving.server.rejected import Rejected

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.sampled_from([0, 1, 2, -1, 10**9, 2**62, 0.5, 1e300, "", "x", "FP32", "b64", "serving_default"])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3) | st.just("b64"), inner, max_size=2)
    ),
    max_leaves=8,
)


@st.composite
def mangled(draw: st.DrawFn, right: Any) -> Any:
    """A copy of `right` with one place changed, or two."""
    content = copy.deepcopy(right)
    for _ in range(draw(st.integers(1, 2))):
        places = list(_places(content))
        if not places:
            break
        owner, key = draw(st.sampled_from(places))
        change = draw(st.sampled_from(["replace", "remove", "double"]))
        if change == "replace":
            owner[key] = draw(JSON)
        elif change == "remove":
            del owner[key]
        elif isinstance(owner, list):
            owner.append(copy.deepcopy(owner[key]))
        else:
            owner[key] = [owner[key], copy.deepcopy(owner[key])]
    return content


def attempt(call: Callable[..., Any], *args: Any) -> Any:
    """What a call gives, or the one exception that it may raise."""
    try:
        return call(*args)
    except Rejected as no:
        return no


def _places(content: Any) -> Any:
    keys = range(len(content)) if isinstance(content, list) else content if isinstance(content, dict) else ()
    for key in keys:
        yield content, key
        yield from _places(content[key])
