"""wq limit: limit yourself, or others."""

from __future__ import annotations

from wq.cli.connection import connect
from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = (
    "Limit how many jobs run, and how many cores they hold, at one time: your own, or with -u (the\n"
    "server's owner) anyone's. Your own limit and the owner's hold side by side: the smaller counts."
)
EXAMPLES = """examples:
  wq limit "run: 25; cores: 100"
  wq limit "cores: -1"              lift one of them
  wq limit clear                    lift both
  wq limit -u anze "cores: 200"     (the server's owner)"""
LARGEST = 1_000_000


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="+", metavar="LIMITS", help='"run: 25; cores: 100", or `clear`')
    parser.add_argument("-u", "--user", metavar="NAME", help="limit this user (the server's owner only)")
    parser.add_argument("--json", action="store_true", help="for programs; the schema is in docs/json.md")


def run(args: argparse.Namespace) -> int:
    text = " ".join(args.words)
    fields = {"clear": True} if text.strip() == "clear" else parse(text)
    facts = connect(args.port).ask("limit", user=args.user, **fields)
    if args.json:
        import json

        print(json.dumps(facts))
        return 0
    from wq.cli.render.sanitise import printable

    shown = [f"{key}: {facts[key]}" for key in ("run", "cores") if facts[key] is not None]
    print(printable(f"{facts['user']}: {'; '.join(shown) or 'no limit'}"))
    return 0


def parse(text: str) -> dict[str, object]:
    """Limits as people write them. Raises WqError."""
    fields: dict[str, object] = {}
    for item in (part.strip() for part in text.split(";")):
        if not item:
            continue
        key, colon, value = (part.strip() for part in item.partition(":"))
        if not colon or key not in ("run", "cores"):
            raise WqError(f"limit: {item!r} is not understood; `run: NUMBER` and `cores: NUMBER` are", BAD_INPUT)
        if key in fields:
            raise WqError(f"limit: {key} is given twice", BAD_INPUT)
        if not value.removeprefix("-").isdecimal() or len(value) > 9 or not -1 <= int(value) <= LARGEST:
            shown = value[:40]
            raise WqError(f"limit: {key}: {shown!r} is not a number from 0 to {LARGEST} (or -1 to lift it)", BAD_INPUT)
        fields[key] = int(value)
    if not fields:
        raise WqError("limit: nothing to set; `run: NUMBER`, `cores: NUMBER` or `clear`", BAD_INPUT)
    return fields
