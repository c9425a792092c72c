"""The suite checks types and shapes of what it calls; both kinds of check are seen to fail once."""

import pytest
import torch

from memdetect.judging.statistics.combine import Tail, quartile
from memdetect.lab.theory.network import ReluDae


@pytest.mark.parametrize("call", [lambda: quartile(3), lambda: Tail((1.0,), start="low", scale=1.0, share=0.1)])
def test_a_wrong_type_fails(call):
    with pytest.raises(Exception, match="violates type hint"):
        call()


def test_shapes_that_do_not_agree_fail():
    ReluDae(torch.zeros(4, 3), torch.zeros(4, 3))
    with pytest.raises(Exception, match="Type-check error") as caught:
        ReluDae(torch.zeros(4, 3), torch.zeros(4, 2))
    assert "unit=3" in str(caught.value)
