"""The kinds of animals that one network learns, as they are typed."""

import pytest

from dp3d_data.detection.training.recipe import TrainCseConfig
from dp3d_data.detection.training.stream import class_names, kinds_of
from dp3d_data.errors import UsageError


def test_kinds_are_read_with_their_shares():
    kinds = kinds_of(TrainCseConfig(kinds="dog=dog:6, dog~dog:1,other~cow"))
    assert [(one.name, one.matched) for one in kinds] == [("dog", True), ("dog", False), ("other", False)]
    assert [one.share for one in kinds] == [0.75, 0.125, 0.125]
    assert class_names(kinds) == ["dog", "other"]


@pytest.mark.parametrize("text", ["dog", "dog=", "dog=dog:many", "other=dog", "dog~dog", "dog=dog,dog=cow"])
def test_what_is_no_kind_is_told(text):
    with pytest.raises(UsageError) as told:
        kinds_of(TrainCseConfig(kinds=text))
    assert text in str(told.value)
