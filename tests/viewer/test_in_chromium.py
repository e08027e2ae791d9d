"""The pages in a real browser: they show, move by keys, follow a run, and obey no model."""

from __future__ import annotations

import urllib.parse
from pathlib import Path
from typing import Any

import pytest
from made_runs import ATTACKS, HOSTILE, make_run, write_steps

from agentscope_tuner.checkpoint.lock import RunLock
from agentscope_tuner.checkpoint.run_state import RunState
from agentscope_tuner.monitor.phases import Phases
from agentscope_tuner.rollout.under_way import Running
from agentscope_tuner.runs.live import LiveFile
from agentscope_tuner.viewer.export import write_report
from agentscope_tuner.viewer.library import Library

ROLLOUT = {"run": "P/one", "step": "2", "id": "step2-1-0"}


def go(browser: Any, page: str, expected: str, **params: str) -> None:
    """Open a page and wait until it says something."""
    address = f"#/{page}?{urllib.parse.urlencode(params)}"
    browser.run(f"location.hash = {address!r}")
    browser.wait(f"document.querySelector('main').innerText.includes({expected!r})")


@pytest.fixture
def page(browser, serve, runs):
    """The browser at the list of runs."""
    browser.open(serve(runs), "document.querySelector('main h1')")
    return browser


PAGES = [
    ("runs", {}, "P/one"),
    ("run", {"run": "P/one"}, "Steps and evaluations"),
    ("step", {"run": "P/one", "step": "2"}, "mean reward"),
    ("step", {"run": "P/one", "step": "2", "set": "test"}, "test after 2"),
    ("list", {"run": "P/one", "q": "failed", "sort": "-began"}, "1–18 of 18"),
    ("group", {"run": "P/one", "step": "2", "group": "step2-1"}, "All begin with the same"),
    ("rollout", ROLLOUT, "Conversation"),
    ("compare", {"runs": "P/one\nP/two"}, "cannot tell the two apart"),
    ("files", {"run": "P/one"}, "torch"),
]


def test_the_token_leaves_the_address_and_reloading_goes_on(page):
    assert page.run("location.search") == ""
    page.open(page.run("location.href"), "document.querySelector('main h1')")
    assert "P/one" in page.text()


@pytest.mark.parametrize("width", [1280, 375])
def test_every_page_shows_without_an_error_and_fits_its_window(page, width):
    page.resize(width, 800)
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        for name, params, expected in PAGES:
            go(page, name, expected, **params)
            assert page.run("document.documentElement.scrollWidth <= innerWidth"), name
    assert page.problems() == []


def test_every_control_has_a_name_and_the_page_a_heading(page):
    unnamed = """[...document.querySelectorAll('main button, main a, main input, main select')]
        .filter(e => !(e.innerText || e.ariaLabel || e.title || e.labels?.length
            || e.querySelector('[aria-label], title'))).map(e => e.outerHTML)"""
    for name, params, expected in PAGES:
        go(page, name, expected, **params)
        assert page.run(unnamed) == [], name
        assert page.run("document.querySelectorAll('main h1').length") == 1, name


def test_a_run_has_its_curves_and_a_table_behind_each(page):
    go(page, "run", "Steps and evaluations", run="P/one")
    page.wait("document.querySelectorAll('.chart canvas').length > 3")
    page.run("document.querySelector('.chart.big .behind').open = true")
    page.wait("document.querySelector('.chart.big table')")
    shown = page.run("document.querySelector('.chart.big .behind').innerText")
    assert "0.350" in shown
    assert "test (held out" in shown


def test_the_doctor_is_on_top_and_its_findings_open_their_rollouts(page):
    go(page, "run", "What the doctor says", run="P/one")
    found = page.run("document.querySelector('.doctor').innerText")
    assert "▲ high" in found
    assert "12 of 48 rollouts failed (workflow)" in found
    page.run("document.querySelector('.doctor a').click()")
    page.wait("document.title.startsWith('step1-0-3')")


