"""wq sub: submit jobs, from job files, -c, `--` or standard input."""

from __future__ import annotations

import os
import sys

from wq.cli import carried, config
from wq.cli.connection import connect
from wq.cli.errors import AWAY, BAD_INPUT, ServerDown, WqError
from wq.cli.link import LauncherLink

TYPE_CHECKING = False  # importing typing would cost each command 3 ms
if TYPE_CHECKING:
    import argparse
    from typing import Any

    from wq.cli.arrays import Wanted
    from wq.cli.progress import Progress
    from wq.formats.jobfile import JobFields

HELP = (
    "Submit jobs. In the foreground (the usual) wq waits for a turn and runs the job here: its output\n"
    "comes here, its exit status is wq's, Ctrl-C ends it. With -b it queues and returns at once."
)
EXAMPLES = """examples:
  wq sub -c 'echo hello from $(hostname)'
  wq sub job.yaml                            a job file: YAML, with `command:` and requirements
  wq sub -r "mode: bynode; N: 5" job.yaml    requirements on the command line win
  wq sub -b fit*.yaml                        a line for each job; output in fit1.yaml.wqlog, ...
  wq sub -b -o logs/%x-%j.log -e logs/%x-%j.err -c ./fit   files of these names
  wq sub -b -r "N:4; job_name: fit" -- ./fit.sh "a b"     a program, word by word
  wq sub -c bash                             a shell on a node; -r "X:1" for plots
  wq sub -b --array 0-9999%50 -c './fit %task%'           an array of 10000 tasks, 50 at once
  wq sub -b --each-line points.txt -- ./fit %line%        a task for each line
  wq sub -b --each-csv runs.csv -c './fit --lr %lr%'      a task for each row, %column%
  wq sub -b --param lr=0.1,0.01 --param seed=1-5 -c './fit %lr% %seed%'   all 10 combinations
  wq sub -b --after prep,12 job.yaml    when these have succeeded (--after-any, --after-notok)
  wq sub -b --begin 20:00 --retries 3 --notify mail job.yaml
  wq sub -b -w job.yaml                      queue it, and wait for its end, as `wq wait` does
  wq sub -n -b --array 0-9 job.yaml          show what would be submitted
  echo 'command: hostname' | wq sub -b -
  nohup wq sub job.yaml > log 2> err &

requirements: mode (bycore, bycore1, bynode, byhost, bygroup), N, group, notgroup, host, min_cores,
min_mem, X, priority (low, med, high, block), job_name, hostfile, threads, env, private,
requeue, array, time (2h30m), signal (USR1@60s), output, error, keep_output, after, begin, hold,
retries, max_fails, notify, ...; see docs/jobfile.md

While the server is away -b keeps jobs here until it is back; with -q it does not."""
LIMITS = {"core": 4, "data": 2, "fsize": 1, "memlock": 8, "nofile": 7, "stack": 3, "as": 9}
TRUE = ("true", "yes", "1", "on")
MOST_TEXT = 64 << 20  # bytes (on standard input: characters) of a job file
MANY_FILES = 20  # from here on reading them may take a while
MOST_LAUNCHERS = 5  # that may die before they answer
AS_OPTIONS = ("after", "after_any", "after_notok", "after_each", "begin", "retries", "max_fails", "notify")  # keys
OPTIONAL = (
    *AS_OPTIONS,
    "array",
    "time_s",
    "output",
    "error",
    "keep_output",
    "hold",
    "retry_wait",
    "retry_on",
    "notify_on",
)
WAITING = (*AS_OPTIONS[:5], "retry_wait", "retry_on")  # which are put otherwise for the launcher
BATCH_ONLY = ("retries", "retry_wait", "retry_on", "max_fails", "notify", "notify_on")
ARRAY_ONLY = ("max_fails", "after_each")
OWN = ("command", "job_name")  # what most jobs of a file have of their own
MOST_SHARED = 1000
described: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}  # by the other keys and their values


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="*", metavar="JOBFILE", help="job files; `-` is standard input")
    parser.add_argument("-c", "--command", metavar="COMMAND", help="a command for your shell, instead of a job file")
    parser.add_argument("-r", "--require", metavar="REQ", help='requirements: "key: value; key: value"')
    parser.add_argument("-b", "--batch", action="store_true", help="queue and return at once; output goes to a file")
    parser.add_argument("-o", "--output", metavar="FILE", help="with -b: output goes here; %%j id, %%a task, %%x name")
    parser.add_argument("-e", "--error", metavar="FILE", help="with -b: errors go here, and not with the output")
    parser.add_argument("-w", "--wait", action="store_true", help="with -b: and wait for the end, as `wq wait` does")
    parser.add_argument("-q", "--quiet", action="store_true", help="with -b: print only the ids")
    parser.add_argument("--json", action="store_true", help="with -b or -n: for programs; see docs/json.md")
    parser.add_argument("-n", "--dry-run", action="store_true", help="show what would be submitted, ask no server")
    parser.add_argument("--array", metavar="TASKS", help="with -b: 0-99, 1,5,10-20:2, 0-99%%50 (50 at once); %%task%%")
    parser.add_argument("--each-line", metavar="FILE", help="with -b: a task for each line (`-`: stdin); %%line%%")
    parser.add_argument("--each-csv", metavar="FILE", help="with -b: a task for each row below the header; %%column%%")
    parser.add_argument(
        "--param", metavar="NAME=VALUES", action="append", help="with -b: lr=0.1,0.01 or seed=1-5; all combinations"
    )
    parser.add_argument("--at-most", metavar="K", help="so many tasks of an array at once")
    parser.add_argument("--max-fails", metavar="N", help="stop an array when more than N of its tasks have failed")
    parser.add_argument("--after", metavar="JOBS", help="run when these have ended with success: ids, names, `last`")
    parser.add_argument("--after-any", metavar="JOBS", help="run when these have ended, however")
    parser.add_argument("--after-notok", metavar="JOBS", help="run when these have failed, and only then")
    parser.add_argument("--after-each", metavar="ARRAY", help="each task when the one of that array has succeeded")
    parser.add_argument("--begin", metavar="TIME", help="not before: 20:00, +2h, 2026-12-01T08:00")
    parser.add_argument("--hold", action="store_true", help="not before `wq release`")
    parser.add_argument("--retries", metavar="N", help="try again so often when it fails")
    parser.add_argument("--notify", metavar="HOW", help="`mail`, or a command, when it has ended")


