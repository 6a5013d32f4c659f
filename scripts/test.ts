/**
 * Runs the checks and the tiers of tests: `scripts/test.ts [check|unit|integration|packages|vm]...`, all of them without a
 * word.
 * Prints what failed, and the true counts last, alone on a line. A check counts as one test.
 */
import { spawnSync } from "node:child_process";
import { delimiter, join } from "node:path";
import { buildAll } from "../packaging/build-all.ts";
import { readRelease } from "../packaging/release.ts";
import { buildBundles } from "./build.ts";
import { ensureGuestTools } from "./guest-tools.ts";
import { ensurePackageCheckers } from "./package-checkers.ts";
import { ensureTestServers } from "./test-servers.ts";
import { filesThatFailed, lineOf, resultsOf, secondThoughts, type TestResult, withReport } from "./test-report.ts";

const root = join(import.meta.dirname, "..");
const binaries = join(root, "node_modules", ".bin");
const tiers = ["check", "unit", "integration", "packages", "vm"] as const;
type Tier = (typeof tiers)[number];

/** More than this is no accident. */
const MAX_FILES_AGAIN = 3;

/** What `npm run check` looks at: types, rules, layout. */
const checks: [program: string, ...args: string[]][] = [
  ["tsc", "--project", "."],
  ["eslint", "."],
  ["prettier", "--check", "--log-level", "warn", "."],
];

async function main(): Promise<void> {
  const chosen = chooseTiers(process.argv.slice(2));
  const results: TestResult[] = [];
  for (const tier of chosen) {
    const startedAt = performance.now();
    console.error(`\n== ${tier} ==`);
    results.push(...(await runTier(tier).catch((error: unknown) => notBegun(tier, error))));
    console.error(`== ${tier}: ${((performance.now() - startedAt) / 1000).toFixed(0)} s ==`);
  }
  const failures = results.filter(({ hasPassed }) => !hasPassed);
  for (const result of results) if (result.isUnsteady) console.log(`unsteady: ${lineOf(result)}`);
  for (const result of failures) console.log(`failed: ${lineOf(result)}`);
  const passed = results.length - failures.length;
  process.exitCode = failures.length === 0 && passed > 0 ? 0 : 1;
  console.log(`${passed} passed, ${failures.length} failed`);
}

/** What a tier needs could not be made or installed. */
function notBegun(tier: Tier, error: unknown): TestResult[] {
  console.error(error);
  return [{ file: "", name: `the setup of ${tier}`, hasPassed: false, why: String(error).split("\n", 1)[0] ?? "" }];
}

function chooseTiers(words: string[]): readonly Tier[] {
  const unknown = words.find((word) => !tiers.some((tier) => tier === word));
  if (unknown !== undefined) throw new Error(`there is no tier '${unknown}'; the tiers are ${tiers.join(", ")}`);
  return words.length === 0 ? tiers : tiers.filter((tier) => words.includes(tier));
}

async function runTier(tier: Tier): Promise<TestResult[]> {
  if (tier === "check") return runChecks();
  if (tier !== "unit") {
    await ensureGuestTools(console.error);
    await ensureTestServers(console.error);
    await buildBundles({ outDir: join(root, "dist") });
  }
  if (tier === "packages") {
    await ensurePackageCheckers(console.error);
    await buildAll({ outDir: join(root, "build"), release: await readRelease(process.env), log: console.error });
  }
  return runVitest(tier);
}

function runChecks(): TestResult[] {
  return checks.map(([program, ...args]) => ({ file: "", name: program, hasPassed: run(program, args) === 0 }));
}

/** A few files that failed are run once more, alone: what passes then is told apart from what is broken. */
function runVitest(tier: Tier): TestResult[] {
  const first = vitest(tier, []);
  const files = filesThatFailed(first);
  if (files.length === 0 || files.length > MAX_FILES_AGAIN) return first;
  console.error(`\n== ${tier}, again: ${files.join(" ")} ==`);
  return secondThoughts(first, vitest(tier, files));
}

function vitest(tier: Tier, files: readonly string[]): TestResult[] {
  return withReport((report) => {
    const status = run("vitest", [
      "run",
      "--project",
      tier,
      // What these tests wait for is mostly other programs; by itself vitest would use one of two cores.
      ...(tier !== "unit" ? [`--maxWorkers=${files.length === 0 ? 2 : 1}`] : []),
      "--reporter=default",
      "--reporter=json",
      `--outputFile=${report}`,
      ...files,
    ]);
    return resultsOf(report, { status, root });
  });
}

/** Runs one of the project's own tools on the project's own Node, whatever Node the machine has. */
function run(program: string, args: string[]): number {
  const env = { ...process.env, PATH: `${binaries}${delimiter}${process.env["PATH"] ?? ""}` };
  const { status } = spawnSync(join(binaries, program), args, { cwd: root, env, stdio: "inherit" });
  return status ?? 1;
}

await main();
