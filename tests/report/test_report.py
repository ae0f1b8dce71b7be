"""The report on real stores: complete, escaped, self-contained, the same every time."""

from __future__ import annotations

import builtins
import importlib
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import contexture as cx
from contexture.contexts import Context
from contexture.corpus import Target
from contexture.errors import InputError
from contexture.report import render_report, spectra_png, write_report
from contexture.store.base import Store
from contexture.store.results import result_key, write_context
from contexture.store.runs import begin_run, finish_run

SCRIPT = "<script>alert(1)</script>"
QUOTES = 'a $x$ "& <b> 雪 target'
LEVELS = ("", "$\\frac{x}$", '"&<img src=x onerror=alert(2)>')
VOID = {"meta", "col", "link", "br", "img"}
N = 150

Make = Callable[..., cx.Audit]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Write a finished audit of a small corpus with the given contexts."""
    generator = np.random.default_rng(0)
    X = generator.normal(size=(N, 3)) * [1.0, 0.05, 0.05]  # a weak RBF sees one direction only
    features = cx.Features(X, np.arange(N), np.full(N, 1 / N), "x")
    number = X[:, 0] + 0.1 * generator.normal(size=N)
    number[:3] = np.nan
    targets = [
        Target(SCRIPT, "number", number),
        Target(QUOTES, "class", generator.integers(0, 3, N), LEVELS),
        Target("constant", "number", np.ones(N)),
    ]

    def write(
        contexts: Sequence[Context], targets: Sequence[Target] = targets, **more: Any
    ) -> cx.Audit:
        store = Store.create(str(tmp_path_factory.mktemp("report") / "a.zarr"))
        settings = {"max_rank": 40, "beta": 1.0, "seed": 0}
        run = begin_run(
            store,
            {
                "name": "small",
                "configuration": settings,
                "contexts": [context.label for context in contexts],
                "targets": [target.name for target in targets],
                **more,
            },
        )
        for context in contexts:
            operator = cx.operator_of(features, context)
            spectrum = cx.decompose_operator(operator, 40)
            found = cx.evaluate(operator, spectrum, X, targets, max_rank=40)
            key = result_key(context.label, settings)
            described = {"description": context.model_dump(mode="json")}
            write_context(
                store, run, context.label, context.family, found, features.ids, key, described
            )
        finish_run(store, run, "complete", {})
        return cx.open_store(store.url)

    return write


@pytest.fixture(scope="module")
def audit(make: Make) -> cx.Audit:
    knn, rbf = cx.contexts.Knn, cx.contexts.Rbf
    return make(
        [knn(k=20), knn(k=40), rbf(gamma=0.001)],
        rows=N,
        seed=0,
        source=f"{SCRIPT}.csv",
        corpus_fingerprint="f00d",
        partitions=[[N, "f00d"]],
        versions={"numpy": "2.1.0", SCRIPT: "&"},
    )


@pytest.fixture(scope="module")
def page(audit: cx.Audit) -> str:
    return render_report(audit)


class Reader(HTMLParser):
    """Collect what a browser would see, and complain of tags left open."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts = ""
        self.feed(page)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", "".join(self.texts))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts += data
        elif not self.open or self.open[-1] != "style":
            self.texts.append(data)


def test_order_of_the_sections(page: str) -> None:
    heads = re.findall(r"<h2[^>]*>([^<]*)</h2>", page)
    assert heads == [
        "Ranking",
        "Spectra and usefulness",
        "Compatibility with targets",
        "Caveats",
        "Provenance",
        "How to read this",
    ]


def test_the_verdict_names_the_best_context(audit: cx.Audit, page: str) -> None:
    best = audit.scores().iloc[0]
    text = Reader(page).text
    assert f"{best['context']} is recommended: of 2 contexts that can be judged" in text
    assert f"τ = {best['usefulness']:.3f}" in text
    assert f"its association is {best['association']}." in text


