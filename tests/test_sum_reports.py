"""The last line of `make test` and `make test-all`."""

from tests.sum_reports import sum_of


def test_groups_are_added_up_and_errors_are_failures(tmp_path):
    for name, counts in {
        "one": 'tests="10" failures="1" errors="2" skipped="3"',
        "other": 'tests="5" failures="0" errors="0" skipped="0"',
    }.items():
        (tmp_path / f"{name}.xml").write_text(f'<testsuites><testsuite name="pytest" {counts}/></testsuites>')
    assert sum_of(tmp_path) == "9 passed, 3 failed, 3 skipped"
