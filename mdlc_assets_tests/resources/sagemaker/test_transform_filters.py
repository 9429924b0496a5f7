"""The filters of `DataProcessing`: what they keep of a line, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from mdlc_assets.resources.sagemaker.transform_filters import FilterError, Filters


def _filters(**asked: str) -> Filters:
    request: dict[str, Any] = {
        "DataProcessing": asked,
        "TransformInput": {"ContentType": "text/csv", "SplitType": "Line"},
        "TransformOutput": {"Accept": "text/csv"},
    }
    found = Filters.of(request)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("asked", "sent", "kept"),
    [
        ({"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}, b"a,b\n", b'"1,5",0.5\n'),
        ({"InputFilter": "$[1]"}, b"a\n", b"0.5\n"),
        ({"JoinSource": "Input", "OutputFilter": "$[-2:]"}, b'"1,5",a,b\n', b"b,0.5\n"),
        ({"InputFilter": "$[0:2]", "JoinSource": "Input"}, b'"1,5",a\n', b'"1,5",a,b,0.5\n'),
    ],
)
def test_what_is_sent_and_what_is_kept(asked: dict[str, str], sent: bytes, kept: bytes) -> None:
    filters, line = _filters(**asked), b'"1,5",a,b\n'
    assert filters.to_send(line) == sent
    assert filters.to_keep(line, b"0.5\n") == kept


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(FilterError, match=r"the filter '\$\.x' is not understood"):
        _filters(InputFilter="$.x")
    with pytest.raises(FilterError, match="a line has 2 columns, the filter asks for"):
        _filters(InputFilter="$[0,7]").to_send(b"1,2\n")
    with pytest.raises(FilterError, match="gave 1 lines for 2"):
        _filters(JoinSource="Input").to_keep(b"1\n2\n", b"3\n")
    with pytest.raises(FilterError, match="text/csv in lines only"):
        Filters.of({"DataProcessing": {"JoinSource": "Input"}, "TransformInput": {}, "TransformOutput": {}})
