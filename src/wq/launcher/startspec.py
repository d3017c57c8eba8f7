"""What a shepherd is told to start: the user's own task, placed on the granted cores."""

from __future__ import annotations

import os
import stat
from typing import Any

from wq.core.job import Allocation
from wq.launcher.ledger import Entry
from wq.launcher.task import Setting

# What belongs to one host or session, and does not go along with a job.
NOT_TAKEN_ALONG = frozenset(
    """DISPLAY WAYLAND_DISPLAY XAUTHORITY XDG_RUNTIME_DIR XDG_SESSION_ID XDG_SESSION_TYPE XDG_SESSION_CLASS
    XDG_SESSION_PATH XDG_SEAT XDG_SEAT_PATH XDG_VTNR XDG_SESSION_DESKTOP DBUS_SESSION_BUS_ADDRESS HOSTNAME HOST
    HOSTTYPE WINDOWID STY TMUX TMUX_PANE TERM_SESSION_ID PWD OLDPWD SHLVL _ GPG_AGENT_INFO GPG_TTY
    INVOCATION_ID JOURNAL_STREAM SESSION_MANAGER ICEAUTHORITY KRB5CCNAME MAIL USER LOGNAME
    WQ_JOB_ID WQ_JOB_NAME WQ_ATTEMPT WQ_SUBMIT_DIR WQ_NCORES WQ_NHOSTS WQ_HOSTS WQ_HOSTFILE WQ_ATT WQ_SPOOL WQ_USER
    TERM COLORTERM""".split()
)
MPI_HOSTFILE = ("OMPI_MCA_orte_default_hostfile", "PRTE_MCA_prte_default_hostfile", "HYDRA_HOST_FILE")
MPI_AGENT = ("OMPI_MCA_plm_rsh_agent", "PRTE_MCA_plm_ssh_agent", "HYDRA_LAUNCHER_EXEC")
MPI_SETTINGS = {
    "OMPI_MCA_plm": "rsh",
    "OMPI_MCA_plm_rsh_no_tree_spawn": "1",
    "OMPI_MCA_orte_set_default_slots": "1",
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_plm_ssh_no_tree_spawn": "1",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "HYDRA_LAUNCHER": "ssh",
}


class OutputTrouble(Exception):
    """The output file cannot be made; its text is the sentence."""


def start_spec(entry: Entry, setting: Setting, *, user: str, queue_env: dict[str, str], probe: str) -> dict[str, Any]:
    """The spec of the main process of an attempt."""
    task, allocation = entry.task, entry.allocation
    assert allocation is not None
    spec = common_spec(entry, setting, user=user, queue_env=queue_env, place=0)
    if task.argv is not None:
        spec["argv"] = [filled(word, task.requirement.threads) for word in task.argv]
    else:
        spec["script"] = filled(task.command or "", task.requirement.threads)
    spec["io"] = "tty" if task.tty else "stream" if task.foreground else "file"
    spec["x"] = task.x
    if spec["io"] == "file":
        spec.update(out=task.output, probe=probe)
    return spec


def rank_spec(entry: Entry, setting: Setting, *, user: str, queue_env: dict[str, str], place: int, command: str) -> dict[str, Any]:
    """The spec of a process that the remote-shell agent asks for on another node of the attempt."""
    spec = common_spec(entry, setting, user=user, queue_env=queue_env, place=place)
    spec.update(script=command, shell="/bin/sh", io="stream", rank=True, x=False)
    return spec


def common_spec(entry: Entry, setting: Setting, *, user: str, queue_env: dict[str, str], place: int) -> dict[str, Any]:
    task, allocation = entry.task, entry.allocation
    assert allocation is not None
    part = allocation.slices[place]
    env = {k: v for k, v in setting.env.items() if k not in NOT_TAKEN_ALONG and not k.startswith("SSH_")}
    ours = {
        "WQ_JOB_ID": str(entry.id),
        "WQ_JOB_NAME": task.name,
        "WQ_USER": user,
        "WQ_ATTEMPT": str(entry.attempt),
        "WQ_SUBMIT_DIR": setting.cwd,
        "WQ_NCORES": str(allocation.ncores),
        "WQ_NHOSTS": str(allocation.nhosts),
        "WQ_HOSTS": " ".join(allocation.hosts),
        **queue_env,
    }
    threads = task.requirement.threads
    if "OMP_NUM_THREADS" not in env or task.env_mode != "submit":
        ours["OMP_NUM_THREADS"] = str(threads or len(part.cores))
    for name, value in MPI_SETTINGS.items():
        if name not in env or task.env_mode != "submit":
            ours[name] = value
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


def hostfile(allocation: Allocation, threads: int | None) -> str:
    """The nodes of an allocation, a line for each MPI rank: for each core, or for each `threads` cores."""
    return "".join(f"{part.host}\n" * (len(part.cores) // (threads or 1)) for part in allocation.slices)


def filled(text: str, threads: int | None) -> str:
    return text.replace("%threads%", str(threads or 1))


def make_output(path: str, token: str, umask: int) -> None:
    """Make or empty the output file, with a token in it by which a node can tell that it sees the same file.

    Raises OutputTrouble. A link, or a file of somebody else, is never written to.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o666 & ~umask)
    except OSError as error:
        raise OutputTrouble(f"cannot write the output file {path}: {error.strerror}") from None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
            raise OutputTrouble(f"the output file {path} is not a regular file of yours")
        os.ftruncate(fd, 0)
        os.write(fd, token.encode())
    finally:
        os.close(fd)
