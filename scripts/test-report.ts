/** What came of a run of vitest, out of its JSON report. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

export interface Outcome {
  passed: number;
  /** A line each: which test, and the first line of why. */
  failures: string[];
  /** Tests that failed, and passed when their file was run again, as in `failures`. */
  unsteady: string[];
  /** Files with a failure, relative to the project. */
  failedFiles: string[];
}

interface TestFile {
  name: string;
  status: string;
  message: string;
  assertionResults: { fullName: string; status: string; failureMessages: string[] | null }[];
}

/** Gives the path of a report that is to be written, for as long as `work` takes. */
export function withReport(work: (path: string) => Outcome): Outcome {
  const directory = mkdtempSync(join(tmpdir(), "vmmessage-test-"));
  try {
    return work(join(directory, "report.json"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** A test that did not run did not pass; and a run that failed with no test to blame has a failure of its own. */
export function outcomeOf(
  report: string,
  { status, root, tier }: { status: number; root: string; tier: string },
): Outcome {
  const files = readReport(report);
  const tests = files.flatMap(({ name, assertionResults }) => {
    return assertionResults.map((result) => ({ ...result, file: relative(root, name) }));
  });
  const failures = tests
    .filter((test) => test.status !== "passed")
    .map(({ file, fullName, failureMessages }) => failureLine(file, fullName, failureMessages?.[0] ?? "did not run"));
  for (const { name, status: fileStatus, message, assertionResults } of files) {
    // Its hooks failed, or it could not be loaded.
    const isBlamed = assertionResults.some((test) => test.status !== "passed");
    if (fileStatus === "failed" && !isBlamed) failures.push(failureLine(relative(root, name), "the file", message));
  }
  if (status !== 0 && failures.length === 0) failures.push(failureLine(tier, "vitest", `exit code ${status}`));
  return {
    passed: tests.filter((test) => test.status === "passed").length,
    failures,
    unsteady: [],
    failedFiles: files.filter((file) => file.status === "failed").map(({ name }) => relative(root, name)),
  };
}

/** The first run with what a second one of its failed files says: each failure that is not there again was unsteady. */
export function secondThoughts(first: Outcome, second: Outcome): Outcome {
  const again = new Set(second.failures.map(testOf));
  const unsteady = first.failures.filter((line) => !again.has(testOf(line)));
  const news = second.failures.filter((line) => !first.failures.some((earlier) => testOf(earlier) === testOf(line)));
  return {
    passed: first.passed + unsteady.length - news.length,
    failures: second.failures,
    unsteady,
    failedFiles: second.failedFiles,
  };
}

const SEPARATOR = ": ";

function failureLine(file: string, test: string, why: string): string {
  return `${file} > ${test.replaceAll(SEPARATOR, " - ")}${SEPARATOR}${why.trim().split("\n", 1)[0] ?? ""}`;
}

function testOf(line: string): string {
  return line.split(SEPARATOR, 1)[0] ?? line;
}

function readReport(path: string): TestFile[] {
  try {
    return (JSON.parse(readFileSync(path, "utf8")) as { testResults: TestFile[] }).testResults;
  } catch {
    return [];
  }
}
