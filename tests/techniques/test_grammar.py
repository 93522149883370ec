"""Chains that make sense pass, all others are refused before anything runs, with what came and what is allowed."""

from typing import ClassVar, Literal

import pytest

from tasks.foundations.errors import InputError
from tasks.foundations.record import Record
from tasks.techniques.float16 import Float16
from tasks.techniques.grammar import check_chain
from tasks.techniques.int8_dynamic import Int8Dynamic
from tasks.techniques.int8_static import Int8Static


class Distillation(Record):
    place: ClassVar = "distillation"
    followed_by: ClassVar = None
    kind: Literal["distillation"] = "distillation"


class Pruning(Record):
    place: ClassVar = "training"
    followed_by: ClassVar = None
    kind: Literal["pruning"] = "pruning"


class Clustering(Pruning):
    kind: Literal["clustering"] = "clustering"


class Qat(Pruning):
    followed_by: ClassVar = "int8_static"
    kind: Literal["qat"] = "qat"


D, P, C, Q, S, Y, H = Distillation(), Pruning(), Clustering(), Qat(), Int8Static(), Int8Dynamic(), Float16()


@pytest.mark.parametrize("chain", [[], [S], [Y], [H], [P], [D], [D, P, C, Q, S], [C, P, H], [Q, P, S], [D, Y]])
def test_a_chain_inside_the_grammar_passes(chain):
    check_chain("small", chain)


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ([S, P], "pruning cannot come after int8_static"),
        ([P, D], "distillation cannot come after pruning"),
        ([H, D], "distillation cannot come after float16"),
        ([S, H], "only one of float16, int8_static"),
        ([S, Y], "only one of int8_dynamic, int8_static"),
        ([H, H], "only one of float16"),
        ([D, D], "only one of distillation"),
        ([P, C, P], "pruning stands there more than once"),
        ([Q], "qat must be followed by int8_static"),
        ([Q, H], "qat must be followed by int8_static"),
    ],
)
def test_a_chain_outside_is_refused_by_name_with_what_came(chain, reason):
    came = ", ".join(step.kind for step in chain)
    with pytest.raises(InputError, match=rf"candidates.small: {reason}.*\[{came}\]; allowed is: distillation first"):
        check_chain("small", chain)