def test_keys_move_through_lists_rollouts_groups_and_steps(page):
    go(page, "step", "mean reward", run="P/one", step="2")
    page.press("j")
    page.press("j")
    page.press("Enter")
    page.wait("location.hash.includes('group=step2-1')")
    go(page, "rollout", "Conversation", **ROLLOUT)
    page.press("j")
    page.wait("location.hash.includes('id=step2-1-1')")
    page.wait("document.title.startsWith('step2-1-1')")
    page.press("k")
    page.wait("document.title.startsWith('step2-1-0')")
    page.press("g")
    page.wait("document.title.startsWith('step2-1 of')")
    page.press("u")
    page.wait("document.title.startsWith('step 2 of')")
    page.press("]")
    page.wait("document.title.startsWith('test after 2')")
    page.press("[")
    page.wait("document.title.startsWith('step 2 of')")
    page.press("?")
    page.wait("document.querySelector('dialog').open")
    page.press("Escape")
    page.wait("!document.querySelector('dialog').open")


def test_a_filter_is_part_of_the_address_and_says_what_is_wrong_with_it(page):
    go(page, "step", "mean reward", run="P/one", step="2")
    page.press("/")
    page.write("reward>0.5")
    page.press("Enter")
    page.wait("location.hash.includes('q=reward%3E0.5')")
    page.wait("document.querySelectorAll('.out').length === 9")
    page.wait("document.querySelector('main').innerText.includes('3 of 12 fit')")
    go(page, "step", "did you mean 'reward'?", run="P/one", step="2", q="rewrd>1")
    assert page.run("document.querySelectorAll('.grid tbody tr').length") == 3


def test_a_bar_of_a_histogram_filters(page):
    go(page, "step", "mean reward", run="P/one", step="2")
    page.run(
        "document.querySelector('.histogram .bar[tabindex]').dispatchEvent(new Event('click'))"
    )
    page.wait("document.querySelector('main').innerText.includes('of 12 fit')")
    assert "reward>=0 reward<" in page.run("document.getElementById('filter').value")


def test_tokens_have_layers_numbers_and_keys(page):
    go(page, "rollout", "Conversation", **ROLLOUT)
    layers = "[...document.querySelectorAll('.layers button')].map(b => b.innerText)"
    assert page.run(layers) == [
        "what is trained",
        "log-probability",
        "learner − sampler",
        "entropy",
        "advantage",
    ]
    page.wait("document.querySelector('.tokens .t0, .tokens .t4')")
    page.press("3")
    page.wait("location.hash.includes('layer=gap')")
    page.wait("document.querySelector('.tokens .n2, .tokens .n1')")
    page.press("1")
    page.wait("document.querySelector('.tokens .forced')")
    page.run("document.querySelector('.tokens').focus()")
    for _ in range(11):
        page.press("ArrowRight")
    page.wait("document.querySelector('.token-detail').innerText.includes('token 10')")
    detail = page.run("document.querySelector('.token-detail').innerText")
    for expected in (
        "[300]",
        "id 300",
        "sampled",
        "weights 0",
        "learner − sampler −0.1",
        "entropy",
    ):
        assert expected in detail


def test_the_token_under_the_pointer_is_told(page):
    go(page, "rollout", "Conversation", **ROLLOUT)
    page.wait("document.querySelector('.tokens span span')")
    box = page.run(
        "(() => {const t = document.querySelector('.tokens'); t.scrollIntoView({block: 'center'});"
        "const b = t.getBoundingClientRect(); return [b.left + 40, b.top + 20]})()"
    )
    page.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0], y=box[1])
    page.wait("document.querySelector('.token-detail').innerText.includes('given')")


def test_a_conversation_has_results_beside_calls_branches_and_folds_what_is_long(page):
    go(page, "rollout", "Conversation", **ROLLOUT)
    text = page.text()
    for expected in (
        "add",
        "result (2,000 characters)",
        "thinking (12 characters)",
        "It is right.",
    ):
        assert expected in text
    assert page.run("document.querySelectorAll('.picker button').length") == 2
    assert "tools_changed" in text
    page.run("document.querySelectorAll('.picker button')[1].click()")
    page.wait("location.hash.includes('branch=1')")
    assert page.run("document.querySelectorAll('.timeline rect').length") == 5


