// Counts what test runners report. A runner that broke counts as a failure, whatever it reported before.

export type Tally = { readonly passed: number; readonly failed: number; readonly skipped: number };

/** How a runner ended: its exit code (null: killed), and its JUnit report, if it wrote one. */
export type Ending = { readonly exitCode: number | null; readonly junit: string | undefined };

export const nothing: Tally = { passed: 0, failed: 0, skipped: 0 };

export function tallyRunner({ exitCode, junit }: Ending): Tally {
  const { passed, failed, skipped } = junit === undefined ? nothing : tallyJunit(junit);
  const isBroken = exitCode !== 0 && failed === 0;
  const isEmpty = passed + failed === 0;
  return { passed, failed: isBroken || isEmpty ? failed + 1 : failed, skipped };
}

/** Each `<testcase>` is one: failed with `<failure>` or `<error>` in it, skipped with `<skipped>`, passed otherwise. */
function tallyJunit(xml: string): Tally {
  const cases = xml.match(/<testcase\b(?:[^>]*\/>|[\s\S]*?<\/testcase>)/g) ?? [];
  const failed = cases.filter((text) => /<(?:failure|error)\b/.test(text)).length;
  const skipped = cases.filter((text) => /<skipped\b/.test(text)).length;
  return { passed: cases.length - failed - skipped, failed, skipped };
}

export function sum(tallies: readonly Tally[]): Tally {
  return tallies.reduce(
    (total, tally) => ({
      passed: total.passed + tally.passed,
      failed: total.failed + tally.failed,
      skipped: total.skipped + tally.skipped,
    }),
    nothing,
  );
}

/** `12 passed, 0 failed`; skipped tests are told only where there are any. */
export function describeTally({ passed, failed, skipped }: Tally): string {
  return `${passed} passed, ${failed} failed${skipped === 0 ? '' : `, ${skipped} skipped`}`;
}
