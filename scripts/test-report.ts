/** What came of a run of vitest, out of its JSON report. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

/** A test, or what stands for a file or a run that failed without one. */
export interface TestResult {
  /** Relative to the project; empty for what is of no file. */
  file: string;
  name: string;
  hasPassed: boolean;
  /** The first line of why it has not. */
  why?: string;
  /** It failed, and passed when its file was run again. */
  isUnsteady?: boolean;
}

interface TestFile {
  name: string;
  status: string;
  message: string;
  assertionResults: { fullName: string; status: string; failureMessages: string[] | null }[];
}

/** Gives the path of a report that is to be written, for as long as `work` takes. */
export function withReport<R>(work: (path: string) => R): R {
  const directory = mkdtempSync(join(tmpdir(), "vmmessage-test-"));
  try {
    return work(join(directory, "report.json"));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** A test that did not run did not pass; and a run that failed with no test to blame has a failure of its own. */
export function resultsOf(report: string, { status, root }: { status: number; root: string }): TestResult[] {
  const results = readReport(report).flatMap((file) => resultsOfFile(file, relative(root, file.name)));
  const isBlamed = status === 0 || results.some(({ hasPassed }) => !hasPassed);
  return isBlamed ? results : [...results, { file: "", name: "vitest", hasPassed: false, why: `exit code ${status}` }];
}

function resultsOfFile({ status, message, assertionResults }: TestFile, file: string): TestResult[] {
  const results = assertionResults.map((test): TestResult => {
    if (test.status === "passed") return { file, name: test.fullName, hasPassed: true };
    return { file, name: test.fullName, hasPassed: false, why: firstLine(test.failureMessages?.[0] ?? "did not run") };
  });
  // Its hooks failed, or it could not be loaded.
  const isBlamed = status !== "failed" || results.some(({ hasPassed }) => !hasPassed);
  return isBlamed ? results : [...results, { file, name: "(the file)", hasPassed: false, why: firstLine(message) }];
}

export function filesThatFailed(results: readonly TestResult[]): string[] {
  return [...new Set(results.filter(({ hasPassed }) => !hasPassed).map(({ file }) => file))].filter(Boolean);
}

/** The first run, its files that were run again as they were then. A file of which the second run says nothing counts as it was. */
export function secondThoughts(first: readonly TestResult[], second: readonly TestResult[]): TestResult[] {
  const again = new Set(second.map(({ file }) => file).filter(Boolean));
  const failed = new Set(first.filter(({ hasPassed }) => !hasPassed).map(idOf));
  const kept = first.filter(({ file }) => !again.has(file));
  const replaced = second.map((result) => ({ ...result, isUnsteady: result.hasPassed && failed.has(idOf(result)) }));
  return [...kept, ...replaced];
}

/** `file > test: why` */
export function lineOf({ file, name, why }: TestResult): string {
  return [[file, name].filter(Boolean).join(" > "), ...(why === undefined ? [] : [why])].join(": ");
}

function idOf({ file, name }: TestResult): string {
  return `${file} > ${name}`;
}

function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0] ?? "";
}

function readReport(path: string): TestFile[] {
  try {
    return (JSON.parse(readFileSync(path, "utf8")) as { testResults: TestFile[] }).testResults;
  } catch {
    return [];
  }
}