def test_a_failed_rollout_says_why(page):
    go(page, "rollout", "ValueError: bad luck", run="P/one", step="2", id="step2-1-3")
    assert "traceback" in page.text()


def test_rollouts_that_were_left_out_of_training_are_marked_in_the_grid_and_can_be_found(page):
    go(page, "step", "mean reward", run="P/one", step="2")
    marked = "[...document.querySelectorAll('.grid td .left-out')]"
    assert page.run(f"{marked}.map((e) => e.innerText)") == ["⊘ 0"] * 3
    title = "cut off by a length limit; left out of training by mask_response_truncated"
    assert page.run(f"{marked}[0].title") == title
    go(page, "step", "3 of 12 fit", run="P/one", step="2", q="left_out:any")


def test_what_operators_made_of_a_rollout_is_told(page):
    go(page, "rollout", "Conversation", run="P/one", step="2", id="step2-1-2")
    facts = " ".join(page.run("document.querySelector('.facts').innerText").split())
    assert "reward learnt −0.750 left out by mask_response_truncated" in facts
    go(page, "group", "All begin", run="P/one", step="2", group="step2-1", pick="1,2")
    plain, cut = page.run(
        "[...document.querySelectorAll('article .bar .quiet')].map(e => e.innerText)"
    )
    assert "reward learnt −0.750 · left out by mask_response_truncated" in cut
    assert "learnt" not in plain


def test_rollouts_of_a_group_are_chosen_and_coloured_together(page):
    go(page, "group", "All begin", run="P/one", step="2", group="step2-1")
    assert page.run("document.querySelectorAll('.columns article').length") == 2
    page.run("document.querySelectorAll('.picker button')[1].click()")
    page.wait("document.querySelectorAll('.columns article').length === 3")
    page.press("4")
    page.wait("location.hash.includes('layer=entropy')")
    page.wait("document.querySelectorAll('.columns article').length === 3")


def test_a_running_run_is_followed_and_the_page_does_not_jump(browser, serve, tmp_path):
    run = make_run(tmp_path / "P" / "one", status="running")
    running = Running()
    with RunLock(run):
        phases = Phases()
        live = LiveFile(run, 9, phases, running.now)
        sampling = phases.begun("rollouts", 12)
        sampling.__enter__()
        live.begin(4)
        browser.open(serve(tmp_path), "document.querySelector('main h1')")
        go(browser, "run", "Steps and evaluations", run="P/one")
        browser.wait("document.getElementById('pulse').innerText.includes('rollouts 0/12')")
        browser.wait("document.querySelectorAll('.chart canvas').length > 3")
        with running.begun("step5-0-0", {"q": "How many <b>?"}):
            browser.wait("document.querySelector('.under-way').innerText.includes('step5-0-0')")
            assert "How many <b>?" in browser.run("document.querySelector('.under-way').innerText")
        browser.wait("document.querySelector('.under-way').innerText.includes('Under way: 0')")
        browser.run("scrollTo(0, 300)")
        RunState("running", 5, 9).save(run)
        write_steps(run, range(5, 6))
        browser.wait("document.querySelector('main').innerText.includes('step 5')")
        assert browser.run("scrollY") == 300
        sampling.__exit__(None, None, None)
        with phases.begun("learning"):
            live.begin(4)
            for seconds in (1, 2):
                said = f"step 5/9: learning, {seconds} s"
                browser.wait(f"document.getElementById('pulse').innerText.includes({said!r})")
        live.end()
    browser.wait("document.getElementById('pulse').innerText === ''")
    browser.wait("document.querySelector('.under-way').innerText === ''")
    assert browser.problems() == []


def test_a_pictures_words_are_legible_on_a_telephone(page):
    page.resize(390, 800)
    go(page, "rollout", "Time", **ROLLOUT)
    page.wait("document.querySelector('.timeline text')")
    height = "document.querySelector('.timeline text').getBoundingClientRect().height"
    assert page.run(height) >= 12
    page.resize(1280, 900)