def run(args: argparse.Namespace) -> int:
    if (args.quiet or (args.json and not args.dry_run)) and not args.batch:
        raise WqError("-q and --json go with -b", BAD_INPUT)
    if not args.batch and (args.output is not None or args.error is not None):
        raise WqError("sub: -o and -e go with -b; the output of a foreground job comes here", BAD_INPUT)
    if args.wait and not args.batch:
        raise WqError("-w goes with -b; without them the job runs here", BAD_INPUT)
    jobs = gather(args)
    for task, _ in jobs:
        check_keys(task, args)
    if args.dry_run:
        return show(args, jobs)
    if any(key in task for task, _ in jobs for key in WAITING):
        from wq.cli import waits

        with waits.Known(args.port) as known:
            waits.settle([task for task, _ in jobs], known.id_of)
    if args.batch:
        return submit_batch(args, jobs)
    from wq.cli import foreground

    status = 0
    for task, _ in jobs:
        link = reach(args)
        ended = foreground.run(link, task, setting(), stdin_used="-" in args.files)
        status = status or ended
        if ended >= 128:
            break
    return status


def reach(args: argparse.Namespace, *, keep: bool = False) -> LauncherLink:
    """One's own launcher for the queue, both started where needed. keep: it is enough if the launcher is there."""
    try:
        server = connect(args.port, start_private=True)
    except ServerDown as down:
        if keep:
            return LauncherLink(down)
        raise
    if not server.is_known():
        server.hello_only()  # the first contact is shown and remembered
    link = LauncherLink(server)
    server.sock.close()
    return link


