/**
 * Runs the checks and the tiers of tests: `scripts/test.ts [check|unit|integration|vm]...`, all of them without a word.
 * Prints the true counts last, alone on a line. A check counts as one test.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { buildBundles } from "./build.ts";
import { ensureGuestTools } from "./guest-tools.ts";
import { ensureTestServers } from "./test-servers.ts";

const root = join(import.meta.dirname, "..");
const binaries = join(root, "node_modules", ".bin");
const tiers = ["check", "unit", "integration", "vm"] as const;
type Tier = (typeof tiers)[number];

interface Counts {
  passed: number;
  failed: number;
}

/** What `npm run check` looks at: types, rules, layout. */
const checks: [program: string, ...args: string[]][] = [
  ["tsc", "--project", "."],
  ["eslint", "."],
  ["prettier", "--check", "--log-level", "warn", "."],
];

async function main(): Promise<void> {
  const chosen = chooseTiers(process.argv.slice(2));
  const counts: Counts[] = [];
  for (const tier of chosen) {
    const startedAt = performance.now();
    console.error(`\n== ${tier} ==`);
    counts.push(await runTier(tier));
    console.error(`== ${tier}: ${((performance.now() - startedAt) / 1000).toFixed(0)} s ==`);
  }
  const passed = counts.reduce((sum, tier) => sum + tier.passed, 0);
  const failed = counts.reduce((sum, tier) => sum + tier.failed, 0);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
  console.log(`${passed} passed, ${failed} failed`);
}

function chooseTiers(words: string[]): readonly Tier[] {
  const unknown = words.find((word) => !tiers.some((tier) => tier === word));
  if (unknown !== undefined) throw new Error(`there is no tier '${unknown}'; the tiers are ${tiers.join(", ")}`);
  return words.length === 0 ? tiers : tiers.filter((tier) => words.includes(tier));
}

async function runTier(tier: Tier): Promise<Counts> {
  if (tier === "check") return runChecks();
  if (tier !== "unit") {
    await ensureGuestTools(console.error);
    await ensureTestServers(console.error);
    await buildBundles({ outDir: join(root, "dist") });
  }
  return runVitest(tier);
}

function runChecks(): Counts {
  const statuses = checks.map(([program, ...args]) => run(program, args));
  const failed = statuses.filter((status) => status !== 0).length;
  return { passed: checks.length - failed, failed };
}

function runVitest(tier: Tier): Counts {
  const directory = mkdtempSync(join(tmpdir(), "vmmessage-test-"));
  const report = join(directory, "report.json");
  try {
    const status = run("vitest", [
      "run",
      "--project",
      tier,
      // What these tests wait for is mostly other programs; by itself vitest would use one of two cores.
      ...(tier === "integration" ? ["--maxWorkers=2"] : []),
      "--reporter=default",
      "--reporter=json",
      `--outputFile=${report}`,
    ]);
    return countsOf(report, status);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** A test that did not run did not pass; and a run that failed with no test to blame has a failure of its own. */
function countsOf(report: string, status: number): Counts {
  const { numPassedTests: passed, numTotalTests: total } = readReport(report);
  const notPassed = total - passed;
  return { passed, failed: status !== 0 && notPassed === 0 ? 1 : notPassed };
}

function readReport(path: string): { numPassedTests: number; numTotalTests: number } {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as { numPassedTests: number; numTotalTests: number };
  } catch {
    return { numPassedTests: 0, numTotalTests: 0 };
  }
}

/** Runs one of the project's own tools on the project's own Node, whatever Node the machine has. */
function run(program: string, args: string[]): number {
  const env = { ...process.env, PATH: `${binaries}${delimiter}${process.env["PATH"] ?? ""}` };
  const { status } = spawnSync(join(binaries, program), args, { cwd: root, env, stdio: "inherit" });
  return status ?? 1;
}

await main();
