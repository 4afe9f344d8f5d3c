"""Files of a report, where names of classes and videos have unusual characters."""

from train.report.figures.drawing import Drawing, make_figure
from train.report.report import format_markdown, format_png


def test_no_name_breaks_a_table():
    rows = [["class", "top-1"], ["caf\udce9", "1"], ["left|right", "20"], ["two\nlines", "3"]]
    table = format_markdown(Drawing(name="t", caption="Accuracy of caf\udce9.", rows=rows))
    assert table.encode().decode().splitlines() == [
        r"| class       | top-1 |",
        r"|-------------|-------|",
        r"| caf\xe9     | 1     |",
        r"| left\|right | 20    |",
        r"| two lines   | 3     |",
        "",
        r"Accuracy of caf\xe9.",
    ]


def test_a_caption_may_have_a_name_that_is_no_text():
    figure, _ = make_figure()
    picture = format_png(Drawing(name="f", caption="Accuracy of caf\udce9.", figure=figure))
    assert rb"Accuracy of caf\xe9." in picture
