"""
The figures of one or several runs of the suite as a report: C{python -m bench.report FILE... --output RESULTS.md}.

What C{python -m bench --json} wrote goes in. Runs of different rows make one report; rounds of the same row are added
to each other. A cell is the median of the rounds, with the least and the most of them; a ratio is the median of the
ratios of each round, for only what ran side by side can be compared.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from tests.arguments import existing_file, make_parser, new_file

Row = Mapping[str, Any]

OURS = "lmrelay"


@frozen
class Measure:
    """
    A column. C{better}: 1 where more is better, -1 where less is, 0 where neither.
    """

    key: str
    title: str
    digits: int
    better: int


RATES = (
    Measure("accept_rate", "accepted/s", 0, 1),
    Measure("end_to_end_rate", "end to end/s", 0, 1),
    Measure("cpu_ms", "CPU ms/message", 2, -1),
    Measure("syncs", "syncs/message", 2, 0),
    Measure("final_p50_ms", "250 p50, ms", 1, -1),
    Measure("final_p99_ms", "250 p99, ms", 1, -1),
    Measure("memory_mib", "memory after, MiB", 0, -1),
)

IDLE = (
    Measure("none_mib", "no session, MiB", 0, -1),
    Measure("plain_mib", "idle, no TLS, MiB", 0, -1),
    Measure("plain_each_kib", "each, KiB", 1, -1),
    Measure("starttls_mib", "idle, STARTTLS and AUTH, MiB", 0, -1),
    Measure("starttls_each_kib", "each with TLS, KiB", 1, -1),
)

BACKLOG = (
    Measure("accept_rate", "accepted/s", 0, 1),
    Measure("accept_cpu_ms", "CPU ms/message accepted", 2, -1),
    Measure("flushes", "flushes", 0, 0),
    Measure("drain_s", "drained in s", 1, 0),
    Measure("drain_rate", "drained/s", 0, 1),
    Measure("drain_cpu_ms", "CPU ms/message drained", 2, -1),
    Measure("drain_syncs", "syncs/message drained", 2, 0),
    Measure("height_mib", "memory at most, MiB", 0, -1),
)


def measures_of(load: str) -> Sequence[Measure]:
    """
    The columns of a row of the suite.
    """
    return {"idle": IDLE, "backlog": BACKLOG}.get(load, RATES)


@frozen
class Spread:
    """
    What the rounds made of a figure.
    """

    median: float
    least: float
    most: float

    def show(self, digits: int) -> str:
        """
        As a cell of a table.
        """
        if self.least == self.most:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f}-{self.most:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread | None:
    """
    Nothing where there are none.
    """
    return Spread(statistics.median(values), min(values), max(values)) if values else None


def figures(rows: Sequence[Row], load: str, server: str, key: str) -> dict[object, float]:
    """
    A server's figure in each round that has it.
    """
    found = (row for row in rows if row["load"] == load and row["server"] == server)
    return {row["round"]: float(row[key]) for row in found if row.get(key) is not None}


def ratio(rows: Sequence[Row], load: str, peer: str, key: str) -> Spread | None:
    """
    Ours to the peer's, round by round; one in which either has none, or the peer's is not over 0, does not count.
    """
    ours, theirs = figures(rows, load, OURS, key), figures(rows, load, peer, key)
    return spread([ours[number] / theirs[number] for number in ours if theirs.get(number, 0.0) > 0])


def in_order(names: Sequence[str]) -> list[str]:
    """
    Each name once, ours first, the others as they came.
    """
    return sorted(dict.fromkeys(names), key=lambda name: name != OURS)


def servers_of(rows: Sequence[Row], load: str) -> list[str]:
    """
    Those with a figure in it.
    """
    return in_order([row["server"] for row in rows if row["load"] == load])


def merge(files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """
    Several runs as one: the first says what the machine is, rounds of different runs stay apart.
    """
    merged: dict[str, Any] = {**files[0], "runs": [], "left_out": [], "versions": {}, "loads": {}, "easier": {}}
    for number, one in enumerate(files):
        merged["runs"] += [{**row, "round": (number, row["round"])} for row in one["runs"]]
        merged["left_out"] += [each for each in one["left_out"] if each not in merged["left_out"]]
        for name in ("versions", "loads"):
            merged[name] |= one[name]
        for load, each in one["easier"].items():
            merged["easier"].setdefault(load, {}).update(each)
    merged["commands"] = [command for one in files for command in one["commands"]]
    merged["seconds"] = sum(one["seconds"] for one in files)
    return merged


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """
    A table in Markdown.
    """
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for line in lines:
        yield f"| {' | '.join(line)} |"
    yield ""


def load_section(
    rows: Sequence[Row], load: str, words: str, easier: Mapping[str, Sequence[str]] | None = None
) -> Iterator[str]:
    """
    A row of the suite: each server's figures, the ratios of ours to theirs, and for whom what is easier in it.
    """
    measures = [one for one in measures_of(load) if any(one.key in row for row in rows if row["load"] == load)]
    servers = servers_of(rows, load)
    yield f"## `{load}`: {words}\n"
    head = ["server", *(one.title for one in measures), *counts_head(load), "rounds"]
    lines = []
    for server in servers:
        found = [spread([*figures(rows, load, server, one.key).values()]) for one in measures]
        rounds = str(len(of(rows, load, server)))
        lines.append([server, *map(show, found, measures), *counts(rows, load, server), rounds])
    yield from table(head, lines)
    compared = [one for one in measures if one.better]
    if OURS in servers and len(servers) > 1:
        yield from table(
            [f"{OURS} to", *(one.title for one in compared)],
            [
                [peer, *(show_ratio(ratio(rows, load, peer, one.key)) for one in compared)]
                for peer in servers
                if peer != OURS
            ],
        )
    told = [f"{server}: {', '.join(what)}" for server, what in (easier or {}).items() if what and server in servers]
    if told:
        yield f"Easier than for {OURS}: {'; '.join(told)}.\n"


def of(rows: Sequence[Row], load: str, server: str) -> list[Row]:
    """
    A server's rounds of a load.
    """
    return [row for row in rows if row["load"] == load and row["server"] == server]


def show(value: Spread | None, measure: Measure) -> str:
    """
    As a cell; empty where there is no figure.
    """
    return value.show(measure.digits) if value else ""


def show_ratio(value: Spread | None) -> str:
    """
    As a cell.
    """
    return f"{value.show(2)}x" if value else ""


def counts_head(load: str) -> list[str]:
    """
    The columns that tell how much was sent and what became of it.
    """
    return ["sessions open"] if load == "idle" else ["messages", "missing", "twice"]


def counts(rows: Sequence[Row], load: str, server: str) -> list[str]:
    """
    See L{counts_head}.
    """
    found = of(rows, load, server)
    if load == "idle":
        kinds = [name for name in ("plain_up", "starttls_up") if any(name in row for row in found)]
        return [" and ".join(str(min(row[name] for row in found if name in row)) for name in kinds)]
    accepted = [row["accepted"] for row in found]
    sent = f"{min(accepted):,}" if min(accepted) == max(accepted) else f"{min(accepted):,}-{max(accepted):,}"
    return [sent, str(sum(row["missing"] for row in found)), str(sum(row["duplicates"] for row in found))]


def ahead(rows: Sequence[Row], loads: Mapping[str, str]) -> list[str]:
    """
    Where a peer's figure is better than ours, by the median of the ratios.
    """
    found = []
    for load in loads:
        for peer in servers_of(rows, load):
            for one in measures_of(load) if peer != OURS else ():
                value = ratio(rows, load, peer, one.key)
                if value and (value.median - 1) * one.better < 0:
                    found.append(f"`{load}`, {one.title}: {peer} ({OURS} has {show_ratio(value)} of it)")
    return found


AIMS = (
    ("4k", "end_to_end_rate", 3.0, "end to end at 4 KiB, at least 3 times Postfix"),
    ("4k", "cpu_ms", 1 / 3, "CPU a message at 4 KiB, at most a third of Postfix"),
    ("connect", "end_to_end_rate", 2.0, "a connection with STARTTLS and AUTH each, at least twice Postfix"),
    ("100k", "end_to_end_rate", 2.0, "end to end at 100 KiB, at least twice Postfix"),
)


def aims(rows: Sequence[Row]) -> Iterator[list[str]]:
    """
    Each aim that was measured, the ratio, and whether it was reached.
    """
    for load, key, aim, words in AIMS:
        better = next(one.better for one in measures_of(load) if one.key == key)
        if (value := ratio(rows, load, "postfix", key)) is not None:
            yield [words, show_ratio(value), "yes" if (value.median - aim) * better >= 0 else "no"]


def render(result: Mapping[str, Any], notes: str = "") -> str:
    """
    The whole report.
    """
    rows, loads = result["runs"], result["loads"]
    lines = ["# Results", "", "Made by the suite; see [README.md](README.md) for what is measured and how.", ""]
    lines += [f"* **{name}**: {words}" for name, words in result["machine"].items()]
    lines += [f"* **date**: {result['date']}, {result['seconds'] / 60:.0f} minutes"]
    lines += [f"* **versions**: {'; '.join(result['versions'].values())}"]
    lines += ["* **commands**: " + "; ".join(f"`{command}`" for command in result["commands"]), ""]
    lines += ["A cell is the median of the rounds (least-most). A ratio is the median of the ratios of each round.", ""]
    if reached := list(aims(rows)):
        lines += ["## Aims", "", *table(["aim", "ratio", "reached"], reached)]
    for load, words in loads.items():
        if servers_of(rows, load):
            lines += load_section(rows, load, words, result["easier"].get(load))
    lines += ["## Where a peer is ahead", "", *(f"* {one}" for one in ahead(rows, loads) or ["nowhere"]), ""]
    if result["left_out"]:
        lines += ["## Left out", ""]
        lines += [f"* {one['server']}, {one['load']}: {one['reason']}" for one in result["left_out"]]
    return "\n".join(lines).rstrip() + f"\n{f'{chr(10)}{notes.strip()}{chr(10)}' if notes.strip() else ''}"


def read(path: Path) -> dict[str, Any]:
    """
    What C{--json} wrote.

    @raise ValueError: it is no such file
    """
    try:
        said = json.loads(path.read_text())
    except ValueError:
        said = None
    if not isinstance(said, dict) or "runs" not in said:
        raise ValueError(f"{path} is not what python -m bench --json writes")
    return said


def main() -> None:
    """
    Read the figures, write the report.
    """
    parser = make_parser("python -m bench.report", __doc__)
    parser.add_argument("files", type=existing_file, nargs="+", metavar="FILE", help="what --json wrote")
    parser.add_argument("--output", type=new_file, metavar="FILE", help="the report; else it is printed")
    parser.add_argument(
        "--notes", type=existing_file, metavar="FILE", help="Markdown to put at its end: reasons where a peer is ahead"
    )
    chosen = parser.parse_args()
    try:
        runs = [read(each) for each in chosen.files]
    except ValueError as error:
        parser.error(str(error))
    report = render(merge(runs), chosen.notes.read_text() if chosen.notes else "")
    if chosen.output:
        chosen.output.write_text(report)
    else:
        print(report, end="")


if __name__ == "__main__":
    main()