_FOREIGN = 'main a:not([href^="#/"])'


def test_nothing_that_a_model_said_is_obeyed(page):
    run = "P/hostile"
    shown = [
        ("runs", {}, run),
        ("run", {"run": run}, "Steps and evaluations"),
        ("files", {"run": run}, "onerror"),
        ("list", {"run": run}, "step1-0-0"),
        ("step", {"run": run, "step": "1"}, "mean reward"),
        ("step", {"run": run, "step": "1", "set": HOSTILE}, "mean reward"),
        ("group", {"run": run, "step": "1", "group": "step1-0"}, "onerror"),
        ("rollout", {"run": run, "step": "1", "id": "step1-0-0"}, "onerror"),
        ("rollout", {"run": run, "step": "1", "id": "step1-0-1"}, "onerror"),
        ("compare", {"runs": f"P/one\n{run}"}, "onerror"),
        (HOSTILE, {}, "There is no page"),
        ("run", {"run": HOSTILE}, "There is no run"),
    ]
    page.events.clear()
    for name, params, expected in shown:
        address = f"#/{name}?{urllib.parse.urlencode(params)}"
        page.run(f"location.hash = {address!r}")
        page.wait(f"document.querySelector('main').innerText.includes({expected!r})")
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.run("document.title.endsWith('astuner view')"), name
        made = "document.querySelectorAll('main script, main img, main iframe, main link').length"
        assert page.run(made) == 0, name
        assert page.run(f"document.querySelectorAll({_FOREIGN!r}).length") == 0, name
    origin = page.run("location.origin")
    assert all(url.startswith((origin, "data:")) for url in page.requests())
    page.run(f"location.hash = '#/rollout?run={run}&step=1&id=step1-0-0'")
    page.wait("document.querySelector('main').innerText.includes('␛]0;owned␇')")
    text = page.text()
    assert ATTACKS["script"] in text
    assert "a⟨U+202E⟩gnp.exe" in text
    assert "zero⟨U+200B⟩width⟨U+2060⟩⟨U+E0041⟩" in text


def test_a_report_is_one_file_that_opens_from_disk_and_asks_for_nothing(browser, tmp_path):
    make_run(tmp_path / "run" / "one")
    said = write_report(Library(tmp_path / "run" / "one"), tmp_path / "report.html")
    assert "72 of 72 rollouts" in said
    browser.open(f"file://{tmp_path}/report.html", "document.querySelector('main h1')")
    browser.wait("document.querySelectorAll('.chart canvas').length > 3")
    run = "run/one"
    for name, params, expected in [
        ("step", {"run": run, "step": "2"}, "mean reward"),
        ("group", {"run": run, "step": "2", "group": "step2-1"}, "All begin"),
        ("rollout", {**ROLLOUT, "run": run}, "Conversation"),
        ("files", {"run": run}, "torch"),
        ("rollout", {"run": run, "step": "2", "id": "nobody"}, "This is not in the report"),
    ]:
        go(browser, name, expected, **params)
    own = (f"file://{tmp_path}/report.html", "data:")
    assert [url for url in browser.requests() if not url.startswith(own)] == []
    assert browser.problems() == []


def test_a_report_of_a_hostile_run_obeys_nothing(browser, runs):
    write_report(Library(runs / "P" / "hostile"), runs / "report.html")
    browser.open(f"file://{runs}/report.html", "document.querySelector('main h1')")
    params = {"run": "P/hostile", "step": "1", "id": "step1-0-0"}
    go(browser, "rollout", "onerror", **params)
    assert browser.run("document.title.endsWith('astuner view')")
    assert browser.run("document.querySelectorAll('main script, main img').length") == 0
    assert [url for url in browser.requests() if url.startswith("http")] == []


def test_a_report_that_cannot_be_written_leaves_nothing(tmp_path: Path):
    from agentscope_tuner.errors import InputError

    make_run(tmp_path / "P" / "one", steps=1)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written: "):
        write_report(Library(tmp_path / "P" / "one"), tmp_path / "file" / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["P", "file"]