def check_keys(task: dict[str, Any], args: argparse.Namespace) -> None:
    """Raises WqError for what has no meaning here."""
    for key in BATCH_ONLY:
        if key in task and not args.batch:
            raise WqError(f"sub: {key} goes with -b", BAD_INPUT)
    for key in ARRAY_ONLY:
        if key in task and "array" not in task:
            raise WqError(f"sub: {key} goes with an array", BAD_INPUT)


def show(args: argparse.Namespace, jobs: list[tuple[dict[str, Any], str | None]]) -> int:
    """What would be submitted, without asking anybody. Raises WqError for what cannot be."""
    from wq.cli import dry_run, waits

    unasked: dict[str, int] = {}
    waits.settle([task for task, _ in jobs], lambda word: unasked.setdefault(word, dry_run.SOME_ID))
    message_of(args, jobs)
    dry_run.show(jobs, list(unasked), as_json=args.json)
    return 0


# --- what to submit


def gather(args: argparse.Namespace) -> list[tuple[dict[str, Any], str | None]]:
    """(task, stem of an output that is to be named by the id) for each job. Raises WqError for bad input."""
    given = [args.command is not None, args.tail is not None, bool(args.files)]
    if sum(given) != 1:
        raise WqError("sub: one of JOBFILE..., -c COMMAND, -- PROGRAM..., or `-` is wanted; see `wq sub -h`", BAD_INPUT)
    if args.tail is not None and not args.tail:
        raise WqError("sub: a program is wanted after --", BAD_INPUT)
    foreground = not args.batch
    wanted = wanted_array(args)
    if args.files:
        return from_files(args, foreground, wanted)
    required = required_of(args)
    task = simple_task(args) if required is None else described_task(args, required, wanted)
    if args.tail is not None:
        task["argv"] = args.tail
        task["command"] = None
    spread(task, wanted, foreground)
    stem = None
    if not (foreground or places_output(task, args)):
        stem = stem_of(task["name"], writable(here()))
    return [(finished(task, foreground, hidden=all_is_private()), stem)]


def from_files(
    args: argparse.Namespace, foreground: bool, wanted: Wanted | None
) -> list[tuple[dict[str, Any], str | None]]:
    """All jobs of all files, with a bar if they are many."""
    jobs: list[tuple[dict[str, Any], str | None]] = []
    if len(args.files) < MANY_FILES:
        for path in args.files:
            jobs += from_file(path, args, foreground, wanted)
        return jobs
    from wq.cli.progress import Progress

    with Progress("reading job files") as bar:
        for number, path in enumerate(args.files):
            bar.at(number, len(args.files))
            jobs += from_file(path, args, foreground, wanted)
    return jobs


def wanted_array(args: argparse.Namespace) -> Wanted | None:
    """What the options say of an array. What deals with arrays is imported only where there is one."""
    if all(option is None for option in (args.array, args.each_line, args.each_csv, args.param, args.at_most)):
        return None
    if not args.batch:
        raise WqError("sub: arrays go with -b", BAD_INPUT)
    from wq.cli import arrays

    return arrays.wanted(args)


def spread(task: dict[str, Any], wanted: Wanted | None, foreground: bool) -> None:
    """Make a task an array, if it is to be one."""
    if wanted is not None or "array" in task:
        from wq.cli import arrays

        arrays.spread(task, wanted, foreground=foreground)


def check_once(required: JobFields, wanted: Wanted | None) -> None:
    if "array" in required.given and wanted is not None and wanted.array is not None:
        raise WqError("sub: there is an array in -r and another in the options; give one of them", BAD_INPUT)


def simple_task(args: argparse.Namespace) -> dict[str, Any]:
    """-c or -- without requirements: nothing needs to be parsed."""
    text = checked_command(args)
    return {"command": text, "name": first_word(text), "requirement": {}}


def checked_command(args: argparse.Namespace) -> str:
    """The command, or the first word of it."""
    words = [args.command] if args.command is not None else args.tail
    if not words[0].strip() or "\0" in words[0]:
        raise WqError("sub: the command is empty", BAD_INPUT)
    check_text(*words)
    return str(words[0])


def check_text(*words: str) -> None:
    """What is no text would be something else on the other side."""
    try:
        "".join(words).encode()
    except UnicodeEncodeError:
        sentence = "sub: what is not UTF-8 text cannot be sent; write it in a script, and submit that"
        raise WqError(sentence, BAD_INPUT) from None


