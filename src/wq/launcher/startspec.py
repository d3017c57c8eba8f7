"""What a shepherd is told to start: the user's own task, placed on the granted cores."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Any

from wq.core.cluster import LOCALHOST
from wq.core.job import Allocation
from wq.formats.array import environment_of, index_of, row_of
from wq.formats.fill import filled
from wq.formats.outputs import NOWHERE
from wq.launcher.ledger import Entry
from wq.launcher.task import ArrayTasks, Setting, Task
from wq.store.database import NO_ROOM

# What belongs to one host or session, and does not go along with a job.
NOT_TAKEN_ALONG = frozenset(
    """
    DISPLAY WAYLAND_DISPLAY XAUTHORITY ICEAUTHORITY SESSION_MANAGER DBUS_SESSION_BUS_ADDRESS WINDOWID STY TMUX TMUX_PANE
    XDG_RUNTIME_DIR XDG_SESSION_ID XDG_SESSION_TYPE XDG_SESSION_CLASS XDG_SESSION_PATH XDG_SESSION_DESKTOP XDG_SEAT
    XDG_SEAT_PATH XDG_VTNR TERM COLORTERM TERM_SESSION_ID GPG_AGENT_INFO GPG_TTY KRB5CCNAME INVOCATION_ID JOURNAL_STREAM
    HOSTNAME HOST HOSTTYPE USER LOGNAME MAIL PWD OLDPWD SHLVL _ PE_HOSTFILE
    WQ_JOB_ID WQ_JOB_NAME WQ_ATTEMPT WQ_SUBMIT_DIR WQ_NCORES WQ_NHOSTS WQ_HOSTS WQ_HOSTFILE WQ_USER WQ_ATT WQ_SPOOL
    WQ_TASK_ID WQ_LINE
    """.split()
)
# Where another batch system was in charge: its variables make mpirun look for it.
OTHER_SYSTEMS = ("SLURM_", "PBS_", "LSB_", "SGE_", "SSH_", "WQ_PARAM_")
# Of an MPI rank from which `wq sub` was called; a user's own OMPI_MCA_* are kept elsewhere.
RANK_MARKS = ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK")
RANK_VARIABLES = ("OMPI_", "PMIX_", "PRTE_", "OPAL_", "ORTE_", "PMI_", "HYDI_", "MPI_LOCAL")
# Open MPI 4, Open MPI 5 (PRRTE), MPICH (Hydra): one rank a line of the hostfile, bound to nothing but the cores that
# their daemons are bound to, and daemons started by our agent alone. docs/decisions/0004-mpi.md says why each is there.
MPI_HOSTFILE = ("OMPI_MCA_orte_default_hostfile", "PRTE_MCA_prte_default_hostfile", "HYDRA_HOST_FILE")
MPI_AGENT = {
    # A list of which the first that exists is taken; orted looks for it on every node, and dies if there is none.
    "OMPI_MCA_plm_rsh_agent": "{agent}:/bin/false",
    "PRTE_MCA_plm_ssh_agent": "{agent}:/bin/false",
    "HYDRA_LAUNCHER_EXEC": "{agent}",
}
MPI_SETTINGS = {
    "OMPI_MCA_plm": "rsh",
    "OMPI_MCA_ras": "^slurm,tm,lsf,gridengine,alps,loadleveler",
    "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
    "OMPI_MCA_orte_set_default_slots": "1",
    "OMPI_MCA_orte_leave_session_attached": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_plm": "ssh",
    "PRTE_MCA_ras": "^slurm,pbs,lsf,gridengine,flux",
    "PRTE_MCA_plm_ssh_no_tree_spawn": "1",
    "PRTE_MCA_prte_set_default_slots": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "HYDRA_LAUNCHER": "ssh",
    "HYDRA_RMK": "user",
}


ERRORS_APART = "errors"  # the feature of a shepherd that can write errors to a file of their own


class OutputTrouble(Exception):
    """The output file cannot be made; its text is the sentence. no_room: it could be, if there were room."""

    def __init__(self, sentence: str, *, no_room: bool = False) -> None:
        super().__init__(sentence)
        self.no_room = no_room


def start_spec(entry: Entry, setting: Setting, *, user: str, queue_env: dict[str, str], probe: str) -> dict[str, Any]:
    """The spec of the main process of an attempt."""
    task = entry.task
    spec = common_spec(entry, setting, user=user, queue_env=queue_env, place=0)
    spec["set"].update(own_variables(entry))
    spec.update(command_of(entry))
    spec["io"] = "tty" if task.tty else "stream" if task.foreground else "file"
    spec["x"] = task.x
    if spec["io"] == "file":
        spec.update(out=entry.output, probe=probe)
        if entry.task.error is not None:
            spec["err"] = entry.error
    spec.update(limit_words(entry))
    return spec


def limit_words(entry: Entry) -> dict[str, Any]:
    """The time limit of an attempt, if it has one, and the signal before it: (number, seconds before)."""
    task = entry.task
    if entry.limit_s is None:
        return {}
    return {"time_s": entry.limit_s, "warn": None if task.signal is None else [task.signal, task.signal_s]}


def template_spec(entry: Entry, setting: Setting, *, user: str, queue_env: dict[str, str]) -> dict[str, Any]:
    """What the batch attempts of one template have in common: see template_key."""
    spec = common_spec(entry, setting, user=user, queue_env=queue_env, place=0)
    if entry.number is not None and not fills_in(entry.task):
        spec.update(command_of(entry))
    spec["io"] = "file"
    spec["x"] = False
    del spec["cores"], spec["declared"]
    return spec


def template_key(entry: Entry, setting_name: str) -> tuple[object, ...]:
    """Attempts with the same key have the same template."""
    task, allocation = entry.task, entry.allocation
    assert allocation is not None
    shape = tuple((part.host, len(part.cores)) for part in allocation.slices)
    array = entry.id if entry.number is not None else None
    return (setting_name, *in_common(task), shape, array)


def in_common(task: Task) -> tuple[object, ...]:
    """What of a job is in its template, besides where it was submitted and where it runs."""
    return (task.env_mode, task.requirement.threads, task.hostfile)


def batch_task(entry: Entry) -> dict[str, Any]:
    """What one attempt of a batch has for itself."""
    task = {"att": entry.att, "out": entry.output, "set": own_variables(entry), **limit_words(entry)}
    if entry.task.error is not None:
        task["err"] = entry.error
    if entry.number is None or fills_in(entry.task):
        task.update(command_of(entry))
    return task


def own_variables(entry: Entry) -> dict[str, str]:
    """The variables that differ from one attempt to the other."""
    own = {"WQ_JOB_ID": str(entry.id), "WQ_JOB_NAME": entry.task.name, "WQ_ATTEMPT": str(entry.attempt)}
    array_tasks = entry.task.array
    if entry.number is not None and array_tasks is not None:
        if not array_tasks.columns:
            own["WQ_TASK_ID"] = str(entry.number)
            return own
        array = as_written(array_tasks)
        own.update(environment_of(array, index_of(array, entry.number)))
    return own


def fills_in(task: Task) -> bool:
    """Whether the command of an array may be another one for each of its tasks."""
    texts = task.argv if task.argv is not None else (task.command or "",)
    return any("%" in text for text in texts)


def command_of(entry: Entry) -> dict[str, Any]:
    """The command, as a program word by word or as text for a shell."""
    task = entry.task
    values = {"threads": str(task.requirement.threads or 1)}
    if entry.number is not None and fills_in(task):
        assert task.array is not None
        array = as_written(task.array)
        values.update(row_of(array, index_of(array, entry.number)))
    if task.argv is not None:
        return {"argv": [filled(word, values, quote=False) for word in task.argv]}
    return {"script": filled(task.command or "", values, quote=True)}


def as_written(array: ArrayTasks) -> dict[str, Any]:
    """An array as formats/array.py takes it."""
    return {name: getattr(array, name) for name in ("tasks", "at_most", "columns", "rows", "product")}


def rank_spec(
    entry: Entry, setting: Setting, *, user: str, queue_env: dict[str, str], place: int, command: str
) -> dict[str, Any]:
    """The spec of a process that the remote-shell agent asks for on a node of the attempt: as sshd would run it,
    by the login shell in the home directory."""
    spec = common_spec(entry, setting, user=user, queue_env=queue_env, place=place)
    spec["set"].update(own_variables(entry))
    spec.update(script=command, shell="login", cwd=None, io="stream", rank=True, x=False)
    spec.update(limit_words(entry))  # should nobody be there to end it with the main process
    return spec


def common_spec(entry: Entry, setting: Setting, *, user: str, queue_env: dict[str, str], place: int) -> dict[str, Any]:
    task, allocation = entry.task, entry.allocation
    assert allocation is not None
    part = allocation.slices[place]
    env = taken_along(setting.env)
    ours = {
        "WQ_USER": user,
        "WQ_SUBMIT_DIR": setting.cwd,
        "WQ_NCORES": str(allocation.ncores),
        "WQ_NHOSTS": str(allocation.nhosts),
        "WQ_HOSTS": " ".join(allocation.hosts),
        **queue_env,
        **MPI_SETTINGS,
    }
    threads = task.requirement.threads
    if "OMP_NUM_THREADS" not in env or task.env_mode != "submit":
        ours["OMP_NUM_THREADS"] = str(threads or len(part.cores))
    return {
        "env": env,
        "env_mode": task.env_mode,
        "set": ours,
        "shell": setting.env.get("SHELL"),
        "cwd": setting.cwd,
        "umask": setting.umask,
        "limits": setting.limits,
        "cores": list(part.cores),
        "declared": entry.declared[place] if place < len(entry.declared) else 0,
        "hostfile": {
            "text": hostfile(allocation, threads),
            "path": task.hostfile,
            "mpi_hostfile": MPI_HOSTFILE,
            "mpi_agent": MPI_AGENT,
        },
    }


def taken_along(env: dict[str, str]) -> dict[str, str]:
    """The environment of submission, less what belongs to that host, session, batch system or MPI rank."""
    left_out: tuple[str, ...] = OTHER_SYSTEMS
    if any(mark in env for mark in RANK_MARKS):
        left_out += RANK_VARIABLES
    return {k: v for k, v in env.items() if k not in NOT_TAKEN_ALONG and not k.startswith(left_out)}


def own_session(env: dict[str, str]) -> dict[str, str]:
    """Of the launcher's environment, what a login on this machine would have too: for the shepherd of `localhost`.

    The launcher has that of the client that started it, and the newest credentials, for its connections alone.
    """
    stays = {"USER", "LOGNAME", "MAIL", "HOSTNAME", "HOST", "HOSTTYPE"}
    left_out = NOT_TAKEN_ALONG - stays
    return {k: v for k, v in env.items() if k not in left_out and not k.startswith(OTHER_SYSTEMS)}


def hostfile(allocation: Allocation, threads: int | None) -> str:
    """The nodes of an allocation, a line for each MPI rank: for each core, or for each `threads` cores."""
    names = (outward_name(part.host, allocation) for part in allocation.slices)
    parts = zip(names, allocation.slices, strict=True)
    return "".join(f"{name}\n" * (len(part.cores) // (threads or 1)) for name, part in parts)


def outward_name(host: str, allocation: Allocation) -> str:
    """The name by which the other nodes of the job can reach a node: `localhost` is this machine's own name there."""
    return socket.gethostname() if host == LOCALHOST and allocation.nhosts > 1 else host


