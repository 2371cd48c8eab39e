"""Trainings in processes of their own."""

import multiprocessing
import os
import time

from tests.trainer.tiny_training import train, write_examples

# A server that has imported TensorFlow forks a process for each attempt.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.trainer.tiny_training"])
# Some take 280 s at a load of 11 on two cores.
PATIENCE_S = 1200


class Attempts:
    """One training after another in one folder."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        write_examples(folder, tiny=7, small=5)
        self._seen = 0

    def run(self, *, send=None, after="", **arguments):
        """Starts an attempt, sends it a signal once the log says `after`; returns exit status and its log."""
        process = processes.Process(target=train, args=(self.folder,), kwargs=arguments)
        process.start()
        deadline = time.monotonic() + PATIENCE_S
        if send is not None:
            while after not in self._log():
                assert process.is_alive(), self._log()
                assert time.monotonic() < deadline, self._log()
                time.sleep(0.01)
            os.kill(process.pid, send)
        process.join(PATIENCE_S)
        status, log = process.exitcode, self._log()
        process.kill()
        self._seen += len(log)
        return status, log

    def _log(self):
        file = self.folder / "log"
        return file.read_text()[self._seen :] if file.exists() else ""

    def checkpoints(self):
        return sorted(file.name for file in self.folder.glob("checkpoints/*/*") if "step" in file.name)
