"""Completion scripts for bash, zsh and fish, made from the declared options. They ask no server, and start no wq."""

from __future__ import annotations

from wq.cli.declared import Command, Option, commands
from wq.cli.main import VALUED, VERBS

FILES = {"FILE", "JOBFILE", "CLUSTER"}
DIRECTORIES = {"DIR", "SPOOLDIR"}
GENERAL = ("-h", "--help", "--version", "-p", "--port")
WORDS = {  # that a command takes beside names, ids and files
    "node": ("online", "offline", "drain", "lost"),
    **dict.fromkeys(("rm", "hold", "release", "suspend", "resume", "signal"), ("all",)),
    "limit": ("clear",),
}


def words_of(command: Command) -> tuple[str, ...]:
    """What may stand without an option, as far as it is known beforehand."""
    return (command.words.choices if command.words is not None else ()) or WORDS.get(command.verb, ())


def kind(option: Option | None) -> str:
    """What its value is: `file`, `directory`, or something that cannot be known here."""
    metavar = option.metavar if option is not None else None
    return "file" if metavar in FILES else "directory" if metavar in DIRECTORIES else ""


# ---- bash


BASH = """\
# wq: completion for bash. `source <(wq completion bash)` in ~/.bashrc, or put it into
# ~/.local/share/bash-completion/completions/wq
_wq() {{
    local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} verb='' at words='' files=none
    COMPREPLY=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${{COMP_WORDS[at]}} in
            {valued}) ((at++)) ;;
            -*) ;;
            *) verb=${{COMP_WORDS[at]}}; break ;;
        esac
    done
    if [[ -z $verb ]]; then
        ((at > COMP_CWORD)) || words='{every}' # else it is the value of an option
    elif [[ $verb == sub && " ${{COMP_WORDS[*]:at:COMP_CWORD-at}} " == *' -- '* ]]; then
        files=file
    else
        case $verb:$prev in
{values}
            *)
                case $verb in
{verbs}
                esac ;;
        esac
    fi
    [[ -z $words ]] || mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
    [[ $files != none ]] || return
    compopt -o filenames 2>/dev/null
    case $files in
        file) [[ $cur == -?* ]] || mapfile -t -O ${{#COMPREPLY[@]}} COMPREPLY < <(compgen -f -- "$cur") ;;
        directory) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
    esac
}}
complete -F _wq wq
"""


def bash() -> str:
    every = commands()
    return BASH.format(
        valued="|".join(sorted(VALUED)),
        values="\n".join(line for command in every for line in bash_values(command)),
        verbs="\n".join(map(bash_verb, every)),
        every=" ".join([*VERBS, *GENERAL]),
    )


def bash_values(command: Command) -> list[str]:
    """What follows an option with a value."""
    lines = []
    for option in command.options:
        if option.metavar is not None:
            names = "|".join(f"{command.verb}:{name}" for name in option.names)
            lines.append(f"            {names}) files={kind(option) or 'none'} words='{' '.join(option.choices)}' ;;")
    return lines


def bash_verb(command: Command) -> str:
    """What stands anywhere else."""
    names = [name for option in command.options for name in option.names]
    words = " ".join([*words_of(command), *names, "-h", "--help"])
    return f"                    {command.verb}) words='{words}' files={kind(command.words) or 'none'} ;;"


# ---- zsh


ZSH = """\
#compdef wq
# wq: completion for zsh. Put it into a directory of $fpath, as _wq; or `source <(wq completion zsh)`, after compinit.
_wq() {{
    local -a verbs
    local verb= at=2
    while (( at < CURRENT )); do
        case ${{words[at]}} in
            ({valued}) (( at++ )) ;;
            (-*) ;;
            (*) verb=${{words[at]}}; break ;;
        esac
        (( at++ ))
    done
    if [[ -z $verb ]]; then
        verbs=(
{verbs}
        )
        _describe -t commands command verbs
        _arguments '(-p --port)'{{-p,--port}}'[the queue on this host]:PORT: ' \\
            '(-h --help)'{{-h,--help}}'[help]' '--version[version]'
        return
    fi
    words[at]=()
    (( CURRENT-- ))
    case $verb in
{cases}
    esac
}}
if [[ $funcstack[1] == _wq ]]; then _wq "$@"; else compdef _wq wq; fi
"""