def files_of(entry: Entry) -> list[str]:
    """The files that a batch attempt writes to: its output, and its errors where these are apart."""
    return [path for path in (entry.output, entry.error) if path not in (None, NOWHERE)]


def make_outputs(entry: Entry, token: str, umask: int, features: frozenset[str]) -> None:
    """Make or empty the files of an attempt. features: of the shepherd that will start it. Raises OutputTrouble."""
    for path in files_of(entry):
        make_output(path, token, umask)
    error = entry.error
    if error not in (None, NOWHERE) and ERRORS_APART not in features:
        host = entry.main_host
        make_output(error, f"wq: on {host} runs what an older wq began there: errors are in the output\n", umask)


def make_output(path: str, token: str, umask: int) -> None:
    """Make or empty the output file, with a token in it by which a node can tell that it sees the same file.

    Raises OutputTrouble. A link, or a file of somebody else, is never written to.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    ours = os.umask(umask)
    try:
        fd = os.open(path, flags, 0o666)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
                raise OutputTrouble(f"the output file {path} is not a regular file of yours")
            os.ftruncate(fd, 0)
            if os.write(fd, token.encode()) < len(token):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(fd)
    except OSError as error:
        sentence = f"cannot write the output file {path}: {error.strerror}"
        raise OutputTrouble(sentence, no_room=error.errno in NO_ROOM) from None
    finally:
        os.umask(ours)
