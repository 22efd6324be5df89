"""The same as Health, in Python written for speed: `str.split`, lists that are there already, nothing checked."""

from __future__ import annotations

UP, DOWN, MAINTENANCE = 1, 2, 3
_STATUS = {"UP": UP, "no": UP, "DO": DOWN, "NO": DOWN, "MA": MAINTENANCE, "DR": MAINTENANCE}

Totals = dict[tuple[str, str], list[int]]
"""(backend, server) -> verdict, then counters."""


class Split:
    """Verdicts and totals over the dumps of one look, by server."""

    def __init__(self) -> None:
        self.totals: Totals = {}
        self._verdicts: dict[tuple[str, str], int] = {}

    def look(self, dump: bytes) -> list[tuple[str, str, int, int]]:
        read = self._stat if dump.startswith(b"# ") else self._state
        for totals in self.totals.values():
            totals[:] = (0,) * 10
        read(dump.decode().split("\n"))
        now = {key: totals[0] for key, totals in self.totals.items()}
        before, self._verdicts = self._verdicts, now
        if now == before:
            return []
        return sorted(
            (*key, before.get(key, 0), verdict) for key, verdict in now.items() if before.get(key) != verdict
        )

    def _state(self, lines: list[str]) -> None:
        names = lines[1][2:].split(" ")
        be, srv, op, admin = map(names.index, ("be_name", "srv_name", "srv_op_state", "srv_admin_state"))
        known = self.totals
        for line in lines[2:]:
            if line:
                row = line.split(" ")
                totals = known.get((row[be], row[srv]))
                if totals is None:
                    totals = known[row[be], row[srv]] = [0] * 10
                totals[0] = MAINTENANCE if int(row[admin]) & 0x3B else UP if row[op] in "12" else DOWN

    def _stat(self, lines: list[str]) -> None:
        names = lines[0][2:].split(",")
        px, sv, kind, status = map(names.index, ("pxname", "svname", "type", "status"))
        wanted = ("scur", "qcur", "stot", "bin", "bout", "econ", "eresp", "wretr", "wredis")
        scur, qcur, stot, bin, bout, econ, eresp, wretr, wredis = map(names.index, wanted)
        known = self.totals
        for line in lines[1:]:
            if line:
                row = line.split(",")
                if row[kind] != "2":
                    continue
                totals = known.get((row[px], row[sv]))
                if totals is None:
                    totals = known[row[px], row[sv]] = [0] * 10
                totals[0] = _STATUS[row[status][:2]]
                totals[1] += int(row[scur] or 0)
                totals[2] += int(row[qcur] or 0)
                totals[3] += int(row[stot] or 0)
                totals[4] += int(row[bin] or 0)
                totals[5] += int(row[bout] or 0)
                totals[6] += int(row[econ] or 0) + int(row[eresp] or 0)
                totals[7] += int(row[wretr] or 0)
                totals[8] += int(row[wredis] or 0)