def required_of(args: argparse.Namespace) -> JobFields | None:
    """What -r and the options ask for beyond the command or the job file; None if that is nothing. Raises WqError."""
    given = {key: getattr(args, key) for key in AS_OPTIONS if getattr(args, key) is not None}
    if args.hold:
        given["hold"] = "true"
    if args.require is None and not given:
        return None
    from wq.formats import FormatError
    from wq.formats.jobfile import merge, option_fields, parse_requirement

    try:
        options = option_fields(given)
        return options if args.require is None else merge(parse_requirement(args.require), options)
    except FormatError as error:
        raise WqError(str(error), BAD_INPUT) from None


def described_task(args: argparse.Namespace, required: JobFields, wanted: Wanted | None) -> dict[str, Any]:
    from wq.formats import FormatError
    from wq.formats.jobfile import command_fields, merge

    text = checked_command(args)
    try:
        check_once(required, wanted)
        return task_of(merge(command_fields(text), required))
    except FormatError as error:
        raise WqError(str(error), BAD_INPUT) from None


def from_file(
    path: str, args: argparse.Namespace, foreground: bool, wanted: Wanted | None
) -> list[tuple[dict[str, Any], str | None]]:
    """All jobs of one file."""
    from wq.formats import FormatError
    from wq.formats.jobfile import merge, parse_job_file

    source = "standard input" if path == "-" else path
    check_text(path)
    text = read_text(path, source)
    if text.startswith("#!"):
        raise WqError(f"{source} is a script, not a job file; run it with `wq sub -- {path}`", BAD_INPUT)
    jobs: list[tuple[dict[str, Any], str | None]] = []
    hidden = all_is_private()
    place, unchecked = "", True
    try:
        required = required_of(args)
        if required is not None:
            check_once(required, wanted)
        documents = parse_job_file(text, source=source)
        if not foreground:
            place = here() if path == "-" else os.path.join(here(), path)
        for number, fields in enumerate(documents, 1):
            task = task_of(fields if required is None else merge(fields, required))
            if task["command"] is None:
                where = "in it" if len(documents) == 1 else f"in job {number} of it"
                raise WqError(f"{source}: there is no command {where}", BAD_INPUT)
            spread(task, wanted, foreground)
            stem = None
            if not (foreground or places_output(task, args)):
                if unchecked:
                    writable(place if path == "-" else os.path.dirname(place))
                    unchecked = False
                stem = output_of(task, place, path, f"-{number}" if len(documents) > 1 else "")
            jobs.append((finished(task, foreground, hidden=hidden), stem))
    except FormatError as error:
        raise WqError(str(error), BAD_INPUT) from None
    return jobs


def places_output(task: dict[str, Any], args: argparse.Namespace) -> bool:
    """Whether the files of a batch job are named by its user, who then has them where he wants them."""
    if args.output is None and args.error is None and "output" not in task and "error" not in task:
        return False
    from wq.cli import outputs

    return outputs.placed(task, args, here())


def output_of(task: dict[str, Any], place: str, path: str, part: str) -> str | None:
    """Name the output of a batch job by its file; or, where it is named by the id, answer how that name begins.

    place: that of the file; for standard input, the directory of submission.
    """
    if path == "-":
        return stem_of(task["name"], place)
    stem = f"{place}{part}"
    if "array" in task:
        return stem
    task["output"] = f"{stem}.wqlog"
    return None


def read_text(path: str, source: str) -> str:
    try:
        if path == "-":
            from wq.cli import stdin

            return stdin.opened().read(MOST_TEXT + 1)
        data = carried.contents(path, MOST_TEXT)
        if len(data) > MOST_TEXT:
            raise WqError(f"{source}: the text is too large; at most {MOST_TEXT} bytes", BAD_INPUT)
        text = data.decode()
        return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    except UnicodeDecodeError:
        raise WqError(f"{source}: not UTF-8 text", BAD_INPUT) from None
    except OSError as error:
        raise WqError(f"{source}: {error.strerror}", BAD_INPUT) from None


