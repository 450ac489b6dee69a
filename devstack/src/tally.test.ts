import { describe, expect, test } from 'bun:test';
import { describeTally, sum, tallyRunner } from './tally.ts';

const passing = '<testcase name="a &gt; b" classname="" time="0" />';
const failing = '<testcase name="c">\n  <failure message="x">at c.test.ts</failure>\n</testcase>';
const erring = '<testcase name="d"><error message="fixture"></error></testcase>';
const skipped = '<testcase name="e"><skipped message="TODO" /></testcase>';
const report = (...cases: string[]) =>
  `<testsuites><testsuite name="s" tests="9">${cases.join('\n')}</testsuite></testsuites>`;

describe('tallyRunner', () => {
  test('counts passed, failed and skipped cases', () => {
    const junit = report(passing, failing, passing, erring, skipped, passing);
    expect(tallyRunner({ exitCode: 1, junit })).toEqual({ passed: 3, failed: 2, skipped: 1 });
  });

  test('a report of passed tests with exit code 0 has no failure', () => {
    expect(tallyRunner({ exitCode: 0, junit: report(passing, passing) })).toEqual({
      passed: 2,
      failed: 0,
      skipped: 0,
    });
  });

  test('a runner that crashed without a report is a failure', () => {
    expect(tallyRunner({ exitCode: null, junit: undefined })).toEqual({ passed: 0, failed: 1, skipped: 0 });
    expect(tallyRunner({ exitCode: 139, junit: undefined })).toEqual({ passed: 0, failed: 1, skipped: 0 });
  });

  test('an error outside the tests is a failure beside the tests that passed', () => {
    expect(tallyRunner({ exitCode: 1, junit: report(passing) })).toEqual({
      passed: 1,
      failed: 1,
      skipped: 0,
    });
  });

  test('a runner that executed no test is a failure, also when it is content', () => {
    expect(tallyRunner({ exitCode: 0, junit: report() })).toEqual({ passed: 0, failed: 1, skipped: 0 });
    expect(tallyRunner({ exitCode: 0, junit: undefined })).toEqual({ passed: 0, failed: 1, skipped: 0 });
    expect(tallyRunner({ exitCode: 0, junit: report(skipped) })).toEqual({
      passed: 0,
      failed: 1,
      skipped: 1,
    });
  });

  test('a test that failed is not counted again for the exit code', () => {
    expect(tallyRunner({ exitCode: 1, junit: report(failing) })).toEqual({
      passed: 0,
      failed: 1,
      skipped: 0,
    });
  });
});

test('sum adds every part, and nothing adds up to nothing', () => {
  expect(sum([])).toEqual({ passed: 0, failed: 0, skipped: 0 });
  const part = { passed: 1, failed: 2, skipped: 3 };
  expect(sum([part, part])).toEqual({ passed: 2, failed: 4, skipped: 6 });
});

test('describeTally names skipped tests only when there are some', () => {
  expect(describeTally({ passed: 3, failed: 0, skipped: 0 })).toBe('3 passed, 0 failed');
  expect(describeTally({ passed: 3, failed: 1, skipped: 2 })).toBe('3 passed, 1 failed, 2 skipped');
});
