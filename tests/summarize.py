"""Adds up JUnit reports and prints the one line that ends a test run.

    summarize.py FOLDER [SUITE_THAT_EXITED_WITH_AN_ERROR...]
"""

import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def counts(report):
    """(passed, failed, skipped) of one JUnit file, and the failed names."""
    passed, skipped, failures = 0, 0, []
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            failures.append(name)
        elif case.find("skipped") is not None or case.get("status") == "notrun":
            skipped += 1
        else:
            passed += 1
    return passed, failures, skipped


def main(folder, broken_suites):
    passed = skipped = 0
    failures = []
    for report in sorted(pathlib.Path(folder).glob("*.xml")):
        p, f, s = counts(report)
        passed, skipped = passed + p, skipped + s
        failures += [f"{report.stem}: {name}" for name in f]
        if p + len(f) == 0:
            failures.append(f"{report.stem}: no test ran")
    for line in failures:
        print(f"FAILED {line}")
    for suite in broken_suites:
        print(f"FAILED SUITE {suite}")
    # A suite that died before it could report counts as one failure.
    failed = max(len(failures), len(broken_suites))
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