def task_of(fields: JobFields) -> dict[str, Any]:
    """A description as the launcher takes it. Jobs that differ by command and name alone share all the rest."""
    given = fields.given
    rest = tuple([(key, found.value) for key, found in given.items() if key not in OWN])
    shared = described.get(rest)
    if shared is None:
        if len(described) >= MOST_SHARED:
            described.clear()
        shared = described[rest] = all_but_own(fields)
    command, name = (given[key].value if key in given else None for key in OWN)
    return {
        **shared,
        "command": command,
        "name": name or first_word(str(command or "job")),
        "named": name is not None,
    }


def all_but_own(fields: JobFields) -> dict[str, Any]:
    from dataclasses import asdict

    from wq.formats.jobfile import describe

    found = describe(fields)
    more = {key: value for key in OPTIONAL if (value := getattr(found, key)) is not None}
    if found.signal is not None:
        more.update(signal=found.signal, signal_s=found.signal_s)
    return {
        **more,
        "requirement": asdict(found.requirement),
        "hostfile": found.hostfile,
        "env_mode": found.env,
        "x": found.x,
        "private": found.private,
        "requeue": found.requeue,
    }


def all_is_private() -> bool:
    """The configuration says that all jobs are private."""
    return config.load().get("private", "").lower() in TRUE


def finished(task: dict[str, Any], foreground: bool, *, hidden: bool) -> dict[str, Any]:
    """With what the configuration (hidden: all jobs are private) and the terminal add."""
    if hidden:
        task["private"] = True
    if task.get("private") and not task.pop("named", False):
        task["name"] = "private"
    task.pop("named", None)
    if foreground:  # which has its output here
        for key in ("output", "error", "keep_output"):
            task.pop(key, None)
    task["foreground"] = foreground
    task["tty"] = foreground and on_terminal()
    return task


def on_terminal() -> bool:
    """True if the job is to have a terminal: ours is one, both ways, and it is ours just now."""
    try:
        return os.isatty(0) and os.isatty(1) and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def first_word(command: str) -> str:
    """The first word of a command, past comments: its name in listings."""
    for line in command.splitlines():
        words = line.split(None, 1)
        if words and not words[0].startswith("#"):
            return words[0][:200]
    return "job"


def stem_of(name: str, place: str) -> str:
    """Where the output of a job without a file goes, up to the id."""
    safe = "".join(c if c.isalnum() or c in "._+-" else "_" for c in os.path.basename(name)).lstrip(".")[:80]
    safe = safe.encode()[:200].decode("utf-8", "ignore")  # a name has at most 255 bytes, and the id comes to it
    return os.path.join(place, safe or "job")


def writable(directory: str) -> str:
    """The directory, if output can be written there."""
    if not os.access(directory, os.W_OK | os.X_OK):
        raise WqError(f"the output cannot be written to {directory}: no permission there", BAD_INPUT)
    return directory


# --- where it is submitted from


def here() -> str:
    """The directory of submission, by the name that its user knows it by."""
    try:
        real = os.getcwd()
    except OSError as error:
        raise WqError(f"the current directory is gone: {error.strerror}", BAD_INPUT) from None
    named = os.environ.get("PWD", "")
    try:
        if named.startswith("/") and os.path.samefile(named, real):
            real = named
    except OSError:
        pass
    try:
        real.encode()
    except UnicodeEncodeError:
        raise WqError("the name of the current directory is not UTF-8", BAD_INPUT) from None
    return real


def setting() -> dict[str, Any]:
    """Directory, umask, limits and environment of the submission."""
    import resource

    umask = os.umask(0o022)
    os.umask(umask)
    limits = {name: resource.getrlimit(number)[0] for name, number in LIMITS.items()}
    env = {}
    for name, value in os.environ.items():
        try:
            (name + value).encode()
        except UnicodeEncodeError:
            continue  # what is no text cannot be taken along
        env[name] = value
    return {"cwd": here(), "umask": umask, "env": env, "limits": limits}


# --- batch