def zsh() -> str:
    every = commands()
    return ZSH.format(
        valued="|".join(sorted(VALUED)),
        verbs="\n".join(f"            {zsh_quoted(f'{verb}:{what}')}" for verb, what in VERBS.items()),
        cases="\n".join(zsh_verb(command) for command in every),
    )


def zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def zsh_verb(command: Command) -> str:
    specs = [zsh_option(option) for option in command.options]
    specs.append("'(- *)'{-h,--help}'[help]'")
    if command.words is not None:
        specs.append(zsh_quoted(f"*:{zsh_text(command.words.metavar or '')}:{zsh_value(command.words, command)}"))
    return f"        ({command.verb}) _arguments -s \\\n            " + " \\\n            ".join(specs) + " ;;"


def zsh_option(option: Option) -> str:
    told = f"[{zsh_text(option.help)}]"
    if option.metavar is not None:
        told += f":{zsh_text(option.metavar)}:{zsh_value(option)}"
    if option.many:
        return " ".join(zsh_quoted(f"*{name}{told}") for name in option.names)
    if len(option.names) == 1:
        return zsh_quoted(option.names[0] + told)
    return f"'({' '.join(option.names)})'{{{','.join(option.names)}}}{zsh_quoted(told)}"


def zsh_value(option: Option, command: Command | None = None) -> str:
    words = option.choices or (words_of(command) if command is not None else ())
    if words:
        return f"({' '.join(words)})"
    return {"file": "_files", "directory": "_files -/"}.get(kind(option), " ")


def zsh_text(text: str) -> str:
    """Without what has a meaning in a specification."""
    for char in "\\[]:":
        text = text.replace(char, f"\\{char}")
    return text


# ---- fish


FISH = """\
# wq: completion for fish. `wq completion fish > ~/.config/fish/completions/wq.fish`
function __wq_verb
    set -l words (commandline -opc)
    set -e words[1]
    set -l skip 0
    for word in $words
        if test $skip = 1
            set skip 0
            continue
        end
        switch $word
            case {valued}
                set skip 1
            case '-*'
            case '*'
                echo $word
                return
        end
    end
end
function __wq_is
    test (count (__wq_verb)) -gt 0; and test (__wq_verb) = $argv[1]
end
function __wq_none
    test (count (__wq_verb)) -eq 0
end
complete -c wq -f
complete -c wq -s h -l help -d 'help'
complete -c wq -n __wq_none -l version -d 'version'
"""


def fish() -> str:
    lines = [FISH.format(valued=" ".join(sorted(VALUED)))]
    lines += [f"complete -c wq -n __wq_none -a {verb} -d {fish_quoted(what)}\n" for verb, what in VERBS.items()]
    for command in commands():
        condition = f"complete -c wq -n '__wq_is {command.verb}'"
        lines += [f"{condition} {fish_option(option)}\n" for option in command.options]
        words = words_of(command)
        if words:
            lines.append(f"{condition} -a {fish_quoted(' '.join(words))}\n")
        if kind(command.words):
            lines.append(f"{condition} -F\n")
    return "".join(lines)


def fish_option(option: Option) -> str:
    parts = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    if option.metavar is not None:
        parts.append("-r" if kind(option) else "-x")
        parts += ["-F"] if kind(option) else []
        parts += [f"-a {fish_quoted(' '.join(option.choices))}"] if option.choices else []
    return " ".join([*parts, f"-d {fish_quoted(option.help)}"])


def fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
