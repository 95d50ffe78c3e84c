"""`report.html`: complete, self-contained, and written again on request."""

import base64
from html.parser import HTMLParser

import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import fold_pixels
from zoo_experiments.verbs.reporting import _unfolded, extremes

pytestmark = pytest.mark.smoke


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.text, self.open = [], "", []
        self.feed(source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        self.text += f" {data} "


@pytest.fixture(scope="module")
def source(trained):
    return trained.file("report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(source):
    return Page(source)


def test_the_page_loads_nothing_from_anywhere(page, source):
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "video", "audio", "source"), tag
        for name in ("src", "srcset", "data", "poster", "background", "action"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        assert "href" not in attributes or tag == "a"
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_the_page_is_well_formed_and_every_picture_is_a_png_with_a_text(page):
    assert page.open == []
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures) == 8
    for picture in pictures:
        head, _, data = picture["src"].partition(",")
        assert head == "data:image/png;base64" and base64.b64decode(data, validate=True).startswith(b"\x89PNG")
        assert picture["alt"]


def test_the_figures_are_kept_beside_the_page(trained, page):
    embedded = [base64.b64decode(a["src"].partition(",")[2]) for tag, a in page.tags if tag == "img"]
    files = sorted(trained.file("figures").iterdir())
    assert [path.stem for path in files] == [
        "best", "confusion", "explanations", "kernels", "learning_curves", "recall", "reliability", "worst"
    ]  # fmt: skip
    assert sorted(path.read_bytes() for path in files) == sorted(embedded)


def test_the_page_says_the_numbers_and_how_to_get_them_again(trained, page):
    results, text = trained.read("results.json"), " ".join(page.text.split())
    for row in results["metrics"]:
        assert f"{row['name']} {row['split']} {row['value']:.3f}" in text
        assert f"{row['interval'][0]:.3f} – {row['interval'][1]:.3f}" in text
    for words in (
        "60 train, 30 validation images", "16 × 16 × 1 values", "has not been looked at", "completeness error",
        f"jax {results['versions']['jax']}", "seed 0", "weights of the last step (23)", '"batch_size": 8',
    ):  # fmt: skip
        assert words in text, words
    assert " ".join(results["command"].split()) in text


def test_report_writes_the_page_again_and_escapes_text_of_the_user(zoo, copied):
    title, config = "<b>bold</b> & <script>alert(1)</script>", copied.read("config.json")
    copied.write("config.json", {**config, "settings": {**config["settings"], "title": title}})
    copied.file("report.html").write_text("old")
    outcome = zoo("report", copied.folder)
    assert outcome.code == 0 and outcome.out.strip() == str(copied.file("report.html"))
    again = Page(copied.file("report.html").read_text())
    assert again.open == [] and title in again.text and not any(tag == "script" for tag, _ in again.tags)
    assert copied.read("results.json")["looks"] == {"validation": 1}


def test_report_evaluates_a_run_that_was_stopped_before(zoo, copied, trained):
    copied.file("results.json").unlink()
    outcome = zoo("report", copied.folder)
    assert outcome.code == 0, outcome.err
    assert copied.read("results.json")["metrics"] == trained.read("results.json")["metrics"]
    assert copied.read("results.json")["steps"] == 23


def test_best_and_worst_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]])
    best, worst = extremes(probabilities[np.arange(4), [0, 0, 1, 1]], 2)  # 0.9, 0.4, 0.3, 0.8
    assert best.tolist() == [0, 3] and worst.tolist() == [2, 1]


def test_kernels_over_blocks_are_shown_over_pixels():
    rng = np.random.default_rng(0)
    image, kernel = rng.normal(size=(1, 12, 12, 3)), rng.normal(size=(3, 3, 4 * 3, 5))
    pixels = _unfolded(kernel, 3)
    assert pixels.shape == (6, 6, 3, 5)
    blocks = np.asarray(fold_pixels(jnp.asarray(image), 2))
    expected = np.einsum("ijc,ijck->k", blocks[0, 1:4, 2:5], kernel)
    np.testing.assert_allclose(np.einsum("ijc,ijck->k", image[0, 2:8, 4:10], pixels), expected, rtol=1e-5)  # float32
    assert _unfolded(kernel, 5) is kernel, "twelve channels are not blocks of five"
