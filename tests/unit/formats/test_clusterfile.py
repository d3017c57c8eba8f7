"""The cluster file: which nodes it names, in which order, and what is refused with which line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wq.core.cluster import HOST_PATTERN, Node
from wq.core.job import HostName
from wq.formats import MAX_TEXT_BYTES, FormatError
from wq.formats.clusterfile import parse_cluster_file, parse_host_words

EXAMPLE = """\
# host  ncores mem(GB) groups
astro0001         12 32   gen4,gen45
astro[0010-0012]  12 48.5 gen5,gen45        a range is one line for many nodes
localhost          8 16                     # no ssh is used
""".replace("        a range", "        # a range")


def hosts(text: str) -> list[str]:
    return [node.host for node in parse_cluster_file(text, source="cluster.txt")]


def refusal(text: str) -> str:
    with pytest.raises(FormatError) as caught:
        parse_cluster_file(text, source="cluster.txt")
    return str(caught.value)


def outcome(text: str) -> tuple[Node, ...] | FormatError:
    try:
        return parse_cluster_file(text, source="cluster.txt")
    except FormatError as error:
        return error


def test_lines_become_nodes_in_their_order() -> None:
    gen5 = ("gen5", "gen45")
    assert parse_cluster_file(EXAMPLE, source="cluster.txt") == (
        Node(host=HostName("astro0001"), ncores=12, mem_gb=32.0, groups=("gen4", "gen45")),
        Node(host=HostName("astro0010"), ncores=12, mem_gb=48.5, groups=gen5),
        Node(host=HostName("astro0011"), ncores=12, mem_gb=48.5, groups=gen5),
        Node(host=HostName("astro0012"), ncores=12, mem_gb=48.5, groups=gen5),
        Node(host=HostName("localhost"), ncores=8, mem_gb=16.0),
    )


def test_comments_blank_lines_tabs_and_windows_line_ends_do_no_harm() -> None:
    assert hosts("\ufeff# cluster\r\n\r\n \t \r\nb\t1\t.5 g# slow\r\na 1 1.\r\n") == ["b", "a"]


@pytest.mark.parametrize(
    ("word", "names"),
    [
        ("n[1-3]", ["n1", "n2", "n3"]),
        ("n[7,1-3]", ["n7", "n1", "n2", "n3"]),
        ("n[08-11].example.org", [f"n{number}.example.org" for number in ("08", "09", "10", "11")]),
        ("n[0-10]", [f"n{number}" for number in range(11)]),
        ("n[01-02,1]", ["n01", "n02", "n1"]),
        ("r[1-2]n[3-4]", ["r1n3", "r1n4", "r2n3", "r2n4"]),
        ("n1[2-3]4", ["n124", "n134"]),
        ("n[1-2][3-4]", ["n13", "n14", "n23", "n24"]),
        ("[1-2]-ib", ["1-ib", "2-ib"]),
    ],
)
def test_a_range_is_many_nodes(word: str, names: list[str]) -> None:
    assert hosts(f"{word} 4 8") == names


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but a comment"])
def test_a_cluster_without_nodes_is_refused(text: str) -> None:
    assert refusal(text).startswith("cluster.txt:1: no node is named here; a line is: host ncores mem(GB)")


@pytest.mark.parametrize(
    "word",
    [
        "-oProxyCommand=x",
        "a@b",
        "@group",
        "a%b",
        "a/b",
        "a;b",
        "$(x)",
        "é",
        "a.",
        "n[1-2]-",
        "n[1-3/2]",
        "n[1-2]@x",
        "n[1-2],m",
        "n&m",
        "n!m",
        "n[",
        "n[]",
        "n[a-b]",
        "n]1[",
        "n[1,]",
        "n[-1]",
        "n[1-2-3]",
        "n[[1]]",
    ],
)
def test_what_cannot_be_a_host_is_refused(word: str) -> None:
    message = refusal(f"ok 1 1\n{word} 1 1")
    assert message.startswith("cluster.txt:2: host '")
    assert "cannot be a name; allowed: letters, digits" in message


def test_a_host_has_a_greatest_length() -> None:
    assert hosts("x" * 254 + " 1 1") == ["x" * 254]
    assert "cannot be a name" in refusal("x" * 255 + " 1 1")
    assert "cannot be a name" in refusal("x" * 250 + "[10000-10001] 1 1")


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("n[3-1]", "range '3-1' runs backwards; write 1-3"),
        ("n[01-100]", "range '01-100' is ambiguous; write both ends with equally many digits"),
        ("n[8-011]", "range '8-011' is ambiguous; write both ends with equally many digits"),
        ("n[1,1]", "n1 is already named on line 1; a host is named once"),
    ],
)
def test_a_range_with_two_meanings_is_refused(word: str, problem: str) -> None:
    assert refusal(f"{word} 1 1") == f"cluster.txt:1: {problem}"


@pytest.mark.parametrize("word", ["n[0-10000]", "n[0-999999999]", "n[1-999999999][1-999999999]", "n" + "[1-9]" * 50])
def test_a_huge_range_is_refused_before_it_is_expanded(word: str) -> None:
    assert refusal(f"{word} 1 1").endswith("there are too many nodes; at most 10000 in all")


def test_the_nodes_of_all_lines_together_have_a_limit() -> None:
    assert len(hosts("a 1 1\nn[1-9999] 1 1")) == 10_000
    assert refusal("a 1 1\nb 1 1\nn[1-9999] 1 1").startswith("cluster.txt:3: with 'n[1-9999]' there are too many nodes")


@pytest.mark.parametrize("again", ["n2", "N2", "n[2-4]"])
def test_a_host_named_twice_is_refused_with_both_lines(again: str) -> None:
    message = refusal(f"n[1-3] 1 1\n\n{again} 1 1")
    assert message.lower() == "cluster.txt:3: n2 is already named on line 1; a host is named once"


@pytest.mark.parametrize("word", ["0", "4097", "-1", "1.5", "four", "1e3", "٣", "9" * 5000])
def test_what_is_no_number_of_cores_is_refused(word: str) -> None:
    assert refusal(f"a {word} 1").endswith("; allowed: a whole number from 1 to 4096")


@pytest.mark.parametrize("word", ["0", "0.0", "-1", "nan", "inf", "1e9", "32GB", "٣", "9" * 400, "."])
def test_what_is_no_memory_is_refused(word: str) -> None:
    assert "; allowed: a number of gigabytes above 0" in refusal(f"a 1 {word}")


@pytest.mark.parametrize("word", ["g,", ",g", "g,,h", "-g", "é", "g/h", "g" * 65])
def test_what_cannot_be_a_group_is_refused(word: str) -> None:
    assert "cannot be a name; allowed: letters, digits" in refusal(f"a 1 1 {word}")


def test_a_group_named_twice_counts_once() -> None:
    [node] = parse_cluster_file("a 1 1 g,h,g", source="cluster.txt")
    assert node.groups == ("g", "h")


def test_too_few_words_are_refused() -> None:
    assert refusal("a 12  # 32") == (
        "cluster.txt:1: 'a 12' has too few words; a line is: host ncores mem(GB) [group,group...]"
    )


def test_one_word_too_many_is_refused() -> None:
    assert "'h' is one word too many" in refusal("a 1 1 g, h")


@pytest.mark.parametrize("rest", ["g gpus=2", "gpus=2"])
def test_options_of_a_node_are_refused_for_now(rest: str) -> None:
    assert refusal(f"a 1 1 {rest}").startswith(
        "cluster.txt:1: options of a node, such as 'gpus=2', are not known to this version"
    )


def test_a_text_has_a_greatest_size() -> None:
    assert "too large" in refusal("a 1 1 #" + "x" * MAX_TEXT_BYTES)


WORDS = [
    "a",
    "n[1-3]",
    "n[",
    "]",
    "1",
    "12",
    "0",
    "4.5",
    "g,h",
    "#",
    "\n",
    " ",
    " ",
    "@",
    "-",
    ",",
    "[1-2,4]",
    "[0-99999]",
    "=",
]


@settings(deadline=None)
@given(st.one_of(st.text(st.characters()), st.lists(st.sampled_from(WORDS), max_size=20).map("".join)))
def test_no_text_makes_it_fail_in_another_way(text: str) -> None:
    found = outcome(text)
    if isinstance(found, FormatError):
        assert str(found).startswith(f"cluster.txt:{found.line}: ")
        assert 1 <= found.line <= text.count("\n") + 1
        assert str(found).isprintable()
    else:
        assert found
        assert all(HOST_PATTERN.fullmatch(node.host) for node in found)
        assert len({node.host.lower() for node in found}) == len(found)


@settings(deadline=None)
@given(st.integers(0, 10**8), st.integers(0, 200), st.integers(0, 9))
def test_a_range_names_each_number_once_in_order(first: int, extra: int, width: int) -> None:
    last = first + extra
    width = max(width, len(str(last))) if width else 0
    text = f"n[{first:0{width}d}-{last:0{width}d}] 1 1"
    assert hosts(text) == [f"n{number:0{width}d}" for number in range(first, last + 1)]


class TestWordsThatMeanHosts:
    def test_are_names_and_ranges_each_host_once_in_order(self) -> None:
        words = [("b1", 1), ("astro[0002-0001,7]", 2)]
        with pytest.raises(FormatError, match=r"HOST:2: range '0002-0001' runs backwards"):
            parse_host_words(words, source="HOST")
        words = [("b1", 1), ("astro[2-3,1]", 2), ("B1", 3), ("astro2", 4)]
        assert parse_host_words(words, source="HOST") == ["b1", "astro2", "astro3", "astro1"]
        assert parse_host_words([], source="HOST") == []

    def test_are_not_too_many(self) -> None:
        with pytest.raises(FormatError, match=r"names:2: there are too many nodes"):
            parse_host_words([("a[1-9999]", 1), ("b[1-9999]", 2)], source="names")

    @given(st.text(max_size=20))
    def test_any_other_is_refused(self, word: str) -> None:
        try:
            found = parse_host_words([(word, 1)], source="HOST")
        except FormatError:
            return
        assert all(HOST_PATTERN.fullmatch(host) for host in found)
