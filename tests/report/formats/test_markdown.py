"""Markdown: words from traffic are words, whatever they are."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.jobs import CAPTURES, hostile_result, job_of, result_of, text_of

from analyzer.pipeline import Result, run
from analyzer.report.formats.markdown import MAX_CELL, MAX_ROWS, code
from analyzer.report.visible import shorten_path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pavel", "`pavel`"),
        ("", ""),
        ("a|b", "`a\\|b`"),
        ("`rm`", "`` `rm` ``"),
        ("a``b", "```a``b```"),
        ("[x](javascript:1)", "`[x](javascript:1)`"),
        ("a\nb\x1b", "`a\\x0ab\\x1b`"),
        ("\u202ea", "`\\u202ea`"),
        ("  ", "` `"),
    ],
)
def test_words_stand_in_code_spans(text: str, shown: str) -> None:
    assert code(text) == shown


def test_the_order_is_that_of_the_page() -> None:
    result = result_of("office.pcapng")
    text = text_of(job_of(result), "markdown")
    heads = re.findall(r"^##? (.*)$", text, re.MULTILINE)
    assert heads == [
        f"Mail traffic in `{shorten_path(result.captures[0].name, MAX_CELL)}`", "What to do first", "Migration: the settings to enter",
        "Findings", "Servers", "Sessions", "What this capture cannot tell",
    ]  # fmt: skip
    assert "**13 accounts on 5 servers sent their passwords or tokens in clear" in text
    count = len(job_of(result).rows("findings"))
    assert f"\nand {count - MAX_ROWS:,} more (all: `--format csv --table findings`)\n" in text


def test_of_a_long_path_the_name_of_the_file_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 50)
    folder.mkdir()
    shutil.copy(CAPTURES / "pop3-login.pcap", folder)
    job = job_of(run([folder / "pop3-login.pcap"]))
    text = text_of(job, "markdown")
    assert re.search(r"^# Mail traffic in `…(ong|ng|g)?(long)+/pop3-login\.pcap`$", text, re.MULTILINE)
    assert re.search(r"^\| `…(ong|ng|g)?(long)+/pop3-login\.pcap` \|", text, re.MULTILINE)
    assert re.search(r"<title>mailtap: …(ong|ng|g)?(long)+/pop3-login\.pcap</title>", text_of(job, "html"))


def test_outside_code_spans_nothing_of_strangers_is_left() -> None:
    text = text_of(job_of(hostile_result(), headers=True), "markdown")
    # Code spans as CommonMark has them: a run of backticks up to the next run of the same length.
    outside = re.sub(r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    for word in ("script", "svg", "javascript", "evil", "HYPERLINK", "onerror"):
        assert word not in outside
    for line in text.splitlines():
        if line.startswith("| "):
            columns = len(re.findall(r"(?<!\\)\|", line))
            assert columns in {
                len(re.findall(r"(?<!\\)\|", one)) for one in text.splitlines() if one.startswith(("| ---", "| ---:"))
            }


def test_a_run_without_sessions_says_so() -> None:
    text = text_of(job_of(Result()), "markdown")
    assert "**No mail session was seen in this capture.**" in text
    assert "Nothing was found that wants doing." in text