def test_ranking_shows_every_score(audit: cx.Audit, page: str) -> None:
    table = page[page.index('<table class="ranking">') : page.index("</table>")]
    for row in audit.scores(errors=True).to_dict("records"):
        assert f"<bdi>{row['context']}</bdi>" in table
        for column in ("usefulness", "kernel_deviation"):
            assert f"{row[column]:.3f}" in table
        assert f"{row[f'compatibility[{SCRIPT}]']:.3f}" in table
    assert "abstains: too weak" in table
    assert table.count('scope="col"') == 10 + len(audit.targets)
    assert table.count('scope="row"') == len(audit.contexts)


def test_caveats_and_provenance(audit: cx.Audit, page: str) -> None:
    text = Reader(page).text
    for caveat in audit.caveats():
        assert re.sub(r"\s+", " ", caveat) in text
    for value in (audit.run, "f00d", "numpy 2.1.0", '"max_rank": 40', "Parent run none", "k = 40"):
        assert value in re.sub(r"(Parent run)", r"\1 ", text).replace("  ", " ")


def test_the_glossary_has_both_reasons_to_abstain(page: str) -> None:
    text = Reader(page).text
    assert "τ > 1 + 0.99 β or s1² < 0.05" in text


def test_text_of_the_corpus_is_escaped(page: str) -> None:
    reader = Reader(page)
    assert "alert" not in reader.scripts
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a $x$ &#34;&amp; &lt;b&gt; 雪 target" in page
    for text in (SCRIPT, QUOTES, "$\\frac{x}$", LEVELS[2], "(empty)"):
        assert text in reader.text
    assert not any(name.startswith("on") for _, attributes in reader.tags for name in attributes)


def test_nothing_is_fetched(page: str) -> None:
    reader = Reader(page)
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:"))
            if value and value.startswith("#"):
                assert value[1:] in ids
        assert "style" not in attributes, tag  # the policy below would drop it
        assert tag not in {"link", "base", "iframe", "object", "embed"}
    for used in re.findall(r"url\(#([^)]*)\)", page):
        assert used in ids
    assert "@import" not in page
    assert not re.search(r"https?://", page)


