"""Placeholders: only known names are replaced, and what is filled in stays one word of the shell."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from wq.formats.fill import candidates, filled

ROW = {"task": "7", "line": "a b", "lr": "0.1"}
# Whatever a file may hold: text without NUL.
VALUES = st.text(st.characters(blacklist_characters="\0\r", blacklist_categories=["Cs"]), max_size=12) | st.text(
    " '\"\\$`;|&()<>#!*?~%\n-xa", max_size=8
)


class TestWords:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("%task%", "7"),
            ("--lr=%lr%", "--lr=0.1"),
            ("%line%", "a b"),
            ("%task%%lr%", "70.1"),
            ("%%task%%", "%7%"),
            ("50%%task%", "50%7"),
            ("%d %foo% %task", "%d %foo% %task"),
            ("%foo%task%", "%foo7"),
            ("\\%task%", "\\7"),
            ("'%line%'", "'a b'"),
            ("%", "%"),
            ("", ""),
        ],
    )
    def test_have_known_names_replaced_and_nothing_else(self, text: str, expected: str) -> None:
        assert filled(text, ROW, quote=False) == expected

    def test_what_is_filled_in_is_not_looked_at_again(self) -> None:
        assert filled("%a%%b%", {"a": "%b%", "b": "%a%"}, quote=False) == "%b%%a%"

    @given(st.text("%ab", max_size=12))
    def test_without_names_nothing_changes(self, text: str) -> None:
        assert filled(text, {}, quote=False) == filled(text, {}, quote=True) == text


class TestShellText:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("./fit %task% %line%", "./fit 7 'a b'"),
            ("./fit --x=%line%", "./fit --x='a b'"),
            ('./fit "%line%"', './fit "a b"'),
            ("./fit '%line%'", "./fit 'a b'"),
            ("printf '%s%d' %task%", "printf '%s%d' 7"),
            ("echo \\%task% %task%", "echo \\%task% 7"),
            ("echo '\\%task%'", "echo '\\7'"),
            ("# don't\necho %line%", "# don't\necho 'a b'"),
            ("echo a#b' %line%'", "echo a#b' a b'"),
            ("echo $#\necho %line%", "echo $#\necho 'a b'"),
            ('echo "$(cat "%line%")"', 'echo "$(cat "a b")"'),
            ('echo "$(cat %line%)"', "echo \"$(cat 'a b')\""),
            ('echo "`cat %line%`"', "echo \"`cat 'a b'`\""),
            ("echo $((1 << 2)) %line%", "echo $((1 << 2)) 'a b'"),
            ("echo $((1 << n))\necho %line%\nn", "echo $((1 << n))\necho 'a b'\nn"),
            ("cat <<<x\necho %line%\nx", "cat <<<x\necho 'a b'\nx"),
            ("cat << EOF; echo %line%\n%line%'\nEOF\necho %line%", "cat << EOF; echo 'a b'\na b'\nEOF\necho 'a b'"),
            ("cat <<-E <<'F'\n\t%line%\n\tE\n%line%\nF\n%line%", "cat <<-E <<'F'\n\ta b\n\tE\na b\nF\n'a b'"),
            ("cat <<E\n$(cat %line%)\nE", "cat <<E\n$(cat 'a b')\nE"),
            ("cat <<NEVER\n%line%", "cat <<NEVER\n'a b'"),
            ("f() { (echo '%line%'); }; f", "f() { (echo 'a b'); }; f"),
            ("'%line%", "'a b"),
            ("%line%\\", "'a b'\\"),
        ],
    )
    def test_has_quotes_where_they_are_needed(self, text: str, expected: str) -> None:
        assert filled(text, ROW, quote=True) == expected

    def test_a_quote_in_a_name_is_none_of_the_shells(self) -> None:
        assert filled("%don't% %line%", {"don't": "x", "line": "a b"}, quote=True) == "x 'a b'"

    def test_a_comment_stays_one_line(self) -> None:
        assert filled("# %line%\ntrue", {"line": "a\nrm -rf x"}, quote=True) == "# a rm -rf x\ntrue"

    SCRIPTS: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("printf %%s %v%", lambda v: v),
        ("printf %%s x%v%y", lambda v: f"x{v}y"),
        ('printf %%s "%v%"', lambda v: v),
        ("printf %%s '%v%'", lambda v: v),
        ('printf %%s "$(printf %%s "%v%x")"', lambda v: f"{v}x"),
        ("# it's\nprintf %%s %v%", lambda v: v),
        ("cat <<END\nit's >%v%<\nEND", lambda v: f"it's >{v}<\n"),
        ("cat <<'END'\n\">%v%<\nEND", lambda v: f'">{v}<\n'),
    )

    @pytest.mark.parametrize("shell", [shell for shell in ("/bin/sh", "/bin/bash") if os.path.exists(shell)])
    @given(value=VALUES)
    @example(value="it's $(id) `id` \\ \" ;")
    @example(value="")
    @example(value="\\")
    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    def test_means_the_value_to_a_true_shell(self, shell: str, value: str) -> None:
        script = "\nprintf '\\0'\n".join(text.replace("%%", "%") for text, _ in self.SCRIPTS)
        done = subprocess.run(
            [shell], input=filled(script, {"v": value}, quote=True).encode(), capture_output=True, check=True
        )
        found = done.stdout.decode().split("\0")
        assert found == [expected(value) for _, expected in self.SCRIPTS]
        assert done.stderr == b""


def test_candidates_are_words_between_percent_signs() -> None:
    assert list(candidates("%lr% %a b% 50% %%x-1% %")) == ["lr", "x-1"]
    assert list(candidates("date +%Y%m%d")) == ["Y", "m"]
    assert list(candidates("")) == []
