/**
 * Runs the ready-made modules for real, with real programs, where nothing of this machine changes: the process has its own
 * host name, and what it writes below /etc, /home, /root and /var goes to memory and is gone with it. As root.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { builtinModules } from "../../../../agent/bootstrap/builtin/index.ts";
import { type GivenValue, ModuleError } from "../../../../agent/bootstrap/module.ts";

export type Step =
  /** A module of `configure` with the values it is given; `preview` shows what it would change. */
  | { module: string; values: Record<string, string>; preview?: boolean }
  /** What a shell prints. */
  | { sh: string };

/** The result of a module, the lines of a preview, what a shell printed; an Error's message where it failed. */
export type StepOutcome = { result: unknown } | { error: string };

const OWN_MACHINE = `
set -eu
memory=$1; shift
mount -t tmpfs none "$memory"
for directory in etc home root var; do
  mkdir -p "$memory/$directory/new" "$memory/$directory/work"
  mount -t overlay overlay -o "lowerdir=/$directory,upperdir=$memory/$directory/new,workdir=$memory/$directory/work" "/$directory"
done
exec "$@"
`;

/** One step after the other, on a machine of their own. */
export async function onOwnMachine(steps: readonly Step[]): Promise<StepOutcome[]> {
  const memory = await mkdtemp(join(tmpdir(), "vmmessage-own-machine-"));
  try {
    const program = ["sh", "-c", OWN_MACHINE, "sh", memory, process.execPath, import.meta.filename];
    const child = spawn("unshare", ["--mount", "--uts", ...program], { stdio: ["pipe", "pipe", "inherit"] });
    const printed = text(child.stdout);
    child.stdin.end(JSON.stringify(steps));
    await once(child, "close");
    return JSON.parse(await printed) as StepOutcome[];
  } finally {
    await rmdir(memory);
  }
}

async function runStep(step: Step): Promise<StepOutcome> {
  if ("sh" in step) return { result: execFileSync("sh", ["-c", step.sh], { encoding: "utf8", stdio: "pipe" }) };
  const module = builtinModules().find(({ name }) => name === step.module);
  if (module === undefined) throw new Error(`there is no module ${step.module}`);
  const given = Object.entries(step.values).map(([key, value]): [string, GivenValue] => [
    key,
    { value, isSecret: false },
  ]);
  const run = { target: "configure", values: new Map(given), signal: new AbortController().signal } as const;
  try {
    return { result: step.preview === true ? await module.preview(run) : await module.run(run) };
  } catch (error) {
    if (error instanceof ModuleError) return { error: error.message };
    throw error;
  }
}

if (import.meta.main) {
  const outcomes: StepOutcome[] = [];
  for (const step of JSON.parse(await text(process.stdin)) as Step[]) outcomes.push(await runStep(step));
  process.stdout.write(JSON.stringify(outcomes));
}