def test_content_security_policy_allows_what_is_there(page: str) -> None:
    import base64
    import hashlib

    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src 'none'; ")
    assert "unsafe" not in policy[1]
    for tag in ("style", "script"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(found) == 1
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def test_figures_follow_light_and_dark(page: str) -> None:
    figures = re.findall(r'<svg [^>]*class="plot".*?</svg>', page, re.DOTALL)
    assert len(figures) == 4  # spectra, usefulness, energies of the two targets that vary
    for figure in figures:
        assert not re.search(r"#[0-9a-f]{6}", figure)
        assert "var(--s1)" in figure
        assert "var(--ink)" in figure
        assert 'role="img" aria-label="' in figure
        assert "<metadata" not in figure


def test_same_audit_same_page(audit: cx.Audit, page: str) -> None:
    assert render_report(cx.open_store(audit.store.url, audit.run)) == page
    assert spectra_png(audit) == spectra_png(audit)


def test_threads_do_not_disturb_each_other(audit: cx.Audit, page: str) -> None:
    pages: list[str] = []
    threads = [
        threading.Thread(target=lambda: pages.append(render_report(audit))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert pages == [page] * 3


def test_all_contexts_abstain(make: Make) -> None:
    audit = make([cx.contexts.Rbf(gamma=1e-4), cx.contexts.Rbf(gamma=1e6)])
    assert audit.scores()["abstains"].all()
    text = Reader(render_report(audit)).text
    assert (
        "No context can be recommended: the usefulness score abstains on all 2, "
        "1 being too weak and 1 too strong. Try settings between them."
    ) in text
    assert "is recommended" not in text
    assert spectra_png(audit).startswith(b"\x89PNG")


def test_one_context_without_targets_or_provenance(make: Make) -> None:
    audit = make([cx.contexts.Knn(k=20)], targets=[])
    page = render_report(audit)
    text = Reader(page).text
    assert "knn-20 is the only context of this audit" in text
    assert "Compatibility with targets" not in text
    assert "Corpus fingerprint" not in text
    assert "1 context" in text


def test_forty_contexts(make: Make) -> None:
    contexts = [cx.contexts.Knn(k=k) for k in range(3, 43)]
    audit = make(contexts, targets=[Target("y", "number", np.arange(float(N)))])
    page = render_report(audit)
    assert "28 others" in Reader(page).text
    assert "The best 12 of 40 contexts are in colour, the others grey." in page
    assert page.count('stroke="var(--other)"') >= 28
    assert len(page) < 1_500_000
    assert len(spectra_png(audit)) < 100_000


def test_many_classes_are_cut_with_a_word(make: Make) -> None:
    levels = tuple(f"level {i:02d}" for i in range(50))
    audit = make([cx.contexts.Knn(k=9)], targets=[Target("y", "class", np.arange(N) % 50, levels)])
    text = Reader(render_report(audit)).text
    assert "Shown are the 40 of 50 classes with the highest ρ in the first context" in text
    assert len(set(re.findall(r"level \d\d", text))) == 40


def test_png(audit: cx.Audit) -> None:
    picture = spectra_png(audit)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) < 100_000
    width, height = (int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert width >= 1000
    assert height >= 400
    assert len(spectra_png(audit, 20_000)) < 20_000


def test_png_that_cannot_be_so_small(audit: cx.Audit) -> None:
    message = r"^max_bytes is 100, but the smallest legible picture of 3 contexts has \d+ bytes; "
    with pytest.raises(InputError, match=message):
        spectra_png(audit, 100)


def test_write_replaces_whole(audit: cx.Audit, page: str, tmp_path: Path) -> None:
    path = tmp_path / "a b.html"
    path.write_text("old")
    write_report(audit, path)
    assert path.read_text("utf-8") == page
    write_report(audit, str(path))
    assert os.listdir(tmp_path) == ["a b.html"]


def test_write_into_no_folder(audit: cx.Audit, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_report(audit, tmp_path / "none" / "a.html")
    assert str(caught.value) == (
        f"cannot write the report '{tmp_path}/none/a.html': there is no folder "
        f"'{tmp_path}/none'; make it, or choose another path."
    )


def test_write_onto_a_folder(audit: cx.Audit, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="that is a folder; name a file in it, such as report.html"
    ):
        write_report(audit, tmp_path)


def test_write_onto_what_is_no_ordinary_file(audit: cx.Audit, tmp_path: Path) -> None:
    """Such as a device, which an ordinary file would take the place of."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError) as caught:
        write_report(audit, tmp_path / "pipe")
    assert str(caught.value) == (
        f"cannot write the report '{tmp_path}/pipe': that is no ordinary file; choose another path."
    )
    assert (tmp_path / "pipe").is_fifo()


def test_write_through_a_link(audit: cx.Audit, tmp_path: Path) -> None:
    (tmp_path / "a.html").symlink_to(tmp_path / "b.html")
    for _ in range(2):
        write_report(audit, tmp_path / "a.html")
        assert (tmp_path / "a.html").is_symlink()
        assert (tmp_path / "b.html").read_text().startswith("<!DOCTYPE html>")


def test_write_where_it_is_forbidden(
    audit: cx.Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("contexture.report.page.os.replace", refuse)
    with pytest.raises(InputError, match=r"\(Permission denied\); choose another path\.$"):
        write_report(audit, tmp_path / "a.html")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *rest)

    for name in [name for name in sys.modules if name.startswith("contexture.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    message = rf"the report needs the package {package}; .*pip install 'contexture\[report\]'$"
    with pytest.raises(ModuleNotFoundError, match=message):
        importlib.import_module("contexture.report")


def test_contexture_does_not_import_the_report() -> None:
    code = "import sys, contexture; print('matplotlib' in sys.modules, 'jinja2' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # Dask brings jinja2 when it is there; matplotlib must stay out.
    assert found.stdout.split()[0] == "False"
    code = "import sys, contexture.report; print('matplotlib.pyplot' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
