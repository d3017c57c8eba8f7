"""wq completion: print a script with which a shell completes the words of wq."""

from __future__ import annotations

import sys

from wq.cli.errors import BAD_INPUT, WqError

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse

HELP = (
    "Print a script with which bash, zsh or fish completes the words of wq: commands, options, and the\n"
    "names of files where they are wanted. It asks no server, and starts no wq."
)
EXAMPLES = """examples:
  source <(wq completion bash)                                    (in ~/.bashrc)
  wq completion bash > ~/.local/share/bash-completion/completions/wq
  wq completion zsh > ~/.zfunc/_wq                                (a directory of $fpath)
  wq completion fish > ~/.config/fish/completions/wq.fish"""
SHELLS = ("bash", "zsh", "fish")


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", nargs="?", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")


def run(args: argparse.Namespace) -> int:
    if args.shell is None:
        raise WqError(f"completion: for which shell? one of {', '.join(SHELLS)}", BAD_INPUT)
    from wq.cli import completions

    sys.stdout.write(completions.SHELLS[args.shell]())
    return 0
