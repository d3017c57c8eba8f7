"""HyperQueue under measurement, run by the Python of a virtual environment that has it: `hq.py DIRECTORY CORES`.

Server and worker are in this process. Each line on stdin is an order in JSON; a line on stdout answers it. The package
looks once a second whether a job is over; between the last two looks the end is interpolated.
"""

import importlib.metadata
import json
import os
import sys
import time

from hyperqueue import Job, LocalCluster
from hyperqueue.cluster import WorkerConfig


def end_of(seen, total):
    """When the last task ended, from what was seen: (time, tasks finished)."""
    before = [(at, done) for at, done in seen if done < total]
    last_s = seen[-1][0]
    if len(before) < 2 or before[-1][1] == before[0][1]:
        return last_s
    (first_s, first), (at_s, done) = before[0], before[-1]
    return min(last_s, at_s + (total - done) * (at_s - first_s) / (done - first))


def main():
    directory, cores = sys.argv[1], int(sys.argv[2])
    server = os.path.join(directory, "server")
    with LocalCluster(server, WorkerConfig(cores=cores)) as cluster:
        client = cluster.client()
        print(json.dumps({"version": importlib.metadata.version("hyperqueue")}), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            job = Job(default_workdir=order["cwd"])
            how = {} if order["files"] else {"stdout": None, "stderr": None}
            for _ in range(order["count"]):
                job.program(order["argv"], **how)
            seen = []

            def note(jobs, seen=seen):
                seen.append((time.perf_counter(), sum(each["finished"] for each in jobs.values())))

            began = time.perf_counter()
            submitted = client.submit(job)
            acknowledged = time.perf_counter()
            failed = client.connection.wait_for_jobs((submitted.id,), note)
            assert not failed, failed
            client.forget(submitted)
            ended = end_of(seen, order["count"])
            print(json.dumps({"seconds": ended - began, "submit": acknowledged - began}), flush=True)


if __name__ == "__main__":
    main()