def submit_batch(args: argparse.Namespace, jobs: list[tuple[dict[str, Any], str | None]]) -> int:
    """Queue them all, and print a line for each; while the server is away the launcher keeps them, unless -q."""
    message = message_of(args, jobs)
    link = reach(args, keep=not args.quiet)
    for _ in range(MOST_LAUNCHERS):
        facts = answer_to(link, message)
        if facts is not None:
            report(args, facts["jobs"])
            if facts.get("over"):
                print(f"wq: {facts['over']} of them are over already; `wq ls -a` shows them", file=sys.stderr)
            return stay(args, facts["jobs"]) if args.wait else 0
        link = LauncherLink(link.queue)  # it knows by the token what its predecessor has done of it
    raise WqError("your launcher went away before it answered; `wq ls` shows what was queued", AWAY)


def stay(args: argparse.Namespace, jobs: list[dict[str, Any]]) -> int:
    """Wait for the end of what was queued; the exit status."""
    from wq.cli import select, waiting

    sys.stdout.flush()
    ids = [int(job["id"]) for job in jobs if job["id"] is not None]
    if len(ids) < len(jobs):
        raise WqError("the server is away, so there is nothing to wait for yet; the jobs are kept", AWAY)
    return waiting.to_the_end(waiting.Waiter(select.folded(ids)), connect(args.port))


def message_of(args: argparse.Namespace, jobs: list[tuple[dict[str, Any], str | None]]) -> dict[str, Any]:
    """What goes to the launcher. Raises WqError where that is too much."""
    message = {
        "type": "sub",
        "tasks": [task for task, _ in jobs],
        "stems": [stem for _, stem in jobs],
        "setting": setting(),
        "keep": not args.quiet,
        "token": os.urandom(16).hex(),
    }
    if any("array" in task for task, _ in jobs):
        from wq.cli import arrays

        arrays.check_size(message)
    return message


def answer_to(link: LauncherLink, message: dict[str, Any]) -> dict[str, Any] | None:
    """The facts; None if the launcher has gone without a word. What it says of its progress is shown meanwhile."""
    bar: Progress | None = None
    try:
        link.send(message)
        for answer in link.messages():
            if "error" in answer:
                raise link.refusal(answer)
            if "ok" in answer:
                facts = answer["ok"]
                assert isinstance(facts, dict)
                return facts
            if answer.get("type") == "progress":
                bar = stepped(bar, answer)
    except ConnectionError:
        pass
    finally:
        if bar is not None:
            bar.clear()
    return None


def stepped(bar: Progress | None, answer: dict[str, object]) -> Progress:
    from wq.cli.progress import Progress

    bar = bar or Progress("submitting")
    done, of = answer.get("done"), answer.get("of")
    if isinstance(done, int) and isinstance(of, int):
        bar.at(done, of)
    return bar


def report(args: argparse.Namespace, jobs: list[dict[str, Any]]) -> None:
    kept = sum(job["id"] is None for job in jobs)
    if args.json:
        import json

        print(json.dumps([as_row(job) for job in jobs], indent=1))
    elif args.quiet:
        print("\n".join(str(job["id"]) for job in jobs))
    else:
        from wq.cli.render.sanitise import printable

        for job in jobs:
            if job["id"] is not None:
                what = f"{printable(job['name'])}{tasks_in_words(job.get('tasks'))}"
                if job["output"] == os.devnull:
                    print(f"job {job['id']} queued: {what}, output discarded")
                    continue
                output = os.path.relpath(job["output"], here())
                print(f"job {job['id']} queued: {what}, output in {printable(output)}")
    if kept:
        how_many = "1 job; its id follows" if kept == 1 else f"{kept} jobs; ids follow"
        print(f"wq: queued here, the server is away ({how_many} when it is back)", file=sys.stderr)


def tasks_in_words(ntasks: int | None) -> str:
    return "" if ntasks is None else ", 1 task" if ntasks == 1 else f", {ntasks} tasks"


def as_row(job: dict[str, Any]) -> dict[str, Any]:
    """For programs. The files of a job that is still without an id may be named by it: then they are not known yet."""
    files = {name: None if "\0" in (job.get(name) or "") else job.get(name) for name in ("output", "error")}
    return {**job, "tasks": job.get("tasks"), **files, "away": job["id"] is None}
